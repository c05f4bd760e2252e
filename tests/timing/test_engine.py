"""The engine against cycles worked out on paper from docs/microarchitecture.md.

All hand-worked programs run on sat-4x4: R = C = 4, a = 1, Lm = 2, L = 3, M <= 8 (so a chunk has
Q = 8), 8 bytes a cycle, 16 beats of 8 bytes a burst, 20 cycles of latency, 4 bursts in flight.
CONFIGs of a stream issue at 8, 9, ...: a bank takes 5 of the DMA, 15 of STCE, 4 of SORE, 5 of WUVE,
so that the first other instruction issues at 13, 23, 12 and 13.
"""

import json
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosparse.spec.errors import ProgramError
from hwsim import engine
from hwsim.banks import Banks
from hwsim.config import AcceleratorConfig
from hwsim.engine import Stall, simulation
from hwsim.engine.clock import Clock
from hwsim.isa import Op, Unit, VectorOp
from hwsim.program import Program
from hwsim.trace import chrome_trace, line_trace, write_trace

from .engine_programs import (
    DENSE,
    PACKED,
    PRUNE,
    TRANSFER,
    VECTOR,
    instruction,
    load,
    matmul,
    program,
    random_program,
    store,
)

CONFIG = AcceleratorConfig.preset("sat-4x4")
seeds = st.integers(0, 10**6)


def run(*parts, **overrides):
    return engine.run(program(*parts), AcceleratorConfig.preset("sat-4x4", **overrides))


def record(trace, op, position=0):
    return [item for item in trace.instructions if item.op is op][position]


def duration(trace, op):
    """Issue to completion of the only instruction of its kind."""
    return record(trace, op).completion - record(trace, op).issue


def grants(trace):
    return [(burst.grant, burst.done) for burst in trace.bursts]


# 320 bytes from 16 on: [16, 128) 14 beats, [128, 256) 16 beats, [256, 336) 10 beats.
UNALIGNED = TRANSFER | {"run_bytes": 320, "row_bytes": 320}


def test_halt_alone():
    trace = run()
    assert trace.cycles == 8 + 1
    assert trace.instruction_bytes == 4 * 16


def test_an_unaligned_load_is_cut_at_burst_boundaries():
    trace = run((Unit.DMA, UNALIGNED), load(dram=16))
    # first grant 13 + 4, then the channel is held for 14 and 16 cycles
    assert grants(trace) == [(17, 17 + 20 + 14), (31, 31 + 20 + 16), (47, 47 + 20 + 10)]
    assert [(burst.address, burst.bytes) for burst in trace.bursts] == [
        (16, 112),
        (128, 128),
        (256, 80),
    ]
    assert record(trace, Op.LOAD).issue == 13
    assert record(trace, Op.LOAD).free == 47 + 1
    assert record(trace, Op.LOAD).completion == 77 + 2
    assert trace.cycles == 79 + 1


def test_one_burst_in_flight_waits_for_each_burst():
    trace = run((Unit.DMA, UNALIGNED), load(dram=16), outstanding=1)
    assert grants(trace) == [(17, 51), (51, 51 + 36), (87, 87 + 30)]


def test_two_bursts_in_flight_wait_for_the_burst_before_the_last():
    long_latency = run((Unit.DMA, UNALIGNED), load(dram=16), outstanding=2, dram_latency_cycles=40)
    # done(0) = 17 + 40 + 14 = 71
    assert grants(long_latency) == [(17, 71), (31, 87), (71, 71 + 40 + 10)]


def test_a_burst_takes_the_bus_words_that_it_touches():
    regs = TRANSFER | {"run_bytes": 16, "row_bytes": 16, "count0": 2, "stride0": 48}
    trace = run((Unit.DMA, regs), load(dram=16), axi_bytes=32, dram_bytes_per_cycle=5)
    # 16 bytes inside one word of 32: ceil(32 / 5) = 7 cycles
    assert [burst.channel_cycles for burst in trace.bursts] == [7, 7]
    assert trace.dram_bytes_read == 32


def test_three_loops_of_runs_in_order():
    regs = {"run_bytes": 16, "row_bytes": 16, "row_words": 4}
    regs |= {"count0": 2, "stride0": 256, "count1": 2, "stride1": -32, "count2": 2, "stride2": 1024}
    trace = run((Unit.DMA, regs), load(dram=512))
    assert [burst.address for burst in trace.bursts] == [
        *(512, 768, 480, 736),
        *(1536, 1792, 1504, 1760),
    ]


def test_a_store_queues_behind_a_load():
    trace = run((Unit.DMA, UNALIGNED), load(dram=16), (Unit.DMA, TRANSFER), store(dram=1024))
    # 5 CONFIGs from 48 to 53; the channel is free at 47 + 10 = 57, the STORE ready at 53 + 4
    assert record(trace, Op.STORE).issue == 53
    assert grants(trace)[3] == (57, 57 + 20 + 16)
    assert (trace.dram_bytes_read, trace.dram_bytes_written) == (320, 128)
    assert trace.cycles == 93 + 2 + 1


def test_where_the_cycles_of_the_dma_go():
    trace = run((Unit.DMA, UNALIGNED), load(dram=16), store(dram=1024))
    # STORE: issue 48, ready 52, channel free at 57; bursts of 320 bytes from 1024: 16, 16, 8 beats
    assert [burst.grant for burst in trace.bursts[3:]] == [57, 73, 89]
    end = 89 + 20 + 8 + 2
    dma = trace.units[Unit.DMA]
    assert dma.busy == 5 + 6
    assert dma.stalls == {
        Stall.IDLE: 8 + 1,
        Stall.DATA: 4 + 4 + (end - 90),
        Stall.BANDWIDTH: (48 - 17 - 3) + (90 - 52 - 3),
        Stall.TOKEN: 0,
        Stall.ADDER: 0,
        Stall.DRAIN: 0,
    }
    assert dma.total == trace.cycles == end + 1
    assert trace.channel_busy_cycles == 40 + 40


def test_fill_waits_for_transfers_in_flight():
    trace = run((Unit.DMA, TRANSFER), load(), instruction(Op.FILL, words=10))
    loaded = 17 + 20 + 16 + 2
    assert record(trace, Op.FILL).issue == loaded
    assert record(trace, Op.FILL).completion == loaded + 4 + 10
    assert trace.cycles == loaded + 14 + 1


def test_os_dense_with_edge_tiles():
    trace = run((Unit.STCE, DENSE), matmul())
    # tiles of 4 x 8: rows 4, 2; columns 8, 3. Chunks of 8 and 4 channels, S = 3 everywhere:
    # U = 8 * 3 + 4 * 3; E = 4 * 2
    assert record(trace, Op.MATMUL).issue == 23
    assert duration(trace, Op.MATMUL) == 8 + 8 + 4 * 36 + (3 + 3 + 2 + 3 + 8)
    starts = [23 + 16 + 36 * tile for tile in range(4)]
    assert [(tile.start, tile.end) for tile in trace.tiles] == [(at, at + 36) for at in starts]


def test_os_packed_waits_for_the_feeder():
    trace = run((Unit.STCE, PACKED), matmul())
    # chunks of 8 and 4 channels, a group of 8 each: P = max(2 * 3, fill 8), in the end 6
    assert duration(trace, Op.MATMUL) == 8 + 8 + 3 * 16 + 14 + 19
    stce = trace.units[Unit.STCE]
    # slots 2, 2, 1, 1 of S = 3, four entries a tile
    assert stce.busy == 15 + 4 * (2 + 2 + 1 + 1)
    assert stce.stalls[Stall.ADDER] == 4 * (1 + 1 + 2 + 2)
    assert stce.stalls[Stall.DATA] == 16 + 3 * 4 + 2
    assert stce.stalls[Stall.DRAIN] == 19
    assert stce.total == trace.cycles


SHORT = PACKED | {"ic": 4, "out_w": 8, "channels": 4, "columns": 16}


def test_os_waits_for_the_shadow_chain():
    trace = run((Unit.STCE, SHORT), matmul())
    # one chunk of 4 channels, one group of 2 entries, S = 4: U = 8 < E = 16; fill 8 for a group of 8
    assert duration(trace, Op.MATMUL) == 8 + 8 + 8 + 16 + (3 + 3 + 2 + 3 + 16)
    assert trace.units[Unit.STCE].stalls[Stall.DRAIN] == (16 - 8) + 27


def test_os_accumulate_shifts_the_first_values_in():
    trace = run((Unit.STCE, SHORT), matmul(accumulate=1))
    # those of the second tile while the first one runs
    assert duration(trace, Op.MATMUL) == 8 + 16 + (16 + 3) + (16 + 3) + 27


def test_os_accumulate_in_one_tile_brings_no_others():
    trace = run((Unit.STCE, SHORT | {"out_w": 4}), matmul(accumulate=1))
    assert duration(trace, Op.MATMUL) == 8 + 16 + 8 + 27


def test_os_two_interleaved_rows():
    trace = run((Unit.STCE, SHORT | {"ic": 2, "ir": 2, "columns": 8}), matmul())
    # one tile of 8 x 8: slots 2 * 2, U = 2 * 4; fill = 2 * 4 * 2 words; E = 4 * 2 * 2
    assert duration(trace, Op.MATMUL) == 8 + 16 + 8 + (3 + 3 + 2 + 3 + 16)


def test_os_segment_table():
    regs = DENSE | {"use_table": 1, "segments": 3, "taps_x": 9, "channels": 4, "out_w": 4}
    trace = run((Unit.STCE, regs | {"columns": 8}), matmul())
    # three segments of one chunk: U = 3 * 4 * 3
    assert duration(trace, Op.MATMUL) == 8 + 4 + 36 + 19


def test_os_column_fill():
    regs = DENSE | {"lhs": 1, "ic": 1, "ir": 2, "out_w": 10, "taps_x": 2}
    trace = run((Unit.STCE, regs | {"channels": 5, "columns": 4}), matmul())
    # a tile for each tap: 5 of 8 rows, 2 slots, S = 3; chunks of 8 and 2 tokens, fill 16 and 4:
    # P1 = max(24, 4), P2 = max(6, 16), in the end 6
    assert duration(trace, Op.MATMUL) == 8 + 16 + (24 + 16) + (24 + 6) + (3 + 3 + 2 + 3 + 8)


# 9 groups: folds of 4, 4 and 1. Ir = 2, two columns: S = 4, n * S = 8. Feeder: 32 channels are 8
# words, never fewer than m / a = 8: P = 16. weights = 4 * 2 * 2, D = 4 * (4 + 3 + 1) + 2 = 34. The
# last of 2 * 2 slots is done 3 cycles after the first one. A row takes 4 blocks of a fold's last
# word, and after the first one the next fold waits: turn = 3.
FOLDS = PACKED | {"flow": 1, "ir": 2, "channels": 72, "columns": 8}


def test_ws_three_folds_follow_each_other():
    trace = run((Unit.STCE, FOLDS | {"out_w": 5}), matmul())
    # two steps of 16, and max(8, 3 + 16) for the last one, > D
    assert [tile.start - 23 for tile in trace.tiles] == [24, 24 + 51, 24 + 102]
    assert duration(trace, Op.MATMUL) == (24 + 102) + (2 * 16 + 34 + 3) + 3 + 2
    stce = trace.units[Unit.STCE]
    # the feeder has nothing to bring after the last step
    assert stce.busy == 15 + 3 * 3 * 8
    assert stce.stalls[Stall.DATA] == 24 + 8 * 8 + 2 * 3
    assert stce.stalls[Stall.DRAIN] == 34 - 8 + 3 + 5
    assert stce.total == trace.cycles


def test_ws_folds_wait_for_partial_sums():
    trace = run((Unit.STCE, FOLDS | {"out_w": 2}), matmul())
    # V = 16 < D = 34
    assert [tile.start - 23 for tile in trace.tiles] == [24, 58, 92]
    assert duration(trace, Op.MATMUL) == 92 + (34 + 3) + 5


def test_ws_a_column_tile_waits_like_a_fold():
    trace = run((Unit.STCE, FOLDS | {"out_w": 2, "columns": 12}), matmul())
    # second column tile: 2 slots, S = 3, P = 16, weights = 8, D = 4 * (3 + 3 + 1) + 2 = 30
    starts = [24, 58, 92, 92 + 34, 126 + 30, 156 + 30]
    assert [tile.start - 23 for tile in trace.tiles] == starts
    assert duration(trace, Op.MATMUL) == 186 + (30 + 1) + 5


def test_ws_a_narrower_column_tile_waits_for_the_last_row():
    trace = run(
        (Unit.STCE, FOLDS | {"out_w": 40, "ic": 2, "n": 8, "channels": 8, "columns": 12}), matmul()
    )
    # 20 steps of 8 * 4 cycles; d = 7 * 4 + 4 = 32, then 7 * 3 + 4 = 25: row 3 is free 3 * 7 cycles later
    start = 8 + 4 * 8 * 2
    assert [tile.start - 23 for tile in trace.tiles] == [start, start + 20 * 32 + 3 * 7]


def test_ws_weights_take_longer_than_tokens():
    regs = DENSE | {"flow": 1, "ic": 8, "out_w": 1, "channels": 32, "columns": 64}
    trace = run((Unit.STCE, regs), matmul(), interleave=8)
    # weights = 4 * 8 * 8 = 256 > V = 8 * 8 and D = 4 * (7 * 8 + 3 + 1) + 2 = 242; 8 slots
    assert [tile.start - 23 for tile in trace.tiles] == [8 + 256, 264 + 256]
    assert duration(trace, Op.MATMUL) == 520 + (242 + 7) + 5


def test_ws_counts_words_of_every_tap_apart():
    regs = PACKED | {"flow": 1, "ir": 2, "taps_x": 9, "channels": 2, "out_w": 5, "columns": 8}
    trace = run((Unit.STCE, regs), matmul())
    # 4 groups of 2 channels in 4 words; m / a = 8 is more: as FOLDS
    assert duration(trace, Op.MATMUL) == 126 + (66 + 3) + 5
    wide = run((Unit.STCE, regs), matmul(), act_values_per_row_cycle=4)
    # m / a = 2 and one word of 16 lanes for each tap: reads 4, 4, 2 (one group: at least 2)
    # P = max(8, 2 * 4); start 8 + max(16, 8); 2 * 8 + max(8, 1 + 8) < D = 34
    assert duration(wide, Op.MATMUL) == 24 + 34 + 34 + (24 - 8 + 34 + 3) + 5


def test_ws_a_faster_fold_waits_for_the_last_partial_sums_of_a_slower_one():
    regs = PACKED | {"flow": 1, "ir": 2, "n": 1, "taps_x": 9, "channels": 2, "out_w": 5}
    trace = run((Unit.STCE, regs | {"columns": 8}), matmul(), act_values_per_row_cycle=4)
    # one entry of S = 4, reads 4, 4, 2: P = max(4, 2 * 4) = 8, 8 and 4; turn = 1, so that the second
    # fold starts 2 * 8 + max(4, 1 + 8) after the first;
    # weights = 4 * 2; D = 4 * (3 + 1) + 2 = 18. The third fold gains 4 cycles on each of 2 steps
    # after the first, so that it starts 18 + 2 * 4 > 2 * 8 + max(4, 1 + 4) after the second.
    starts = [8 + 8, 16 + 25, 41 + 26]
    assert [tile.start - 23 for tile in trace.tiles] == starts
    assert duration(trace, Op.MATMUL) == 67 + (12 - 4 + 18 + 3) + 5


@pytest.mark.parametrize(
    ("changes", "cycles"),
    [
        ({}, 6 + 2 * 16 + 2),
        ({"wgt_words": 8}, 6 + 8 * 16 + 2),
        ({"transpose": 1, "rows": 6, "columns": 10}, 6 + 2 * 16 + 2 + 4),
        # groups of 2, but the transposer works on blocks of 4: 6 columns count as 8
        ({"transpose": 1, "rows": 6, "columns": 6, "m": 2, "n": 1}, 6 + 2 * 8 + 1 + 4),
    ],
)
def test_prune(changes, cycles):
    trace = run((Unit.SORE, PRUNE | changes), instruction(Op.PRUNE))
    assert record(trace, Op.PRUNE).issue == 12
    assert duration(trace, Op.PRUNE) == cycles
    assert trace.units[Unit.SORE].busy == 4 + cycles


@pytest.mark.parametrize(("lanes", "passes"), [(4, 1), (2, 2)])
def test_update_reads_three_operands(lanes, passes):
    trace = run((Unit.WUVE, VECTOR), instruction(Op.UPDATE), wuve_lanes=lanes)
    assert duration(trace, Op.UPDATE) == 6 + 3 * 2 * 3 * passes + 24


@pytest.mark.parametrize(
    ("operation", "row_cycles"),
    [
        (VectorOp.COPY, 2),
        (VectorOp.RELU, 2),
        (VectorOp.SCALE, 2),
        (VectorOp.BIAS, 4),
        (VectorOp.ADD, 4),
        (VectorOp.MASK, 4),
        (VectorOp.COLSUM, 3),  # two words, but an addition takes L = 3
    ],
)
def test_vector(operation, row_cycles):
    trace = run((Unit.WUVE, VECTOR), instruction(Op.VECTOR, vector_op=operation))
    assert record(trace, Op.VECTOR).issue == 13
    assert duration(trace, Op.VECTOR) == 6 + 3 * row_cycles + 24


def test_a_long_column_sum_hides_the_adder():
    regs = VECTOR | {"words": 5}
    trace = run((Unit.WUVE, regs), instruction(Op.VECTOR, vector_op=VectorOp.COLSUM))
    assert duration(trace, Op.VECTOR) == 6 + 3 * 5 + 24


def chain():
    """Each unit waits for the one before; the DMA begins and ends."""
    return [
        *((Unit.DMA, TRANSFER), (Unit.STCE, SHORT), (Unit.WUVE, VECTOR), (Unit.SORE, PRUNE)),
        load(signal=[0]),
        matmul(wait=[0], signal=[1]),
        instruction(Op.UPDATE, wait=[1], signal=[2]),
        instruction(Op.PRUNE, wait=[2], signal=[3]),
        store(wait=[3]),
    ]


def test_a_chain_through_all_units():
    trace = run(*chain())
    loaded = 17 + 20 + 16 + 2
    multiplied = loaded + 1 + 67
    updated = multiplied + 1 + 48
    pruned = updated + 1 + 40
    assert record(trace, Op.MATMUL).issue == loaded + 1
    assert record(trace, Op.UPDATE).issue == multiplied + 1
    assert record(trace, Op.PRUNE).issue == updated + 1
    assert record(trace, Op.STORE).issue == pruned + 1
    assert trace.cycles == pruned + 1 + 4 + 36 + 2 + 1
    assert trace.units[Unit.STCE].stalls[Stall.TOKEN] == loaded + 1 - 23
    assert trace.units[Unit.WUVE].stalls[Stall.TOKEN] == multiplied + 1 - 13
    assert trace.units[Unit.DMA].stalls[Stall.TOKEN] == pruned + 1 - 18


def test_tokens_are_counted_and_consumed_in_order():
    trace = run(
        *((Unit.DMA, TRANSFER), (Unit.WUVE, VECTOR)),
        *(load(signal=[0]), load(dram=128, signal=[0])),
        *(instruction(Op.UPDATE, wait=[0]), instruction(Op.UPDATE, wait=[0])),
    )
    first, second = (record(trace, Op.LOAD, position).completion for position in (0, 1))
    assert (first, second) == (55, 55 + 16)
    issues = [record(trace, Op.UPDATE, position).issue for position in (0, 1)]
    assert issues == [56, max(72, 56 + 48)]


def test_an_instruction_waits_for_all_its_tokens():
    trace = run(
        *((Unit.DMA, TRANSFER), (Unit.SORE, PRUNE), (Unit.WUVE, VECTOR)),
        *(load(signal=[0]), instruction(Op.PRUNE, signal=[1])),
        instruction(Op.UPDATE, wait=[0, 1]),
    )
    assert record(trace, Op.UPDATE).issue == max(55, 12 + 40) + 1


def test_a_missing_token_is_reported():
    with pytest.raises(
        ProgramError, match=r"STCE waits for semaphore 5 at instruction 15 \(MATMUL\)"
    ):
        run((Unit.STCE, SHORT), matmul(wait=[5]))


def test_a_cycle_of_waits_names_every_unit():
    with pytest.raises(ProgramError, match=r"SORE waits .*; WUVE waits ") as info:
        run(
            instruction(Op.PRUNE, wait=[0], signal=[1]),
            instruction(Op.UPDATE, wait=[1], signal=[0]),
        )
    assert "test: expected a token for every wait" in str(info.value)


@given(seeds)
@settings(max_examples=40)
def test_every_cycle_of_every_unit_is_accounted_for(seed):
    trace = engine.run(random_program(seed), CONFIG)
    for unit in trace.units.values():
        assert unit.total == trace.cycles
        assert unit.busy >= 0
        assert min(unit.stalls.values()) >= 0


def streams(trace):
    return [[item for item in trace.instructions if item.unit is unit] for unit in Unit]


@given(seeds)
@settings(max_examples=40)
def test_instructions_are_causal(seed):
    trace = engine.run(random_program(seed), CONFIG)
    for stream in streams(trace):
        assert all(item.issue >= 8 + position for position, item in enumerate(stream))
        assert all(second.issue >= first.free for first, second in pairwise(stream))
    for number in range(16):
        made = [item.completion + 1 for item in trace.instructions if number in item.signals]
        used = [item.issue for item in trace.instructions if number in item.waits]
        assert all(issue >= token for issue, token in zip(used, made, strict=False))
    halts = [item.issue for item in trace.instructions if item.op is Op.HALT]
    assert trace.cycles == max(halts) + 1
    assert all(item.completion < trace.cycles for item in trace.instructions)


@given(seeds, st.integers(1, 5))
@settings(max_examples=40)
def test_bursts_and_tiles_are_causal(seed, outstanding):
    config = AcceleratorConfig.preset("sat-4x4", outstanding=outstanding)
    trace = engine.run(random_program(seed), config)
    bursts = trace.bursts
    assert all(burst.done == burst.grant + 20 + burst.channel_cycles for burst in bursts)
    assert all(b.grant >= a.grant + a.channel_cycles for a, b in pairwise(bursts))
    for burst in bursts:
        in_flight = sum(other.grant <= burst.grant < other.done for other in bursts)
        assert in_flight <= outstanding
    assert all(tile.start < tile.end for tile in trace.tiles)
    assert all(second.start >= first.end for first, second in pairwise(trace.tiles))


def program_bytes(listed):
    """Bytes that the transfers of a program move, address by address, in order."""
    banks, moved = Banks(Unit.DMA), []
    for item in listed:
        if item.op is Op.CONFIG and item.unit is Unit.DMA:
            banks.write(item)
        elif item.op in (Op.LOAD, Op.STORE):
            regs = banks.read(item.args["bank"])
            for i2 in range(regs["count2"]):
                for i1 in range(regs["count1"]):
                    for i0 in range(regs["count0"]):
                        first = item.args["dram"] + i0 * regs["stride0"]
                        first += i1 * regs["stride1"] + i2 * regs["stride2"]
                        moved += range(first, first + regs["run_bytes"])
    return moved


@given(seeds)
@settings(max_examples=20)
def test_bursts_move_exactly_the_bytes_of_the_program(seed):
    listed = random_program(seed)
    trace = engine.run(listed, CONFIG)
    bursts = [range(burst.address, burst.address + burst.bytes) for burst in trace.bursts]
    moved = program_bytes(listed)
    assert [address for burst in bursts for address in burst] == moved
    assert trace.dram_bytes_read + trace.dram_bytes_written == len(moved)
    assert all(burst[0] // 128 == burst[-1] // 128 for burst in bursts)


@given(seeds)
@settings(max_examples=40)
def test_a_better_memory_is_never_slower(seed):
    listed = random_program(seed)
    cycles = {
        name: engine.run(
            listed, AcceleratorConfig.preset("sat-4x4", **{name: value}), trace=False
        ).cycles
        for name, value in (
            ("dram_bytes_per_cycle", 4),
            ("dram_latency_cycles", 60),
            ("outstanding", 1),
        )
    }
    assert engine.run(listed, CONFIG).cycles <= min(cycles.values())


class ShuffledClock(Clock):
    """Takes the events of a cycle in an order of its own."""

    def __init__(self, seed):
        super().__init__()
        self._order = random.Random(seed)

    def schedule(self, event, priority=0, delay=0):
        super().schedule(event, self._order.randrange(1000), delay)


@given(seeds)
@settings(max_examples=25)
def test_the_order_of_events_inside_a_cycle_does_not_matter(seed):
    listed = random_program(seed)
    expected = engine.run(listed, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "Clock", lambda: ShuffledClock(seed))
        assert engine.run(listed, CONFIG) == expected


def test_runs_are_equal_with_and_without_records():
    listed = random_program(7)
    full, silent = engine.run(listed, CONFIG), engine.run(listed, CONFIG, trace=False)
    assert engine.run(listed, CONFIG) == full
    assert full.bursts and full.tiles and not silent.bursts and not silent.tiles
    assert silent.instructions == full.instructions
    assert silent.units == full.units
    assert silent.dram_bytes_read == full.dram_bytes_read


def test_the_timeline_is_chrome_trace_json(tmp_path):
    listed = random_program(11, length=60)
    trace = engine.run(listed, CONFIG)
    write_trace(trace, tmp_path / "trace.json")
    document = json.loads((tmp_path / "trace.json").read_text())
    assert document == json.loads(json.dumps(chrome_trace(trace)))
    assert document["otherData"]["schema_version"] == 1
    assert document["otherData"]["cycles"] == trace.cycles
    spans = [event for event in document["traceEvents"] if event["ph"] == "X"]
    tracks = {event["tid"]: event["args"]["name"] for event in document["traceEvents"][:6]}
    assert set(tracks.values()) == {"DMA", "STCE", "SORE", "WUVE", "STCE tiles", "DRAM channel"}
    for track in tracks:
        own = [event for event in spans if event["tid"] == track]
        assert own and all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(own))
    moved = sum(event["args"]["bytes"] for event in spans if tracks[event["tid"]] == "DRAM channel")
    assert moved == len(program_bytes(listed))


def test_semaphore_counters_follow_the_tokens():
    trace = run(*chain())
    counters = [event for event in chrome_trace(trace)["traceEvents"] if event["ph"] == "C"]
    # a token is consumed in the cycle in which it appears, so no counter shows more than 0
    assert {event["args"]["tokens"] for event in counters} == {0}
    waiting = run(
        *((Unit.DMA, TRANSFER), (Unit.WUVE, VECTOR)),
        *(load(signal=[2]), load(dram=128, signal=[2]), instruction(Op.UPDATE, wait=[2])),
    )
    counters = [event for event in chrome_trace(waiting)["traceEvents"] if event["ph"] == "C"]
    assert [(event["ts"], event["args"]["tokens"]) for event in counters] == [(56, 0), (72, 1)]
    assert {event["name"] for event in counters} == {"semaphore 2"}


def test_line_trace_has_one_line_an_instruction():
    trace = run(*chain())
    header, *lines = line_trace(trace)
    assert header.split()[:3] == ["index", "unit", "op"]
    assert len(lines) == len(trace.instructions)
    (line,) = [text for text in lines if "MATMUL" in text]
    assert line.split() == ["30", "STCE", "MATMUL", "56", "123", "123", "0", "->", "1"]


def test_halt_is_the_last_instruction_and_no_other():
    halt, other = Program.assemble([]).words, program(load()).words
    for words in (other[:-1], np.concatenate([halt, other]), halt[:0]):
        with pytest.raises(ProgramError, match="one HALT, the last of"):
            engine.run(Program(words), CONFIG)
