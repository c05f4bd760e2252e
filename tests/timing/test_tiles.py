"""The tile formulas against a naive machine that is ticked one cycle at a time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim import CONSTANTS, AcceleratorConfig
from hwsim.tiles import (
    Interleave,
    Reduction,
    interleaves,
    os_matmul_cycles,
    os_tile_cycles,
    ws_folds,
    ws_matmul_cycles,
    ws_partial_sum_bytes,
)

C0 = CONSTANTS["matmul_start"].value
W = CONSTANTS["partial_sum_write"].value


def cut(total, size):
    """Lengths of consecutive pieces of at most `size`."""
    return [min(size, total - start) for start in range(0, total, size)]


def chunk_list(reduction, config):
    """(channels, entries) of every chunk of one tile, in order, group by group."""
    chunks = []
    for _ in range(reduction.segments):
        for channels in cut(reduction.channels, config.group_max):
            groups = cut(channels, reduction.m)
            entries = sum(reduction.n if reduction.packed else valid for valid in groups)
            chunks.append((channels, entries))
    return chunks


def tick_os(tile_slots, reduction, interleave, config):
    """Run the array: a feeder with two banks, R x C PEs, one shadow chain. Returns the last cycle."""
    chunks = chunk_list(reduction, config)
    fills = [interleave.rows * channels / config.act_values_per_row_cycle for channels, _ in chunks]
    work = [(tile, chunk) for tile in range(len(tile_slots)) for chunk in range(len(chunks))]
    now = C0
    fed = 0.0
    while fed < fills[0]:
        now, fed = now + 1, fed + 1
    shadow_free = 0
    for tile, chunk in work:
        to_issue = chunks[chunk][1] * max(tile_slots[tile], config.add_latency)
        fed = 0.0
        while to_issue > 0 or fed < fills[(chunk + 1) % len(chunks)]:
            now, fed, to_issue = now + 1, fed + 1, to_issue - 1
        if chunk == len(chunks) - 1:
            while now < shadow_free:
                now += 1
            shadow_free = now + sum(interleave.slots for _ in range(config.rows))
    corner = max(row + column for row in range(config.rows) for column in range(config.cols))
    arithmetic = config.mul_latency + config.add_latency
    drain = shadow_free - now
    return now + corner + arithmetic + drain


def tick_ws(tokens, reduction, interleave, config):
    """Start every fold as early as weights, array rows and read-back of each token allow."""
    groups = [
        (valid, reduction.n if reduction.packed else valid)
        for _ in range(reduction.segments)
        for valid in cut(reduction.channels, reduction.m)
    ]
    longest, entries = max(groups)
    slot = max(interleave.slots, config.add_latency)
    fill = -(-interleave.rows * longest // config.act_values_per_row_cycle)
    period = max(entries * slot, fill)
    token_groups = len(cut(tokens, interleave.rows))
    load = sum(entries * interleave.columns for _ in range(config.rows))
    folds = cut(len(groups), config.rows)

    def bottom(start, token_group):
        """When a partial sum that enters the first row is back in its bank."""
        time = start + token_group * period
        for _ in range(config.rows):
            time += (entries - 1) * slot + config.add_latency + 1
        return time + W

    start = C0 + load + fill
    for _ in folds[1:]:
        candidate = start
        while (
            candidate < start + load
            or candidate < start + token_groups * period
            or any(
                candidate + group * period < bottom(start, group) for group in range(token_groups)
            )
        ):
            candidate += 1
        start = candidate
    # The array is given free one period after its last token's, once that has run through.
    return bottom(start, token_groups) + config.cols - 1 + config.mul_latency


@st.composite
def configs(draw):
    group_max = draw(st.sampled_from([2, 4, 8, 16]))
    return AcceleratorConfig.preset(
        "sat-4x4",
        rows=draw(st.sampled_from([2, 4, 8])),
        cols=draw(st.sampled_from([2, 4, 8])),
        group_max=group_max,
        n_max=draw(st.sampled_from([n for n in (2, 4, 8, 16) if n <= group_max])),
        mul_latency=draw(st.integers(1, 4)),
        add_latency=draw(st.integers(1, 4)),
        interleave=draw(st.integers(1, 6)),
        act_values_per_row_cycle=draw(st.sampled_from([a for a in (1, 2, 4) if a <= group_max])),
    )


@st.composite
def cases(draw):
    config = draw(configs())
    interleave = draw(st.sampled_from(interleaves(config)))
    segments, channels = draw(st.integers(1, 4)), draw(st.integers(1, 50))
    if draw(st.booleans()):
        m = draw(st.sampled_from([m for m in (1, 2, 4, 8, 16) if m <= config.group_max]))
        n = draw(st.integers(1, min(m, config.n_max)))
        return config, interleave, Reduction(segments, channels, n, m, packed=True)
    return (
        config,
        interleave,
        Reduction(segments, channels, config.n_max, config.n_max, packed=False),
    )


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, 4), st.integers(0, 3), st.data())
def test_os_equals_the_ticked_array(case, full, edge, data):
    config, interleave, reduction = case
    edge_slots = data.draw(st.integers(1, interleave.slots))
    slots = [interleave.slots] * full + [edge_slots] * edge
    if not slots:
        slots = [interleave.slots]
    runs = [(1, os_tile_cycles(reduction, interleave, s, config)) for s in slots]
    expected = tick_os(slots, reduction, interleave, config)
    assert os_matmul_cycles(runs, reduction, interleave, config) == expected


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 12))
def test_ws_equals_the_earliest_starts(case, tokens):
    config, interleave, reduction = case
    expected = tick_ws(tokens, reduction, interleave, config)
    assert ws_matmul_cycles(tokens, reduction, interleave, config) == expected


@given(cases(), st.integers(1, 3), st.integers(2, 5))
def test_runs_of_equal_tiles_are_tiles_in_a_row(case, matmuls, tiles):
    config, interleave, reduction = case
    cycles = os_tile_cycles(reduction, interleave, interleave.slots, config)
    one = os_matmul_cycles([(1, cycles)] * tiles, reduction, interleave, config)
    several = os_matmul_cycles(
        [(tiles * matmuls, cycles)], reduction, interleave, config, matmuls=matmuls
    )
    assert several == matmuls * one


def test_os_on_paper():
    # 8x8, Ic = 4, Ir = 1, S = 4, a = 2; K = 32 dense: two chunks of 16 entries, 64 cycles each,
    # fill 8; drain 8 * 4 = 32. Two tiles: c0 + 8 + 128 + max(128, 32) + 7 + 7 + 2 + 4 + 32.
    config = AcceleratorConfig.preset("sat-8x8")
    dense = Reduction(1, 32, 16, 16, packed=False)
    interleave = Interleave(4, 1)
    assert os_tile_cycles(dense, interleave, 4, config) == 128
    assert os_matmul_cycles([(2, 128)], dense, interleave, config) == C0 + 8 + 256 + 14 + 6 + 32


def test_os_sparse_tile_shorter_than_its_drain_on_paper():
    # 2:16 on one group: 2 entries * 4 = 8 cycles, fill 16 / 2 = 8, drain 32. Three tiles:
    # 8 + 32 + 32 in the array, 32 for the last drain.
    config = AcceleratorConfig.preset("sat-8x8")
    sparse = Reduction(1, 16, 2, 16, packed=True)
    interleave = Interleave(4, 1)
    assert os_tile_cycles(sparse, interleave, 4, config) == 8
    expected = C0 + 8 + (8 + 32 + 32) + 14 + 6 + 32
    assert os_matmul_cycles([(3, 8)], sparse, interleave, config) == expected


def test_feeder_bounds_a_tile_on_paper():
    # 1:16 with Ir = 2, a = 2: 1 * max(2, 4) = 4 cycles of work a chunk, 2 * 16 / 2 = 16 of fill.
    config = AcceleratorConfig.preset("sat-8x8")
    sparse = Reduction(9, 32, 1, 16, packed=True)
    assert os_tile_cycles(sparse, Interleave(1, 2), 2, config) == 9 * 2 * 16


def test_edge_group_dense_issues_its_valid_entries_and_packed_all_of_them():
    config = AcceleratorConfig.preset("sat-8x8")
    dense, packed = Reduction(1, 3, 16, 16, packed=False), Reduction(1, 3, 4, 8, packed=True)
    assert os_tile_cycles(dense, Interleave(4, 1), 4, config) == 3 * 4
    assert os_tile_cycles(packed, Interleave(4, 1), 4, config) == 4 * 4


def test_ws_on_paper():
    # 8x8, 2:8, Ic = 4, Ir = 1: S = 4, P = max(8, 4) = 8; K = 128 = 16 groups = 2 folds; 100 tokens:
    # V = 800; w = 8 * 2 * 4 = 64; d = 4 + 4 + 1 = 9, D = 72 + W; fill 4.
    config = AcceleratorConfig.preset("sat-8x8")
    sparse = Reduction(1, 128, 2, 8, packed=True)
    assert ws_folds(sparse, config) == 2
    expected = C0 + 64 + 4 + 800 + 800 + (72 + W) + 7 + 2
    assert ws_matmul_cycles(100, sparse, Interleave(4, 1), config) == expected
    # Two folds write, one reads: 3 accesses of 4 bytes for each of 100 x 32 partial sums.
    assert ws_partial_sum_bytes(100, 32, sparse, config) == 3 * 4 * 3200


@pytest.mark.parametrize(("tokens", "step"), [(1, "read back"), (1000, "stream")])
def test_ws_fold_step_is_its_longest_part(tokens, step):
    config = AcceleratorConfig.preset("sat-8x8")
    one, two = (Reduction(1, 64 * folds, 2, 8, packed=True) for folds in (1, 2))
    extra = ws_matmul_cycles(tokens, two, Interleave(4, 1), config) - ws_matmul_cycles(
        tokens, one, Interleave(4, 1), config
    )
    assert extra == {"read back": 72 + W, "stream": 8000}[step]


def test_interleaves_are_nested():
    small, large = (AcceleratorConfig.preset("sat-8x8", interleave=limit) for limit in (3, 4))
    assert set(interleaves(small)) < set(interleaves(large))
    assert {i.slots for i in interleaves(large)} == {1, 2, 3, 4}
