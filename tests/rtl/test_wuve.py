"""WUVE: bits and cycles of UPDATE and VECTOR, on lanes, banks and ACT words of all proportions."""

from random import Random

import pytest

from cosparse.spec.errors import RunError
from hwsim import AcceleratorConfig, cosim

CONFIGS = {
    "sat-4x4": AcceleratorConfig.preset("sat-4x4"),
    "half the lanes, wide ACT words": AcceleratorConfig.preset("sat-8x8", wuve_lanes=4),
    "a quarter of the lanes, narrow ACT words": AcceleratorConfig.preset(
        "sat-4x4", rows=2, cols=8, add_latency=1, sore_lanes=2, wuve_lanes=2
    ),
}
MORE_CONFIGS = {
    **CONFIGS,
    "sat-8x8": AcceleratorConfig.preset("sat-8x8"),
    "one lane": AcceleratorConfig.preset(
        "sat-4x4", act_values_per_row_cycle=2, add_latency=2, wuve_lanes=1
    ),
    "narrow ACT words": AcceleratorConfig.preset(
        "sat-4x4", rows=2, act_values_per_row_cycle=2, cols=8, add_latency=4
    ),
}


def design(config: AcceleratorConfig, top: str = "tb_wuve") -> cosim.Design:
    names = ("rows", "cols", "add_latency", "act_values_per_row_cycle", "wuve_lanes")
    parameters = {name.title().replace("_", ""): getattr(config, name) for name in names}
    return cosim.Design(top, parameters=parameters)


def check(config: AcceleratorConfig, seed: int, batches: int) -> None:
    arguments = {"config": config.to_mapping(), "seed": seed, "batches": batches}
    cosim.simulate(design(config), "wuve_bench", arguments=arguments, random_start=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_bits_and_cycles(name):
    check(CONFIGS[name], seed=1, batches=40)


@pytest.mark.nightly
@pytest.mark.parametrize("name", MORE_CONFIGS)
def test_bits_and_cycles_of_more_instructions(name):
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    check(MORE_CONFIGS[name], seed, batches=2000)


def test_more_lanes_than_an_act_word_holds_are_refused():
    parameters = {"Rows": 2, "Cols": 4, "WuveLanes": 4}
    with pytest.raises(RunError, match="WuveLanes must be at most"):
        cosim.build(cosim.Design("wuve", parameters=parameters))
