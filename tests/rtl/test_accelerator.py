"""The law on the complete accelerator: machine = RTL in every byte, timing = engine = RTL in every cycle.

Random legal programs in which all units work at the same time. A failure names configuration and seed;
`job(name, seed)` gives the program again.
"""

from dataclasses import replace
from random import Random

import pytest

from hwsim.config import AcceleratorConfig
from hwsim.cosim.accelerator import accelerator_design
from tests.programs import random_image, random_program
from tests.programs.coverage import Coverage
from tests.rtl.law import Job, check_law, check_under_stalls

CONFIGS = {
    "4x4": AcceleratorConfig.preset("sat-4x4", activation_kib=2, weight_kib=2, accumulator_kib=2),
    "8x4": AcceleratorConfig.preset(
        "sat-4x4",
        rows=8,
        group_max=16,
        n_max=8,
        mul_latency=3,
        add_latency=4,
        interleave=8,
        act_values_per_row_cycle=2,
        activation_kib=3,
        weight_kib=3,
        accumulator_kib=3,
        axi_bytes=16,
        burst_beats=4,
        outstanding=2,
        sore_lanes=2,
        wuve_lanes=2,
    ),
    "4x8": AcceleratorConfig.preset(
        "sat-4x4",
        cols=8,
        group_max=4,
        n_max=4,
        mul_latency=1,
        add_latency=1,
        interleave=3,
        activation_kib=2,
        weight_kib=3,
        accumulator_kib=2,
        axi_bytes=4,
        dram_bytes_per_cycle=4,
        burst_beats=32,
        outstanding=8,
        sore_lanes=4,
        wuve_lanes=1,
    ),
}

NIGHTLY_CONFIGS = {
    "8x8": AcceleratorConfig.preset("sat-8x8", activation_kib=6, weight_kib=6, accumulator_kib=6),
    "2x2": AcceleratorConfig.preset(
        "sat-4x4",
        rows=2,
        cols=2,
        group_max=16,
        n_max=16,
        mul_latency=4,
        add_latency=2,
        interleave=6,
        act_values_per_row_cycle=8,
        activation_kib=2,
        weight_kib=2,
        accumulator_kib=2,
        axi_bytes=16,
        burst_beats=1,
        outstanding=16,
        sore_lanes=1,
        wuve_lanes=2,
    ),
    "4x4 slow adder": AcceleratorConfig.preset(
        "sat-4x4",
        add_latency=4,
        interleave=1,
        n_max=4,
        activation_kib=2,
        weight_kib=2,
        accumulator_kib=2,
        burst_beats=64,
        outstanding=1,
        sore_lanes=1,
        wuve_lanes=4,
    ),
}

LONGEST_LATENCY, LEAST_BANDWIDTH = 90, 1
"""Of the memories: cycles, bytes a cycle."""
COUNT = 50
NIGHTLY_COUNT = 950


def job(name: str, seed: int) -> Job:
    """Latency and bandwidth are the memory's: they vary without a build."""
    rng = Random(f"{name} {seed}")
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    config = replace(
        config,
        dram_latency_cycles=rng.choice((1, rng.randint(1, 12), rng.randint(20, LONGEST_LATENCY))),
        dram_bytes_per_cycle=rng.choice(
            (config.axi_bytes, rng.randint(LEAST_BANDWIDTH, config.axi_bytes))
        ),
    )
    return config, random_program(rng, config, f"{name}, seed {seed}"), random_image(rng)


def watchdog_cycles(config: AcceleratorConfig) -> int:
    """As short as a legal program allows: the slowest memory answers a write after all that it holds."""
    held = config.outstanding * config.burst_beats * config.axi_bytes
    return LONGEST_LATENCY + held // LEAST_BANDWIDTH + 20


def design(name):
    """The watchdog is short, so that programs meet it unless all progress is seen."""
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    return accelerator_design(config, parameters={"WatchdogCycles": watchdog_cycles(config)})


def test_these_programs_meet_every_corner():
    coverage = Coverage()
    for name in CONFIGS:
        for seed in range(COUNT):
            config, program, _ = job(name, seed)
            coverage.add(config, program)
    assert coverage.missing == [], coverage.table()


@pytest.mark.parametrize("name", CONFIGS)
def test_rtl_has_the_bits_of_the_machine_and_the_cycles_of_the_engine(name):
    check_law(design(name), [job(name, seed) for seed in range(COUNT)])


def test_rtl_has_the_bits_under_random_back_pressure():
    check_under_stalls(design("4x4"), [job("4x4", seed) for seed in range(COUNT // 2)], 120)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, 100))
@pytest.mark.parametrize("name", [*CONFIGS, *NIGHTLY_CONFIGS])
def test_the_law_on_more_programs(name, start):
    check_law(design(name), [job(name, seed) for seed in range(start, start + 100)])


@pytest.mark.nightly
@pytest.mark.parametrize("name", NIGHTLY_CONFIGS)
def test_more_programs_under_random_back_pressure(name):
    check_under_stalls(design(name), [job(name, seed) for seed in range(200)], 120)
