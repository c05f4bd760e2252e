"""What is run to be counted: the benches and the law on small arrays, each with what it is there for."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hwsim import AcceleratorConfig
from hwsim.host import Counter
from hwsim.isa import Unit
from tests.programs.coverage import EVENTS, Coverage
from tests.rtl import test_accelerator, test_dma, test_reset, test_sore, test_stce, test_wuve
from tests.rtl.law import check_law, check_under_stalls

from . import directed, met
from .plan import PROGRAMS, STALLS

ROOT = Path(__file__).parents[3]
WAY_SEEDS = 1500
"""Drawn for each way of the plan; those that add nothing are not simulated."""


@dataclass(frozen=True)
class Run:
    """go: simulates, and raises when a test fails. why: what it meets that other runs do not."""

    name: str
    why: str
    go: Callable[[], None]


def tests(*arguments: str) -> Callable[[], None]:
    """Run pytest."""
    return partial(_pytest, arguments)


def _pytest(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed\n{done.stdout}{done.stderr}")


def stce(name: str, count: int) -> Run:
    go = partial(test_stce.simulate, test_stce.CONFIGS[name], range(count))
    return Run(f"stce {name}", "random MATMULs", go)


def plan(name: str) -> Run:
    return Run(f"plan {name}", "MATMULs that add to the plan", partial(_plan, name))


def _plan(name: str) -> None:
    mapping = test_stce.CONFIGS[name]
    config = AcceleratorConfig.from_mapping(mapping)
    for way in directed.ways():
        if directed.suits(way, config):
            test_stce.simulate(mapping, range(WAY_SEEDS), way=way)


def sore(name: str, why: str) -> Run:
    return Run(f"sore {name}", why, partial(test_sore.simulate, test_sore.CONFIGS[name], 150))


def wuve(name: str) -> Run:
    go = partial(test_wuve.check, test_wuve.MORE_CONFIGS[name], seed=1, batches=40)
    return Run(f"wuve {name}", "every operation, special numbers", go)


def transfers(name: str) -> Run:
    return Run(f"dma {name}", "LOAD, STORE and FILL, under back-pressure too", partial(_dma, name))


def _dma(name: str) -> None:
    jobs = test_dma.jobs(name, range(test_dma.COUNT))
    check_law(test_dma.design(name), jobs)
    check_under_stalls(test_dma.design(name), jobs[: test_dma.COUNT // 2], 100)


def law(name: str, why: str) -> Run:
    return Run(f"law {name}", why, partial(_law, name))


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
    return Run(f"resets {name}", "sizes and addresses of all their bits", partial(_resets, name))


def _resets(name: str) -> None:
    test_reset.check_after_resets(name, range(24, 224))
    test_reset.check_places(name, range(200, 230))


RUNS: tuple[Run, ...] = (
    Run("number units", "every latency", tests("tests/rtl/test_fp.py", "-k", "a_million")),
    Run("cells", "buffers and scratchpads alone", tests("tests/rtl/test_cells.py")),
    Run("host", "the host's registers alone", tests("tests/rtl/test_host.py", "-k", "every_register or 2")),
    *(sore(name, "every (N, M)") for name in test_sore.PRESETS),
    sore("one lane", "M = 2"),
    sore("parts of words", "fewer lanes than columns"),
    *(wuve(name) for name in ("sat-4x4", "half the lanes, wide ACT words", "one lane")),
    wuve("a quarter of the lanes, narrow ACT words"),
    stce("sat-4x4", 250),
    *(stce(name, 200) for name in test_stce.ARRAYS),
    *(plan(name) for name in ("groups wider than words", "sat-4x4")),
    *(transfers(name) for name in ("narrow", "wide", "single")),
    Run("errors", "every error code", tests("tests/rtl/test_errors.py", "-m", "not nightly")),
    Run("counters", "all 48 bits", tests("tests/rtl/test_counters.py")),
    Run("axi", "a host and a memory that wait", tests("tests/rtl/test_axi_models.py", "-m", "not nightly")),
    law("4x4", "all units at once"),
    law("8x4", "M = 16, two activation values a row and cycle"),
    law("4x8", "M = 4, add latency 1, four-byte bus"),
    *(resets(name) for name in test_accelerator.CONFIGS),
)  # fmt: skip
