"""Event counts worked out on paper, and against the engine.

On sat-4x4 a word of ACT has 4 FP16 (8 bytes), of WGT 4 FP16 (8 bytes, 2 more with indices), of ACC
4 FP32 (16 bytes). The programs are those of test_engine.py.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim import engine
from hwsim.config import AcceleratorConfig
from hwsim.engine import Stall
from hwsim.events import count_events
from hwsim.isa import Op, Space, Unit, VectorOp

from .engine_programs import (
    DENSE,
    PACKED,
    PRUNE,
    VECTOR,
    instruction,
    load,
    matmul,
    program,
    random_program,
    store,
)

CONFIG = AcceleratorConfig.preset("sat-4x4")


def counted(*parts, preset="sat-4x4"):
    """Counts that are not zero, by name, but for the instructions."""
    counts = vars(count_events(program(*parts), AcceleratorConfig.preset(preset)))
    return {key: count for key, count in counts.items() if count and key != "instruction_bytes"}


def test_halt_is_fetched_by_every_unit():
    assert count_events(program(), CONFIG).instruction_bytes == 4 * 16


def test_os():
    # tiles of 4 x 8 over 6 x 11, S = 3, 12 entries; fills of 8 and 4 words a tile
    macs = 6 * 11 * 12
    assert counted((Unit.STCE, DENSE), matmul()) == {
        "macs_fp16": macs,
        "lutram_reads": macs,
        "idle_slots": 16 * 12 * (4 * 3) - macs,
        "activation_words_read_bytes": 4 * 12 * 8,
        "weight_bytes_read": 12 * (2 + 2 + 1 + 1) * 8,
        "accumulator_bytes_written": 6 * 3 * 16,
    }


def test_os_accumulate_packed():
    # two groups of 2 entries; the table of a tile does not exist, indices do
    counts = counted((Unit.STCE, PACKED), matmul(accumulate=1))
    assert counts["macs_fp16"] == 6 * 11 * 4
    assert counts["weight_bytes_read"] == 4 * (2 + 2 + 1 + 1) * (8 + 2)
    assert counts["accumulator_bytes_read"] == counts["accumulator_bytes_written"] == 6 * 3 * 16


def test_os_reads_the_segment_table_once_a_tile():
    table = {"use_table": 1, "segments": 3, "channels": 4}
    counts = counted((Unit.STCE, DENSE | table), matmul())
    assert counts["weight_bytes_read"] == 12 * (2 + 2 + 1 + 1) * 8 + 4 * 3 * 4


def test_ws_spills_partial_sums():
    regs = PACKED | {"flow": 1, "ir": 2, "channels": 72, "columns": 8, "out_w": 5}
    # 9 groups of 2 entries in three folds; 72 channels are 18 words; 3 steps of 8 cycles a fold
    macs = 5 * 8 * 18
    expected = {
        "macs_fp16": macs,
        "lutram_reads": macs,
        "idle_slots": 16 * 3 * 3 * 8 - macs,
        "activation_words_read_bytes": 5 * 18 * 8,
        "weight_bytes_read": 18 * 2 * (8 + 2),
        "accumulator_bytes_read": 2 * 5 * 2 * 16,
        "accumulator_bytes_written": 3 * 5 * 2 * 16,
    }
    assert counted((Unit.STCE, regs), matmul()) == expected
    accumulated = counted((Unit.STCE, regs), matmul(accumulate=1))
    assert accumulated["accumulator_bytes_read"] == 3 * 5 * 2 * 16


def test_prune():
    # 2 blocks of 4 lanes x 16 values; 2 groups x 2 entries x 2 words
    assert counted((Unit.SORE, PRUNE), instruction(Op.PRUNE)) == {
        "sore_values": 2 * 4 * 16,
        "activation_words_read_bytes": 2 * 16 * 8,
        "weight_bytes_written": 2 * 2 * 2 * (8 + 2),
    }


def test_update():
    assert counted((Unit.WUVE, VECTOR), instruction(Op.UPDATE)) == {
        "wuve_elements": 3 * 2 * 4,
        "accumulator_bytes_read": 3 * (6 * 16),
        "accumulator_bytes_written": 2 * (6 * 16),
        "activation_bytes_written": 24 * 2,
    }


def test_vector():
    column_sum = instruction(Op.VECTOR, vector_op=VectorOp.COLSUM)
    assert counted((Unit.WUVE, VECTOR), column_sum) == {
        "wuve_elements": 24,
        "accumulator_bytes_read": 6 * 16,
        "accumulator_bytes_written": 2 * 16,
    }
    mask = instruction(Op.VECTOR, vector_op=VectorOp.MASK)
    assert counted((Unit.WUVE, VECTOR | {"to_act": 1}), mask) == {
        "wuve_elements": 24,
        "accumulator_bytes_read": 2 * 6 * 16,
        "activation_bytes_written": 24 * 2,
    }


TWO_ROWS = {"run_bytes": 32, "count0": 3, "count1": 1, "count2": 1, "row_bytes": 48}
"""96 bytes in two rows of 48."""


def test_transfers_take_whole_words():
    # sat-8x8: 48 bytes fill two ACT words of 32; three FP16 rows of 8 banks, 32 bytes each in ACC
    assert counted((Unit.DMA, TWO_ROWS), load(), preset="sat-8x8") == {
        "dram_bytes_read": 96,
        "activation_bytes_written": 2 * 2 * 32,
    }
    spilled = instruction(Op.STORE, space=Space.ACC16)
    assert counted((Unit.DMA, TWO_ROWS), spilled, preset="sat-8x8") == {
        "dram_bytes_written": 96,
        "accumulator_bytes_read": 2 * 3 * 32,
    }
    # 4 bytes of indices in an IDX word
    indices = instruction(Op.LOAD, space=Space.IDX)
    counts = counted((Unit.DMA, TWO_ROWS), indices, preset="sat-8x8")
    assert counts["weight_bytes_written"] == 2 * 12 * 4


@pytest.mark.parametrize(
    ("space", "name", "word_bytes"),
    [
        (Space.ACT, "activation_bytes_written", 8),
        (Space.WGT, "weight_bytes_written", 8),
        (Space.ACC, "accumulator_bytes_written", 16),
    ],
)
def test_fill(space, name, word_bytes):
    assert counted(instruction(Op.FILL, space=space, words=10)) == {name: 10 * word_bytes}


def test_counts_of_instructions_add():
    once = count_events(program((Unit.DMA, TWO_ROWS), load(), store()), CONFIG)
    assert once.dram_bytes_read == once.dram_bytes_written == 96
    assert once.activation_bytes_written == once.activation_words_read_bytes == 96


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_the_engine_agrees(seed):
    listed = random_program(seed)
    counts, trace = count_events(listed, CONFIG), engine.run(listed, CONFIG)
    assert counts.dram_bytes_read == trace.dram_bytes_read
    assert counts.dram_bytes_written == trace.dram_bytes_written
    assert counts.instruction_bytes == trace.instruction_bytes
    stce = trace.units[Unit.STCE]
    configs = sum(item.op is Op.CONFIG and item.unit is Unit.STCE for item in listed)
    entry_cycles = stce.busy - configs + stce.stalls[Stall.ADDER]
    assert counts.macs_fp16 + counts.idle_slots == entry_cycles * 4 * 4
