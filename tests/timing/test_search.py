"""The searches by bounds are exhaustive: every tiling, every tile timed one by one gives the same choice."""

from random import Random

import numpy as np
import pytest

from cosparse.spec import UnsupportedError
from hwsim import AcceleratorConfig
from hwsim.compile.blocking import TILINGS, fits
from hwsim.compile.cuts import Matrices
from hwsim.compile.evaluate import COUNTERS, evaluate_programs, shape_vector
from hwsim.compile.lower import gemm_nests
from hwsim.compile.nest import NEST
from hwsim.compile.passes import (
    conv_gradient_search,
    gradient_search,
    prune_search,
    transpose_search,
    update_search,
)
from hwsim.compile.search import MAX_STRIPS, cut_operation, fastest
from hwsim.compile.sections import cost
from hwsim.compile.tile_search import NOTHING, Candidates, TileSearch, limits_of
from hwsim.compile.vectors import ColumnSum, Elementwise, Tensor
from hwsim.config_vector import config_vector
from hwsim.isa import Flow, Space
from tests.programs import random_config
from tests.timing.random_steps import random_gemm, random_pattern, random_weight

COUNT, NIGHTLY_COUNT, STEP = 25, 2_000, 100
HALVES = ("activation_half_words", "weight_half_words", "accumulator_half_words")


def running_tilings(nests, config):
    """The tilings that run on a configuration, each as it cuts the nests."""
    shape, vector, found = shape_vector(config), config_vector(config), {}
    for tiling in range(TILINGS):
        cut = np.zeros(len(nests) * MAX_STRIPS, NEST)
        cut = cut[: cut_operation(nests, tiling, shape, vector, cut)]
        if len(cut) and all(fits(nest, shape, config.interleave) for nest in cut):
            found[tiling] = cut
    return found


def check_product(seed):
    rng = Random(seed)
    config = random_config(rng)
    try:
        nests = gemm_nests(random_gemm(rng, config), config)
    except UnsupportedError:  # conv groups that would be packed twice
        return 0
    os_only = nests["lhs"].any() or nests["segments"].any()
    nests["flow"] = flow = Flow.OS if os_only else rng.choice(list(Flow))
    tilings = running_tilings(nests, config)
    found = fastest(nests, flow, config)
    assert (found is None) == (not tilings), seed
    if found is None:
        return 0
    figures = evaluate_programs(list(tilings.values()), config)
    best = figures[:, COUNTERS.index("cycles")].argmin()  # the first of equal ones
    assert found[1] == figures[best].tolist(), seed
    assert (found[0] == list(tilings.values())[best]).all(), seed
    return len(tilings) > 1


def random_jobs(rng, config):
    """Every job of every plan of one random pass."""
    (shape, groups), ff, bp = random_weight(rng), *(random_pattern(rng, config) for _ in "ab")
    tokens, channels = rng.randint(1, 300), rng.randint(1, 100)
    pruned = random_pattern(rng, config, dense=False)
    rows, words = Matrices(1, tokens, channels), Tensor(0, Space.ACC16, channels)
    make = rng.choice(
        (
            lambda: update_search(shape, groups, ff, bp, config),
            lambda: prune_search(shape, groups, ff, bp, config),
            lambda: gradient_search(tokens, channels, pruned, config),
            lambda: conv_gradient_search(
                random_gemm(rng, config, conv=True).conv, 24, pruned, config
            ),
            lambda: transpose_search(tokens, channels, config),
            lambda: Elementwise(rows, ("relu",), words, (None,), words, config),
            lambda: ColumnSum(rows, words, Tensor(0, Space.ACC, channels), config),
        )
    )
    made = make()
    return [job for plan in made.plans for job in plan] if hasattr(made, "plans") else [made]


def check_tiles(seed):
    rng = Random(seed)
    config = random_config(rng)
    try:
        jobs = random_jobs(rng, config)
    except UnsupportedError:  # neither copy, a gradient with a stride
        return 0
    checked = 0
    for job in jobs:
        found, halves = Candidates(job), [getattr(config, name) for name in HALVES]
        fitting = [
            (cost(job.sections(tile), config).cycles, position)
            for position, tile in enumerate(found.tiles)
            if all(need <= half for need, half in zip(job.words(tile), halves, strict=True))
        ]
        bounds = found.bounds(config).tolist()
        for cycles, position in fitting:
            assert bounds[position] <= cycles, (seed, found.tiles[position])
        best = min(fitting)[1] if fitting else NOTHING
        assert TileSearch(found, config).fastest(limits_of(config)).tolist() == [best], seed
        checked += len(fitting)
    return checked


def test_the_fastest_tiling_is_that_of_all():
    assert sum(check_product(seed) for seed in range(COUNT)) > COUNT / 2


def test_the_fastest_tile_is_that_of_all():
    assert sum(check_tiles(seed) for seed in range(2 * COUNT)) > 5 * COUNT


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, STEP))
def test_the_fastest_are_those_of_all_of_more(start):
    for seed in range(start, start + STEP):
        check_product(seed)
        check_tiles(seed)


def test_a_bound_is_close_where_a_pass_streams():
    """Otherwise the search would be right and slow: 64 x 2048 rows of 2:8 on sat-32x32."""
    config = AcceleratorConfig.preset("sat-32x32")
    found = Candidates(update_search((2048, 2048), 1, None, None, config).plans[0][0])
    (position,) = TileSearch(found, config).fastest(limits_of(config)).tolist()
    exact = found.program(position).cost(config).cycles
    assert 0.97 * exact < found.bounds(config)[position] <= exact
