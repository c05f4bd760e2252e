"""Registers set to anything while a unit works: a reset brings the design back, whatever they hold."""

from collections.abc import Sequence

import pytest

from hwsim.cosim import Design
from hwsim.cosim.accelerator import Case, accelerator_design, run_programs
from hwsim.cosim.law import Job, wrong_bits, wrong_times
from hwsim.isa import Unit
from tests.rtl import transfer_programs
from tests.rtl.test_accelerator import CONFIGS, job, watchdog_cycles
from tests.rtl.test_reset import wild_case
from tests.rtl.upsets import REGISTERS, TRANSFERS

UNITS = (Unit.STCE, Unit.STCE, Unit.STCE, Unit.SORE, Unit.WUVE)


def check(name: str, seeds: range) -> None:
    config = CONFIGS[name]
    parameters = {"WatchdogCycles": watchdog_cycles(config)}
    design = accelerator_design(config, parameters=parameters, registers=REGISTERS)
    run_upsets(design, name, [job(name, seed) for seed in seeds], UNITS)


def check_transfers(name: str, seeds: range) -> None:
    design = transfer_programs.design(name, registers=TRANSFERS)
    run_upsets(design, name, [transfer_programs.job(name, seed) for seed in seeds], (Unit.DMA,))


def run_upsets(design: Design, name: str, legal: Sequence[Job], units: Sequence[Unit]) -> None:
    """Every upset is followed by a legal program that must have its bits and times."""
    cases = []
    for seed, work in enumerate(legal):
        config, program, image = work
        wild = wild_case(f"upset {name}", seed, work, units[seed % len(units)])
        cases += [wild, Case.of(program, config, image)]
    results = run_programs(design, cases, module="upset_bench")
    for work, result in zip(legal, results[1::2], strict=True):
        assert wrong_bits(work, result) + wrong_times(work, result) == []


@pytest.mark.nightly
def test_a_reset_brings_back_registers_that_hold_anything():
    check("4x4", range(150))
    check_transfers("long", range(150))
