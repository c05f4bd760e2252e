"""Durations against a walk over every tile, chunk, fold and group, as the document describes it."""

from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.decoded import REGISTER_COLUMN
from hwsim.durations import os_cycles, prune_cycles, update_cycles, vector_cycles, ws_cycles
from hwsim.isa import Flow, Lhs, Unit, VectorOp

C0, W = 8, 2
PRUNE_START, VECTOR_START, VECTOR_LATENCY = 6, 6, 24


def row(unit, values):
    """A bank's registers; those left out are 0."""
    result = np.zeros(len(REGISTER_COLUMN[unit]), np.int64)
    for name, value in values.items():
        result[REGISTER_COLUMN[unit][name]] = value
    return result


def cut(total, size):
    """Lengths of consecutive pieces of at most `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


def occupied(length, lanes):
    """Slots that hold at least one of `length` rows or columns."""
    return len({index // lanes for index in range(length)})


def segments_of(b):
    if b["lhs"] == Lhs.COLUMN:
        return [b["images"] * b["out_h"] * b["out_w"]]
    segments = b["segments"] if b["use_table"] else b["taps_y"] * b["taps_x"]
    return [b["channels"]] * segments


def os_tiles(b, config):
    """Occupied slots of every tile, in order."""
    tokens = b["images"] * b["out_h"] * b["out_w"]
    bands = [tokens]
    if b["lhs"] == Lhs.COLUMN:
        bands = [b["channels"]] * (b["taps_y"] * b["taps_x"])
    return [
        occupied(h, config.rows) * occupied(w, config.cols)
        for w in cut(b["columns"], b["ic"] * config.cols)
        for band in bands
        for h in cut(band, b["ir"] * config.rows)
    ]


def walked_os(b, accumulate, config):
    R, C, L = config.rows, config.cols, config.add_latency
    a, ir = config.act_values_per_row_cycle, b["ir"]

    def fill(q):
        if b["lhs"] == Lhs.COLUMN:
            return q * ceil(ir / a)
        return ir * R * ceil((ceil(q / b["m"]) * b["m"] if b["packed"] else q) / (a * R))

    def entries(q):
        return len(cut(q, b["m"])) * b["n"] if b["packed"] else q

    chunks = [q for length in segments_of(b) for q in cut(length, max(config.group_max, a * R))]
    tiles = os_tiles(b, config)
    walk = [(tile, slots, q) for tile, slots in enumerate(tiles) for q in chunks]
    fills = [fill(q) for _, _, q in walk[1:]] + [0]
    U = [0] * len(tiles)
    for (tile, slots, q), following in zip(walk, fills, strict=True):
        U[tile] += max(entries(q) * max(slots, L), following)
    E = R * b["ic"] * ir
    gap = E + R - 1 if accumulate else E
    start = C0 + max(fill(chunks[0]), E if accumulate else 0)
    first = max(U[0], gap) if accumulate and len(U) > 1 else U[0]
    work = first + sum(max(u, gap) for u in U[1:])
    return start + work + (R - 1) + (C - 1) + config.mul_latency + L + E


def fold_reads(b, config):
    """Distinct (segment, word) pairs that each fold reads."""
    groups = [
        (segment, range(first, min(first + b["m"], length)))
        for segment, length in enumerate(segments_of(b))
        for first in range(0, length, b["m"])
    ]
    lanes = config.act_values_per_row_cycle * config.rows
    least = ceil(b["m"] / config.act_values_per_row_cycle)
    folds = [groups[i : i + config.rows] for i in range(0, len(groups), config.rows)]
    return [
        max(least, len({(s, k // lanes) for s, channels in fold for k in channels}))
        for fold in folds
    ]


def walked_ws(b, config):
    R, C, L, n, ir = config.rows, config.cols, config.add_latency, b["n"], b["ir"]
    tokens = b["images"] * b["out_h"] * b["out_w"]
    reads = fold_reads(b, config)
    passes = ceil(tokens / ir)
    start, end, before = 0, 0, None
    for w in cut(b["columns"], b["ic"] * C):
        S = max(ir * occupied(w, C), L)
        weights = R * n * occupied(w, C)
        d = (n - 1) * S + L + 1
        for words in reads:
            P = max(n * S, ir * words)
            if before is None:
                start = C0 + max(weights, ir * words)
            else:
                P1, S1, d1 = before
                turn = min(R, ceil(b["m"] / config.act_values_per_row_cycle)) - 1
                last_step = max(n * S1 + (R - 1) * (d1 - d), turn + ir * words)
                start += max(
                    (passes - 1) * P1 + last_step,
                    weights,
                    R * d1 + W + (passes - 1) * max(0, P1 - P),
                )
            before = (P, S, d)
            end = max(end, start + (passes - 1) * P + R * d + W + ir * occupied(w, C) - 1)
    return end + (C - 1) + config.mul_latency


@st.composite
def configs(draw):
    powers = st.sampled_from
    group_max = draw(powers([2, 4, 8, 16]))
    return AcceleratorConfig.preset(
        "sat-8x8",
        rows=draw(powers([2, 4, 8])),
        cols=draw(powers([2, 4, 8])),
        group_max=group_max,
        n_max=group_max,
        act_values_per_row_cycle=draw(powers([x for x in (1, 2, 4, 8, 16) if x <= group_max])),
        mul_latency=draw(st.integers(1, 4)),
        add_latency=draw(st.integers(1, 4)),
        interleave=16,
        sore_lanes=2,
        wuve_lanes=draw(powers([1, 2])),
    )


@st.composite
def matmuls(draw, flow):
    """(config, registers): shapes around the sizes of tiles, chunks and folds."""
    config = draw(configs())
    m = draw(st.sampled_from([x for x in (1, 2, 4, 8, 16) if x <= config.group_max]))
    packed = draw(st.booleans())
    b = {
        "flow": flow,
        "lhs": Lhs.ROW,
        "packed": packed,
        "use_table": 0,
        "m": m,
        "n": draw(st.integers(1, m)) if packed else m,
        "ic": draw(st.integers(1, 8)),
        "ir": draw(st.integers(1, 2)),
        "images": draw(st.integers(1, 3)),
        "out_h": draw(st.integers(1, 4)),
        "out_w": draw(st.integers(1, 9)),
        "taps_y": draw(st.integers(1, 4)),
        "taps_x": draw(st.integers(1, 4)),
        "channels": draw(st.integers(1, 20) | st.integers(1, 20).map(lambda x: 8 * x)),
        "columns": draw(st.integers(1, 140)),
        "segments": draw(st.integers(1, 9)),
    }
    if flow == Flow.OS and not packed:
        kind = draw(st.sampled_from(["row", "table", "column"]))
        b["use_table"] = int(kind == "table")
        b["lhs"] = Lhs.COLUMN if kind == "column" else Lhs.ROW
    return config, b


@given(matmuls(Flow.OS), st.integers(0, 1))
@settings(max_examples=1000)
def test_os(case, accumulate):
    config, b = case
    assert os_cycles(config_vector(config), row(Unit.STCE, b), accumulate) == walked_os(
        b, accumulate, config
    )


@given(matmuls(Flow.WS))
@settings(max_examples=1500)
def test_ws(case):
    config, b = case
    assert ws_cycles(config_vector(config), row(Unit.STCE, b)) == walked_ws(b, config)


GEMM = {
    "n": 4,
    "m": 4,
    "ic": 1,
    "ir": 1,
    "images": 1,
    "out_h": 1,
    "out_w": 4,
    "taps_y": 1,
    "taps_x": 1,
    "channels": 8,
    "columns": 4,
}


def test_one_os_tile_by_hand():
    """4 x 4, one chunk of 8 channels at S = L = 3, fed in two rounds of 4 rows."""
    config = config_vector(AcceleratorConfig.preset("sat-4x4"))
    assert os_cycles(config, row(Unit.STCE, GEMM), 0) == 8 + 8 + 8 * 3 + 3 + 3 + 2 + 3 + 4
    assert os_cycles(config, row(Unit.STCE, GEMM | {"channels": 4}), 1) == (
        8 + 4 + 4 * 3 + 3 + 3 + 2 + 3 + 4
    )


def test_one_ws_fold_by_hand():
    """Two groups in one fold: 16 weights, four tokens of 4 entries at S = 3, one slot."""
    config = config_vector(AcceleratorConfig.preset("sat-4x4"))
    D = 4 * (3 * 3 + 3 + 1) + 2
    assert ws_cycles(config, row(Unit.STCE, GEMM)) == 8 + 16 + 3 * 12 + D + 3 + 2


def test_the_layer_of_the_page_against_scale_sim():
    page = (Path(__file__).parents[2] / "docs" / "scale-sim.md").read_text()
    layer = {"n": 16, "m": 16, "ic": 4, "ir": 2, "images": 1, "out_h": 1, "out_w": 128}
    layer |= {"taps_y": 1, "taps_x": 1, "channels": 768, "columns": 768}
    config = config_vector(AcceleratorConfig.preset("sat-32x32"))
    registers = row(Unit.STCE, layer)
    assert f"ours OS         {os_cycles(config, registers, 0)}  " in page
    assert f"ours WS        {ws_cycles(config, registers)}  " in page


def test_the_cost_does_not_grow_with_the_tiles():
    """A closed form of 10^12 tiles and 10^4 folds, against the slope between smaller sizes."""
    config = config_vector(AcceleratorConfig.preset("sat-32x32"))
    tall = {"out_w": 2**24 - 1, "columns": 2**24 - 1, "channels": 64}
    T = os_cycles(config, row(Unit.STCE, GEMM | tall), 0)
    tiles = ceil((2**24 - 1) / 32) ** 2
    assert tiles * 64 * 4 <= T
    long = [
        ws_cycles(config, row(Unit.STCE, GEMM | {"channels": 128 * folds}))
        for folds in (1000, 1001, 100_000)
    ]
    assert long[2] - long[0] == 99_000 * (long[1] - long[0])


@given(
    configs(),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([(1, 2), (2, 4), (2, 8), (4, 16), (16, 16), (3, 8)]),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([1, 2, 4, 8]),
)
@example(AcceleratorConfig.preset("sat-8x8"), 9, 17, (2, 8), True, 0, 8)
def test_prune(config, rows, columns, pattern, transpose, spare, sore_lanes):
    n, m = pattern
    sore_lanes = min(sore_lanes, config.cols, config.activation_lanes)
    config = AcceleratorConfig.from_mapping(config.to_mapping() | {"sore_lanes": sore_lanes})
    lanes, length = (rows, columns) if transpose else (columns, rows)
    words = ceil(lanes / config.cols) + spare
    step = max(m, sore_lanes) if transpose else m
    values = [len(cut(words * config.cols, sore_lanes)), step * len(cut(length, step))]
    T = PRUNE_START + values[0] * values[1] + n + (sore_lanes if transpose else 0)
    bank = {"n": n, "m": m, "rows": rows, "columns": columns, "transpose": transpose}
    got = prune_cycles(config_vector(config), row(Unit.SORE, bank | {"wgt_words": words}))
    assert got == T


READS = {
    VectorOp.COPY: 1,
    VectorOp.RELU: 1,
    VectorOp.SCALE: 1,
    VectorOp.BIAS: 2,
    VectorOp.ADD: 2,
    VectorOp.MASK: 2,
}


@pytest.mark.parametrize("operation", VectorOp)
@given(config=configs(), rows=st.integers(1, 9), words=st.integers(1, 9))
@settings(max_examples=30)
def test_vector(operation, config, rows, words):
    bank = row(Unit.WUVE, {"rows": rows, "words": words})
    beats = ceil(config.cols / config.wuve_lanes)
    T = VECTOR_START + VECTOR_LATENCY
    if operation == VectorOp.COLSUM:
        T += sum(max(words * beats, config.add_latency) for _ in range(rows))
    else:
        T += sum(READS[operation] * beats for _ in range(rows * words))
    assert vector_cycles(config_vector(config), bank, operation) == T


@given(configs(), st.integers(1, 9), st.integers(1, 9))
def test_update(config, rows, words):
    beats = ceil(config.cols / config.wuve_lanes)
    bank = row(Unit.WUVE, {"rows": rows, "words": words})
    T = VECTOR_START + 3 * rows * words * beats + VECTOR_LATENCY
    assert update_cycles(config_vector(config), bank) == T
