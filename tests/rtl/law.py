"""The law between levels 1, 3 and 4: machine = RTL in every byte, engine = RTL in every cycle."""

from collections.abc import Iterable, Sequence

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


def wrong_bits(job: Job, result: RtlResult) -> list[str]:
    """What the RTL left in memory and said at the end, where the machine says otherwise."""
    config, program, image = job
    if result.timed_out or not result.done:
        why = "no interrupt" if result.timed_out else f"error {result.error.name}"
        return [f"{program.name}: expected HALT, got {why} ({result.error_unit.name})"]
    expected = machine.run(program, config, Memory(image))
    different = np.flatnonzero(expected.memory.image != result.image)
    problems = []
    if different.size:
        problems += [f"{program.name}: {different.size} bytes differ, first 0x{different[0]:x}"]
    if expected.nonfinite != result.nonfinite:
        problems += [f"{program.name}: expected NONFINITE {expected.nonfinite}"]
    return problems


def wrong_times(job: Job, result: RtlResult) -> list[str]:
    """Cycles in which engine, timing and RTL differ; nothing for a run that did not end."""
    config, program, _ = job
    if not result.done:
        return []
    trace = engine.run(program, config, trace=False)
    found = (cycles(program, config), trace.cycles, result.cycles)
    problems = []
    if len(set(found)) > 1:
        problems += [f"{program.name}: timing, engine, RTL count {found} cycles"]
    for unit in Unit:
        expected, got = expected_counters(trace, unit), result.counters[unit]
        if expected != got:
            gained = {c.name: got[c] - expected[c] for c in Counter if got[c] != expected[c]}
            problems += [f"{program.name}: {unit.name} counts {gained} more than the engine"]
    return problems


def check_bits(job: Job, result: RtlResult) -> None:
    assert wrong_bits(job, result) == []


def check_times(job: Job, result: RtlResult) -> None:
    assert wrong_times(job, result) == []


def expected_counters(trace: engine.Trace, unit: Unit) -> dict[Counter, int]:
    """The engine's account of a unit as the RTL's counters have it."""
    spent = trace.units[unit]
    stalls = {Counter[reason.name]: count for reason, count in spent.stalls.items()}
    return {Counter.BUSY: spent.busy, **stalls}


def check_law(design: Design, jobs: Sequence[Job]) -> None:
    """Run all jobs on the DRAM model, from registers that hold anything; compare bits and times."""
    cases = [Case.of(program, config, image) for config, program, image in jobs]
    results = run_programs(design, cases, random_start=True)
    _report(
        wrong_bits(job, result) + wrong_times(job, result)
        for job, result in zip(jobs, results, strict=True)
    )


def check_under_stalls(design: Design, jobs: Sequence[Job], stall: int) -> None:
    """Run all jobs on a memory that waits at random; compare bits."""
    cases = [
        Case.of(program, config, image, stall=stall, seed=seed + 1)
        for seed, (config, program, image) in enumerate(jobs)
    ]
    results = run_programs(design, cases)
    _report(wrong_bits(job, result) for job, result in zip(jobs, results, strict=True))


def _report(problems: Iterable[list[str]]) -> None:
    """Fail with how many jobs have problems, and what those of the first few are."""
    bad = [found for found in problems if found]
    listed = "\n".join(line for found in bad[:5] for line in found)
    assert not bad, f"{len(bad)} jobs differ\n{listed}"
