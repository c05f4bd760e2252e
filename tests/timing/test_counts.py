"""Counts of cut nests: on paper, against the events of their emitted program, against the engine.

A failure names its seed; `check(seed)` repeats it.
"""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from cosparse.spec import (
    NM,
    Block,
    ConvGeometry,
    Dense,
    Gemm,
    Operand,
    Phase,
    UnsupportedError,
)
from hwsim import engine
from hwsim.compile.blocking import INTERLEAVES, PE_BYTES, fits, set_blocks
from hwsim.compile.counts import ARRAY, count
from hwsim.compile.emit import emit
from hwsim.compile.evaluate import COUNTERS, evaluate, shape_vector
from hwsim.compile.loops import block_counts
from hwsim.compile.lower import gemm_nests
from hwsim.config import AcceleratorConfig
from hwsim.engine import Stall
from hwsim.events import count_events
from hwsim.isa import Flow, Op, Unit

COUNT = 90
STEP = 30
MOST_STEPS = 150
PACKED = (NM(2, 8), NM(2, 4), NM(1, 8))
BLOCKS = (Block(16, 16, 0.3), Block(8, 8, 0.5))
CONFIG = AcceleratorConfig.preset("sat-4x4")


class Draw:
    """Numbers of one seed."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def size(self, low, high):
        return int(self._rng.integers(low, high + 1))

    def one(self, *choices):
        return choices[self.size(0, len(choices) - 1)]


def gemm(phase, shape, pattern, **conv):
    return Gemm("layer", phase, *shape, Operand("left"), Operand("right", pattern), **conv)


def random_matrix(draw):
    phase = draw.one(Phase.FF, Phase.BP, Phase.WU)
    patterns = (Dense(),) if phase is Phase.WU else (Dense(), *PACKED, *BLOCKS)
    shape = draw.size(1, 300), draw.size(1, 200), draw.size(1, 200)
    return gemm(phase, shape, draw.one(*patterns))


def random_conv(draw):
    phase = draw.one(Phase.FF, Phase.BP, Phase.WU)
    pattern = Dense() if phase is Phase.WU else draw.one(Dense(), *PACKED)
    kernel, stride = (draw.size(1, 4), draw.size(1, 4)), draw.size(1, 3)
    padding, dilation = draw.size(0, 3), draw.size(1, 2)
    in_hw = tuple(draw.size(1, 14) + (taps - 1) * dilation for taps in kernel)
    out_hw = tuple(
        (size + 2 * padding - (taps - 1) * dilation - 1) // stride + 1
        for size, taps in zip(in_hw, kernel, strict=True)
    )
    conv = ConvGeometry(
        draw.size(1, 4), in_hw, out_hw, kernel, (stride,) * 2, (padding,) * 2, (dilation,) * 2
    )
    groups, inputs, outputs = draw.one(1, 1, 2), draw.one(2, 8, 24, 64), draw.one(2, 16, 32, 96)
    taps, tokens = np.prod(kernel).item(), conv.batch * np.prod(out_hw).item()
    shape = {
        Phase.FF: (tokens, inputs * taps, outputs),
        Phase.BP: (conv.batch * np.prod(in_hw).item(), outputs * taps, inputs),
        Phase.WU: (inputs * taps, tokens, outputs),
    }[phase]
    macs = tokens * taps * inputs * outputs * groups
    return gemm(phase, shape, pattern, groups=groups, conv=conv, macs=macs)


def cut(nests, config, flow, interleave, pe_bytes):
    """Whether the tiling exists and fits; `nests` are cut in place."""
    shape = shape_vector(config)
    nests["flow"] = flow
    limit = pe_bytes * config.rows * config.cols
    return all(
        set_blocks(nest, *interleave, limit, shape) and fits(nest, shape, config.interleave)
        for nest in nests
    )


def random_nests(seed):
    """(nests, config) of the first product of a seed that its configuration runs in a few steps."""
    draw = Draw(seed)
    while True:
        config = AcceleratorConfig.preset(
            draw.one("sat-4x4", "sat-8x8"),
            act_values_per_row_cycle=draw.one(1, 2, 4, 8),
            add_latency=draw.size(1, 4),
            mul_latency=draw.size(1, 4),
        )
        try:
            nests = gemm_nests(draw.one(random_matrix, random_conv)(draw), config)
        except UnsupportedError:
            continue
        os_only = nests["lhs"].any() or nests["segments"].any()
        flow = Flow.OS if os_only else draw.one(*Flow)
        done = cut(nests, config, flow, draw.one(*INTERLEAVES), draw.one(*PE_BYTES))
        if done and sum(np.prod(block_counts(nest)) for nest in nests) <= MOST_STEPS:
            return nests, config


def array_split(program, config):
    """Cycles of all MATMULs as the engine spends them: issue + edges, adder, data + start, drain."""
    unit = engine.run(program, config).units[Unit.STCE]
    configs = sum(item.op is Op.CONFIG and item.unit is Unit.STCE for item in program)
    stalls = [unit.stalls.get(stall, 0) for stall in (Stall.ADDER, Stall.DATA, Stall.DRAIN)]
    return [unit.busy - configs, *stalls]


def check(seed):
    nests, config = random_nests(seed)
    program, where = emit(nests, config), f"seed {seed}"
    counts = count(nests, config, instructions=len(program) - 1)
    assert counts.events == count_events(program, config), where
    pes, array = config.rows * config.cols, counts.array
    split = [
        array["issue"] + array["edges"],
        array["adder"],
        array["data"] + array["start"],
        array["drain"],
    ]
    assert split == [pes * cycles for cycles in array_split(program, config)], where
    busy = evaluate(nests, config)[:, COUNTERS.index("array_busy")].sum()
    assert sum(array.values()) == pes * busy, where


@pytest.mark.parametrize("start", range(0, COUNT, STEP))
def test_counts_are_those_of_the_program(start):
    for seed in range(start, start + STEP):
        check(seed)


def test_seeds_have_every_kind_of_nest():
    kinds = Counter()
    for seed in range(COUNT):
        nests, _ = random_nests(seed)
        nest = nests[0]
        blocks = block_counts(nest)
        reduction = blocks[4:6] if nest["lhs"] else blocks[:3]
        fmt = "blocks" if nest["segments"] else "packed" if nest["packed"] else "dense"
        kinds[fmt, Flow(nest["flow"]), int(nest["lhs"])] += 1
        kinds["accumulate", bool(np.prod(reduction) > 1)] += 1
        kinds["columns outer", bool(nest["order"])] += 1
        kinds["border", bool(nest["origin_y"] < 0 and blocks[4] > 2)] += 1
        kinds["strided", bool(nest["stride_y"] > 1)] += 1
        kinds["groups", bool(nest["groups"] > 1)] += 1
    expected = {
        *product(("dense", "packed"), Flow, (0,)),
        ("dense", Flow.OS, 1),
        ("blocks", Flow.OS, 0),
        *product(("accumulate", "columns outer", "border", "strided", "groups"), (False, True)),
    }
    assert expected <= set(kinds)


def counted(shape, pattern, flow, interleave):
    """Counts of one forward product in one block, without accesses that did not happen."""
    nests = gemm_nests(gemm(Phase.FF, shape, pattern), CONFIG)
    assert cut(nests, CONFIG, flow, interleave, pe_bytes=512)
    assert np.prod(block_counts(nests[0])) == 1
    counts = count(nests, CONFIG)
    return {key: value for key, value in vars(counts.events).items() if value}, counts.array


def test_os():
    # tiles of 4 x 16 over 6 x 24 have 4, 4, 2 and 2 slots, S = 4, 4, 3 and 3; chunks of 8 and 4
    events, array = counted((6, 12, 24), Dense(), Flow.OS, (4, 1))
    macs, slots = 6 * 12 * 24, 4 + 4 + 2 + 2
    edges, adder = 16 * 12 * slots - macs, 16 * 12 * (4 + 4 + 3 + 3 - slots)
    assert array == {
        "issue": macs,
        "edges": edges,
        "adder": adder,
        "data": 16 * 8,
        "drain": 16 * (3 + 3 + 2 + 3 + 16),
        "start": 16 * 8,
    }
    # tokens of 32 bytes, entries of 64 bytes, results of 48 bytes in FP16
    assert events == {
        "macs_fp16": macs,
        "lutram_reads": macs,
        "idle_slots": edges + adder,
        "activation_words_read_bytes": 4 * 12 * 8,
        "activation_bytes_written": 6 * 32,
        "weight_bytes_read": 12 * slots * 8,
        "weight_bytes_written": 12 * 64,
        "accumulator_bytes_read": 6 * 6 * 16,
        "accumulator_bytes_written": 6 * 6 * 16,
        "dram_bytes_read": 6 * 32 + 12 * 64,
        "dram_bytes_written": 6 * 48,
    }


def test_ws():
    # 9 groups in folds of 4, 4 and 1; 3 steps of 2 tokens; n * S = 8 and P = 2 * 8 in each fold; a row
    # takes three more blocks of a fold's last word before the next fold is read
    events, array = counted((5, 72, 8), NM(2, 8), Flow.WS, (2, 2))
    macs, busy = 5 * 8 * 18, 3 * 3 * 8
    # D = 4 * (4 + 3 + 1) + 2; the last sum is out V - P + D + 2 * 2 - 1 after its fold began
    last_sum = 48 - 16 + 34 + 3
    assert array == {
        "issue": macs,
        "edges": 16 * busy - macs,
        "adder": 0,
        "data": 16 * (16 + 8 * 8 + 2 * 3),
        "drain": 16 * (last_sum - (48 - 8) + 3 + 2),
        "start": 16 * 8,
    }
    assert events["activation_words_read_bytes"] == 5 * 18 * 8
    assert events["weight_bytes_read"] == 18 * 2 * (8 + 2)
    assert events["accumulator_bytes_written"] == 3 * 5 * 2 * 16
    # partial sums of two folds; the STORE of one word a token
    assert events["accumulator_bytes_read"] == 2 * 5 * 2 * 16 + 5 * 2 * 16


def test_instruction_bytes_are_the_callers():
    nests = gemm_nests(gemm(Phase.FF, (6, 12, 11), Dense()), CONFIG)
    assert cut(nests, CONFIG, Flow.OS, (1, 1), pe_bytes=512)
    assert count(nests, CONFIG).events.instruction_bytes == 0
    # one HALT in each of the four streams
    assert count(nests, CONFIG, instructions=20).events.instruction_bytes == 24 * 16


def test_counts_add_over_nests():
    nests = gemm_nests(gemm(Phase.FF, (6, 12, 11), Dense()), CONFIG)
    assert cut(nests, CONFIG, Flow.OS, (1, 1), pe_bytes=512)
    one, two = count(nests, CONFIG), count(np.concatenate([nests, nests]), CONFIG)
    assert two.events == one.events + one.events
    assert two.array == {part: 2 * one.array[part] for part in ARRAY}
