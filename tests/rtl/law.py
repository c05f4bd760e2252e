"""The law between levels 1, 3 and 4: machine = RTL in every byte, engine = RTL in every cycle."""

from collections.abc import Sequence

import numpy as np

from hwsim import engine, machine
from hwsim.config import AcceleratorConfig
from hwsim.cosim import Design
from hwsim.cosim.accelerator import Case, RtlResult, run_programs
from hwsim.host import Counter
from hwsim.isa import Unit
from hwsim.machine import Memory
from hwsim.program import Program
from hwsim.timing import cycles

Job = tuple[AcceleratorConfig, Program, np.ndarray]
"""Configuration, program and DRAM image."""


def check_bits(job: Job, result: RtlResult) -> None:
    config, program, image = job
    where = program.name
    assert not result.timed_out, where
    assert result.done, f"{where}: {result.error.name} in {result.error_unit.name}"
    expected = machine.run(program, config, Memory(image))
    different = np.flatnonzero(expected.memory.image != result.image)
    assert not different.size, f"{where}: DRAM differs first at 0x{different[0]:x}"
    assert expected.nonfinite == result.nonfinite, where


def check_times(job: Job, result: RtlResult) -> None:
    config, program, _ = job
    trace = engine.run(program, config, trace=False)
    assert cycles(program, config) == trace.cycles == result.cycles, program.name
    for unit in Unit:
        where = f"{program.name}, {unit.name}"
        assert result.counters[unit] == expected_counters(trace, unit), where


def expected_counters(trace: engine.Trace, unit: Unit) -> dict[Counter, int]:
    """The engine's account of a unit as the RTL's counters have it."""
    spent = trace.units[unit]
    stalls = {Counter[reason.name]: count for reason, count in spent.stalls.items()}
    return {Counter.BUSY: spent.busy, **stalls}


def check_law(design: Design, jobs: Sequence[Job]) -> list[RtlResult]:
    """Run all jobs on the DRAM model; compare bits and times."""
    cases = [Case.of(program, config, image) for config, program, image in jobs]
    results = run_programs(design, cases)
    for job, result in zip(jobs, results, strict=True):
        check_bits(job, result)
        check_times(job, result)
    return results


def check_under_stalls(design: Design, jobs: Sequence[Job], stall: int) -> None:
    """Run all jobs on a memory that waits at random; compare bits."""
    cases = [
        Case.of(program, config, image, stall=stall, seed=seed + 1)
        for seed, (config, program, image) in enumerate(jobs)
    ]
    for job, result in zip(jobs, run_programs(design, cases), strict=True):
        check_bits(job, result)
