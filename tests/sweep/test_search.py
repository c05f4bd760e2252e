"""Searches against the whole grid: NSGA-II finds its Pareto front with an eightieth of the evaluations.

The grid has 20,480 points of one training step of digits-mlp; time and LUTs are minimised. Hypervolumes
are of the logarithms, since both span factors of a hundred; the reference point is the worst of each
objective in the whole grid.
"""

from statistics import median

import numpy as np
import pytest

import cosparse as cs
from cosparse.flow.scenario import load_scenario
from cosparse.flow.sweep.definition import define
from cosparse.flow.sweep.samplers import Search
from tests.sweep.contents import contents

GRID = {
    "accelerator.rows": {"log": [2, 16]},
    "accelerator.cols": {"log": [2, 16]},
    "accelerator.add_latency": {"range": [1, 4]},
    "accelerator.dram_bytes_per_cycle": [2, 4, 8, 12, 16],
    "accelerator.interleave": [1, 2, 4, 8],
    "accelerator.activation_kib": [8, 16, 32, 64],
    "accelerator.weight_kib": [32, 64],
    "accelerator.accumulator_kib": [16, 64],
}
SET = {"sore_lanes": "min(8, cols, 2 * rows)", "wuve_lanes": "min(8, cols, 2 * rows)"}
OBJECTIVES = ["milliseconds", "lut"]
BUDGET, SEEDS = 250, range(10)


def hypervolume(costs, worst):
    """Area between a front of two costs and the reference point."""
    area, height = 0.0, worst[1]
    for first, second in sorted(costs):
        if first < worst[0] and second < height:
            area += (worst[0] - first) * (height - second)
            height = second
    return area


def costs_of(rows):
    return [(np.log(r["milliseconds"]), np.log(r["lut"])) for r in rows if r["refused"] is None]


@pytest.fixture(scope="module")
def grid(scenario, tmp_path_factory):
    """(folder whose store has every point, its hypervolume, the reference point)."""
    folder = tmp_path_factory.mktemp("grid")
    whole = cs.sweep(scenario(axes=GRID, set=SET, objectives=OBJECTIVES), out=folder, processes=1)
    assert whole.points - whole.refused >= 20_000
    costs = costs_of(whole.rows("milliseconds", "lut", "refused"))
    worst = tuple(max(column) for column in zip(*costs, strict=True))
    return folder, hypervolume(costs, worst), worst


def share(scenario, grid, kind, seed):
    """Hypervolume of a sampler's points over the whole grid's. Nothing is evaluated again."""
    folder, whole, worst = grid
    sampler = {"kind": kind, "points": BUDGET, "seed": seed, "batch": 25}
    made = scenario(axes=GRID, set=SET, objectives=OBJECTIVES, sampler=sampler)
    found = cs.sweep(made, out=folder, processes=1)
    assert found.evaluated == 0 and found.points == BUDGET
    return hypervolume(costs_of(found.rows("milliseconds", "lut", "refused")), worst) / whole


def test_nsga2_finds_the_front_with_an_eightieth_of_the_evaluations(scenario, grid):
    searched = [share(scenario, grid, "nsga2", seed) for seed in SEEDS]
    drawn = [share(scenario, grid, "random", seed) for seed in SEEDS]
    print(f"hypervolume of the grid's: NSGA-II {median(searched):.4f}, random {median(drawn):.4f}")
    assert median(searched) >= 0.995 > median(drawn)


@pytest.mark.parametrize("kind", ["nsga2", "tpe"])
def test_the_same_seed_asks_for_the_same(scenario, tmp_path, kind):
    sampler = {"kind": kind, "points": 12, "seed": 3, "batch": 6}
    made = scenario(objectives=OBJECTIVES, sampler=sampler)
    stores = [cs.sweep(made, out=tmp_path / name, processes=1).path for name in "ab"]
    assert contents(stores[0]) == contents(stores[1])
    again = cs.sweep(made, out=tmp_path / "a", processes=1)
    assert (again.evaluated, again.points) == (0, 12)


def test_a_search_ends_where_the_space_does(scenario, tmp_path):
    sampler = {"kind": "nsga2", "points": 100, "batch": 10}
    found = cs.sweep(scenario(objectives=["cycles"], sampler=sampler), out=tmp_path, processes=1)
    assert 18 <= found.points <= 24


def test_a_search_is_told_what_cannot_run(scenario):
    definition = define(load_scenario(scenario(objectives=OBJECTIVES)))
    search = Search(definition.space, definition.objectives, definition.sampler.model_copy(
        update={"kind": "nsga2", "batch": 4}
    ))  # fmt: skip
    trials, codes = search.ask(4)
    assert codes.shape == (4, 5) and (codes >= 0).all() and (codes < definition.space.shape).all()
    for trial, costs in zip(
        trials, (None, [1.0, 2.0], [float("nan"), 1.0], [2.0, 1.0]), strict=True
    ):
        search.tell(trial, costs)
    assert len(search.ask(4)[0]) == 4
