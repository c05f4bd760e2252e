"""Fronts, volumes, effects, limits: against brute force, formulas on paper and the priced step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cosparse as cs
from cosparse.flow.analysis import (
    LIMITS,
    dataflow_map,
    hypervolume,
    limits_of,
    main_effects,
    pareto_front,
    roofline,
)
from cosparse.spec import Gemm, Operand, Phase, ShapeError, Workload, parse_pattern
from hwsim import AcceleratorConfig, price

POINTS = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 6), min_size=width, max_size=width), min_size=1, max_size=40
    )
)


def dominated(point, points):
    return any(all(q <= p for q, p in zip(o, point, strict=True)) and o != point for o in points)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points):
    front = pareto_front(np.array(points, float))
    assert front.tolist() == [not dominated(point, points) for point in points]


@given(POINTS.filter(lambda points: len(points[0]) <= 3))
@settings(max_examples=50)
def test_the_volume_is_that_of_the_unit_cubes_which_the_points_dominate(points):
    """Integer points and an integer reference: a unit cube is dominated whole or not at all."""
    corner = 7
    cubes = np.stack(
        np.meshgrid(*[np.arange(corner)] * len(points[0]), indexing="ij"), axis=-1
    ).reshape(-1, len(points[0]))
    covered = (cubes[:, None, :] >= np.array(points)[None]).all(axis=2).any(axis=1)
    volume = hypervolume(np.array(points, float), np.full(len(points[0]), float(corner)))
    assert volume == covered.sum()


def test_points_beyond_the_reference_count_nothing():
    assert hypervolume(np.array([[2.0, 0.5]]), np.array([1.0, 1.0])) == 0.0


def test_a_front_of_a_million_points_has_the_smallest_of_every_objective():
    values = np.random.default_rng(0).random((1_000_000, 2))
    front = pareto_front(values)
    assert front[values.argmin(axis=0)].all()
    assert 5 < front.sum() < 100  # expected: the harmonic number, 14.4


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros((0, 2)), np.array([[1.0, np.nan]]), np.array([[np.inf, 1.0]])]
)
def test_bad_values(values):
    with pytest.raises(ShapeError, match="expected finite values"):
        pareto_front(values)


@pytest.mark.parametrize(("shape", "reference"), [((3, 4), 4), ((3, 2), 3)])
def test_bad_reference(shape, reference):
    with pytest.raises(ShapeError, match="2 or 3"):
        hypervolume(np.ones(shape), np.ones(reference))


def grid(*axes):
    return [column.reshape(-1) for column in np.meshgrid(*axes, indexing="ij")]


def test_effects_of_an_additive_objective_are_the_variances_of_its_parts():
    a, b = grid(np.array([1, 2, 4]), np.array([0, 10, 20, 30]))
    y = (a**2 + b).astype(float)
    effects = {e.axis: e for e in main_effects({"a": a.tolist(), "b": b.tolist()}, y)}
    assert effects["a"].share == pytest.approx(np.var([1, 4, 16]) / np.var(y))
    assert effects["a"].share + effects["b"].share == pytest.approx(1.0)
    assert effects["b"].values == (0, 10, 20, 30) and effects["b"].best == 0
    assert effects["b"].means == pytest.approx([7, 17, 27, 37])


def test_interaction_is_what_the_shares_leave():
    a, b = grid(np.array([-1, 1]), np.array([-1, 1]))
    assert [e.share for e in main_effects({"a": a.tolist(), "b": b.tolist()}, a * b * 1.0)] == [
        0,
        0,
    ]


def test_a_constant_objective_has_no_effects_and_text_keeps_its_order():
    effect = main_effects({"pattern": ["2:8", "1:8", "2:8"]}, np.ones(3))[0]
    assert (effect.share, effect.values) == (0.0, ("2:8", "1:8"))


def step():
    sparse = Operand("w", parse_pattern("2:8"))
    gemms = (
        Gemm("a", Phase.FF, 64, 64, 64, Operand("x"), sparse),
        Gemm("b", Phase.FF, 64, 64, 64, Operand("x"), sparse),
        Gemm("c", Phase.WU, 64, 32, 64, Operand("x"), Operand("g")),
    )
    return Workload(gemms)


def test_limits_sum_to_the_cycles_of_the_step():
    found = cs.simulate("digits-mlp", "bdwp 2:8", "sat-8x8", batch=16)
    limits = limits_of(found.timings, 64)
    assert set(limits) == set(LIMITS) and sum(limits.values()) == pytest.approx(found.cycles)
    assert limits["update"] > 0 and limits["compute"] > 0 and limits["vector"] > 0


def test_less_bandwidth_is_more_time_waiting_for_it_and_no_more_computing():
    narrow, wide = (
        cs.simulate(
            "digits-mlp", "dense", {"preset": "sat-8x8", "dram_bytes_per_cycle": b}, batch=16
        )
        for b in (2, 16)
    )
    assert limits_of(narrow, 64)["bandwidth"] > limits_of(wide, 64)["bandwidth"]


def test_no_product_is_above_the_roof():
    config = AcceleratorConfig.preset("sat-8x8")
    timings = price(step(), config)
    found = roofline(timings, config)
    assert (found.peak, found.bandwidth, found.ridge) == (64, 16, 4.0)
    assert len(found.points) == 3
    for point, timing in zip(found.points, timings, strict=True):
        assert point.macs_per_cycle <= found.bound(point.intensity)
        assert point.intensity * timing.dram_bytes == pytest.approx(timing.issued_macs)


def test_the_dataflow_map_has_one_cell_a_shape():
    timings = price(step(), AcceleratorConfig.preset("sat-8x8"))
    cells = dataflow_map(step(), timings)
    assert [(c.phase, c.m, c.k, c.n, c.products) for c in cells] == [
        ("FF", 64, 64, 64, 2),
        ("WU", 64, 32, 64, 1),
    ]
    forward = cells[0]
    costs = {n: c for n, c in timings[0].candidates.items() if isinstance(c, int)}
    assert forward.cycles == min(costs.values()) == costs[forward.winner]
    assert forward.gain == max(costs.values()) / min(costs.values())
    assert cells[1].gain is None  # WU is OS only
