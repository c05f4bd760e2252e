"""Random legal programs of the DMA alone: LOAD, STORE, FILL, CONFIG, and semaphores to itself.

They run on the accelerator with stand-ins for the other units, which builds in seconds.
"""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from hwsim.config import AcceleratorConfig
from hwsim.cosim import BENCHES, Design
from hwsim.cosim.accelerator import accelerator_design
from hwsim.program import Program
from tests.programs import random_image
from tests.programs.contents import SCRATCHPADS, Block
from tests.programs.generator import dump, stray
from tests.programs.transfers import store
from tests.programs.writer import Writer

from .law import Job

_SMALL = {"activation_kib": 2, "weight_kib": 2, "accumulator_kib": 2}

CONFIGS = {
    "narrow": AcceleratorConfig.preset("sat-4x4", **_SMALL),
    "wide": AcceleratorConfig.preset(
        "sat-4x4",
        **_SMALL,
        rows=2,
        cols=2,
        sore_lanes=2,
        wuve_lanes=2,
        axi_bytes=16,
        burst_beats=2,
        outstanding=16,
    ),
}
"""wide: a beat has up to 16 words of a scratchpad."""

NIGHTLY_CONFIGS = {
    "single": AcceleratorConfig.preset(
        "sat-4x4",
        activation_kib=3,
        weight_kib=5,
        accumulator_kib=4,
        cols=8,
        act_values_per_row_cycle=4,
        wuve_lanes=8,
        axi_bytes=4,
        dram_bytes_per_cycle=4,
        burst_beats=64,
        outstanding=1,
    ),
    "long": AcceleratorConfig.preset(
        "sat-4x4", **_SMALL, axi_bytes=16, burst_beats=256, outstanding=64
    ),
}
"""single: one burst in flight, a word has up to 8 beats, halves that are no powers of two.
long: the longest bursts that AXI allows, and many of them."""

WATCHDOG_CYCLES = 200
LONG_WATCHDOG_CYCLES = 2_000
"""A memory that passes a byte a cycle answers long bursts late."""


def design(
    name: str,
    top: str = "tb_top",
    registers: Mapping[str, tuple[str, ...]] | None = None,
    **parameters: int,
) -> Design:
    """A short watchdog, beyond every latency here, so that a deadlock is soon found."""
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    watchdog = LONG_WATCHDOG_CYCLES if name in NIGHTLY_CONFIGS else WATCHDOG_CYCLES
    given = {"WatchdogCycles": watchdog, **parameters}
    stubs = (BENCHES / "stubs",)
    return accelerator_design(config, stubs, given, top, registers=registers or {})


def job(name: str, seed: int) -> Job:
    """Latency and bandwidth are the memory's: they vary without a build."""
    rng = Random(f"{name} {seed}")
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    config = replace(
        config,
        dram_latency_cycles=rng.choice((1, 2, rng.randint(1, 12), rng.randint(20, 90))),
        dram_bytes_per_cycle=rng.choice((config.axi_bytes, rng.randint(1, config.axi_bytes))),
    )
    return config, transfer_program(rng, config, f"{name}, seed {seed}"), random_image(rng)


def transfer_program(rng: Random, config: AcceleratorConfig, name: str) -> Program:
    """LOADs and FILLs of random words, each now and then followed by STOREs of what is there."""
    writer = Writer(rng, config)
    for _ in range(rng.choice((1, 3, 10, 20))):
        stray(writer)
        if rng.random() < 0.5:
            _store_some(writer)
    dump(writer)
    return writer.program(name)


def _store_some(writer: Writer) -> None:
    where = writer.rng.choice(SCRATCHPADS)
    for half in (0, 1):
        for start, stop in writer.contents.runs(where, half)[:1]:
            words = min(stop - start, writer.rng.choice((1, 8, 64)))
            store(writer, Block(where, start, 1, words, words))
