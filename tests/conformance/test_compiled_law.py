"""Compiled layers: the right bits, and the same cycles from engine, timing and tiled layer.

Layers, accelerators and tilings are random. A failure names its seed; `check_layer_bits(seed)` or
`check_layer_time(seed)` repeats it.
"""

import pytest

from .compiled import check_bits, check_time
from .random_layers import FEATURES, features, random_layer

BITS, TIMES, NIGHTLY_TIMES_MORE = 200, 400, 10
STEP = 50


def check_layer_bits(seed: int) -> None:
    case, made, config = random_layer(seed)
    expected = case.bits()
    assert case.within_bound(expected), f"seed {seed}: the oracle is not a sum of the products"
    check_bits(case, made, config, expected)


def check_layer_time(seed: int) -> None:
    _, made, config = random_layer(seed)
    check_time(made, config)


@pytest.mark.parametrize("start", range(0, BITS, STEP))
def test_layers_give_the_bits_of_the_canonical_order(start):
    for seed in range(start, start + STEP):
        check_layer_bits(seed)


@pytest.mark.parametrize("start", range(0, TIMES, STEP))
def test_engine_timing_and_tiled_layer_agree(start):
    for seed in range(start, start + STEP):
        check_layer_time(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(BITS, NIGHTLY_TIMES_MORE * BITS, STEP))
def test_more_layers_give_the_bits_of_the_canonical_order(start):
    for seed in range(start, start + STEP):
        check_layer_bits(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(TIMES, NIGHTLY_TIMES_MORE * TIMES, STEP))
def test_engine_timing_and_tiled_layer_agree_on_more(start):
    for seed in range(start, start + STEP):
        check_layer_time(seed)


def test_the_layers_come_upon_every_feature():
    found = set()
    for seed in range(BITS):
        case, made, _ = random_layer(seed)
        found |= features(case, made)
    assert found == set(FEATURES)
