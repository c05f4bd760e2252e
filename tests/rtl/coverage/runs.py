"""What is run to be counted: the benches and the law on small arrays, each with what it is there for."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hwsim import AcceleratorConfig
from hwsim.cosim.accelerator import run_programs
from hwsim.host import Counter, Error
from hwsim.isa import Unit
from tests.programs.coverage import EVENTS, Coverage
from tests.rtl import (
    test_accelerator,
    test_dma,
    test_errors,
    test_reset,
    test_sore,
    test_stce,
    test_upset,
    test_wuve,
    transfer_programs,
)
from tests.rtl.law import check_law, check_under_stalls

from . import directed, many, met
from .directed import Way
from .plan import PROGRAMS, STALLS

ROOT = Path(__file__).parents[3]
CELLS = ("stream_bench", "ram_bench", "scratchpad_bench", "delay_bench")
QUICK = ("-m", "not nightly")
SORE = ("test_sore", "sore_bench", "sore_cases", "classify")
STCE = ("test_stce", "matmuls", "stce_bench", "classify")
PROGRAMS_OF_ALL = ("test_accelerator", "law", "accelerator_bench")
TRANSFERS = ("transfer_programs", "law", "accelerator_bench")
WATCHDOG_CYCLES = 65_536
WAY_SEEDS = 1500
"""Drawn for each way of the plan; those that add nothing are not simulated."""
PLANNED = {
    "groups wider than words": tuple(directed.ways()),
    "sat-4x4": (
        *(Way(pattern, "WS", phase) for pattern in ("2:4", "2:8") for phase in ("FF", "BP")),
        Way("dense", "OS", "WU"),
    ),
    "smallest": tuple(Way("dense", "WS", phase) for phase in ("FF", "BP")),
}
"""Ways of the plan by configuration: all in one, and elsewhere what is rare or cannot be there."""
RARE = {
    "sat-4x4": {Way("dense", "WS", "FF"): (1884, 2520)},
    "one weight": {Way("dense", "WS", "FF"): (238,), Way("dense", "WS", "BP"): (567,)},
}
"""Seeds of single MATMULs of a way, by configuration."""


@dataclass(frozen=True)
class Run:
    """go: simulates, and raises when a test fails. why: what it meets that other runs do not.

    files: tests and benches that it is made of, by name; it is run again when one of them changes.
    """

    name: str
    why: str
    files: tuple[str, ...]
    go: Callable[[], None]


def pytest(name: str, why: str, test: str, options: tuple[str, ...], *files: str) -> Run:
    """The tests of tests/rtl/test_TEST.py that the options choose."""
    go = partial(_pytest, (f"tests/rtl/test_{test}.py", *options))
    return Run(name, why, (f"test_{test}", *files), go)


def _pytest(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed\n{done.stdout}{done.stderr}")


def stce(name: str, count: int) -> Run:
    go = partial(test_stce.simulate, test_stce.CONFIGS[name], range(count))
    return Run(f"stce {name}", "random MATMULs", STCE, go)


def plan(name: str, ways: tuple[Way, ...]) -> Run:
    files = (*STCE, "directed", "plan")
    go = partial(_plan, name, ways)
    return Run(f"plan {name}", "MATMULs that add to the plan", files, go)


def _plan(name: str, ways: tuple[Way, ...]) -> None:
    mapping = test_stce.CONFIGS[name]
    config = AcceleratorConfig.from_mapping(mapping)
    for way in ways:
        if directed.suits(way, config):
            test_stce.simulate(mapping, range(WAY_SEEDS), way=way)


def rare(name: str, seeds: dict[Way, tuple[int, ...]]) -> Run:
    files = (*STCE, "directed", "plan")
    why = "what one MATMUL of its way in a thousand meets"
    return Run(f"rare {name}", why, files, partial(_rare, name, seeds))


def _rare(name: str, seeds: dict[Way, tuple[int, ...]]) -> None:
    for way, chosen in seeds.items():
        test_stce.simulate(test_stce.CONFIGS[name], chosen, way=way)


def whole_chunks(name: str) -> Run:
    """Of tokens, one a read: the longest fills."""
    files = (*STCE, "directed", "plan")
    way = Way("dense", "OS", "WU")
    go = partial(test_stce.simulate, test_stce.CONFIGS[name], range(WAY_SEEDS), way=way)
    return Run(f"whole chunks {name}", "the longest fills", files, go)


def sore(name: str, why: str) -> Run:
    go = partial(test_sore.simulate, test_sore.CONFIGS[name], 150)
    return Run(f"sore {name}", why, SORE, go)


def planned_packings(name: str) -> Run:
    go = partial(test_sore.simulate, test_sore.PRESETS[name], 0, planned=400)
    return Run(f"plan sore {name}", "whole groups and lanes", SORE, go)


def wuve(name: str) -> Run:
    go = partial(test_wuve.check, test_wuve.MORE_CONFIGS[name], seed=1, batches=40)
    files = ("test_wuve", "wuve_bench", "wuve_cases", "classify")
    return Run(f"wuve {name}", "every operation, special numbers", files, go)


def transfers(name: str) -> Run:
    files = ("test_dma", *TRANSFERS)
    return Run(f"dma {name}", "LOAD, STORE, FILL, back-pressure", files, partial(_dma, name))


def _dma(name: str) -> None:
    jobs = test_dma.jobs(name, range(test_dma.COUNT))
    check_law(test_dma.design(name), jobs)
    check_under_stalls(test_dma.design(name), jobs[: test_dma.COUNT // 2], 100)


def many_transfers(name: str) -> Run:
    go = partial(_many, name)
    return Run(f"many transfers {name}", "queues that wrap around", ("many", *TRANSFERS), go)


def _many(name: str) -> None:
    jobs = [many.many_transfers(name, seed) for seed in range(2)]
    check_law(test_dma.design(name), jobs)
    check_under_stalls(test_dma.design(name), jobs[:1], 160)


def _watchdog() -> None:
    """A unit that waits for ever, with the watchdog that the RTL has by default."""
    fault = next(each for each in test_errors.FAULTS if each.name == "a token that never comes")
    design = transfer_programs.design("narrow", WatchdogCycles=WATCHDOG_CYCLES)
    (result,) = run_programs(design, [fault.case(WATCHDOG_CYCLES)], 2 * WATCHDOG_CYCLES)
    assert result.error is Error.WATCHDOG
    assert WATCHDOG_CYCLES < result.cycles < WATCHDOG_CYCLES + 50


def law(name: str, why: str) -> Run:
    return Run(f"law {name}", why, PROGRAMS_OF_ALL, partial(_law, name))


def _law(name: str) -> None:
    jobs = [test_accelerator.job(name, seed) for seed in range(test_accelerator.COUNT)]
    results = check_law(test_accelerator.design(name), jobs)
    events = Coverage()
    for config, program, _ in jobs:
        events.add(config, program)
    met.leave((PROGRAMS.name, event) for event in EVENTS if event not in events.missing)
    met.leave(
        (STALLS.name, unit.name, counter.name)
        for result in results
        for unit in Unit
        for counter in Counter
        if result.counters[unit][counter]
    )


def resets(name: str) -> Run:
    files = ("test_reset", "wild", *PROGRAMS_OF_ALL)
    why = "sizes and addresses of all their bits"
    return Run(f"resets {name}", why, files, partial(_resets, name))


def _resets(name: str) -> None:
    test_reset.check_after_resets(name, range(24, 224))
    test_reset.check_places(name, range(200, 230))
    test_reset.check_blank(test_accelerator, name, range(40))


def upsets(name: str) -> Run:
    files = ("test_upset", "upsets", "upset_bench", "test_reset", "wild", *PROGRAMS_OF_ALL)
    go = partial(test_upset.check, name, range(150))
    return Run(f"upsets {name}", "registers that count further than any simulation", files, go)


def transfer_upsets(name: str) -> Run:
    files = ("test_upset", "upsets", "upset_bench", "test_reset", "wild", *TRANSFERS)
    go = partial(test_upset.check_transfers, name, range(150))
    return Run(f"upsets of transfers {name}", "transfers that end out of order", files, go)


def transfer_resets(name: str) -> Run:
    go = partial(test_reset.check_after_resets, name, range(400), transfer_programs, [Unit.DMA])
    files = ("test_reset", "wild", *TRANSFERS)
    return Run(f"resets of transfers {name}", "descriptors of all their bits", files, go)


RUNS: tuple[Run, ...] = (
    pytest("number units", "every latency", "fp", ("-k", "a_million")),
    pytest("cells", "buffers and scratchpads alone", "cells", (), *CELLS),
    pytest("host", "its registers alone", "host", ("-k", "every_register or 2"), "regs_bench"),
    *(sore(name, "every (N, M)") for name in test_sore.PRESETS),
    sore("one lane", "M = 2"),
    sore("parts of words", "fewer lanes than columns"),
    *(wuve(name) for name in ("sat-4x4", "half the lanes, wide ACT words", "one lane")),
    wuve("a quarter of the lanes, narrow ACT words"),
    stce("sat-4x4", 250),
    *(stce(name, 200) for name in test_stce.ARRAYS),
    *(plan(name, ways) for name, ways in PLANNED.items()),
    *(rare(name, seeds) for name, seeds in RARE.items()),
    whole_chunks("more words than groups"),
    planned_packings("sat-8x8"),
    *(transfers(name) for name in ("narrow", "wide", "single", "long")),
    many_transfers("long"),
    pytest("errors", "every error code", "errors", QUICK, *TRANSFERS),
    Run("watchdog", "its longest span", ("test_errors", *TRANSFERS), _watchdog),
    pytest("counters", "all 48 bits", "counters", (), "jumps", "jump_bench", *TRANSFERS),
    pytest("axi", "a host and a memory that wait", "axi_models", QUICK, "axi_ram_bench", *TRANSFERS),
    law("4x4", "all units at once"),
    law("8x4", "M = 16, two activation values a row and cycle"),
    law("2x2", "N = 16, eight activation values a row and cycle"),
    law("4x8", "M = 4, add latency 1, four-byte bus"),
    *(resets(name) for name in (*test_accelerator.CONFIGS, "2x2")),
    *(upsets(name) for name in ("4x4", "4x8")),
    transfer_upsets("long"),
    *(transfer_resets(name) for name in (*transfer_programs.CONFIGS, "long")),
)  # fmt: skip
