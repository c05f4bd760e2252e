"""The law on one program: machine = RTL in every byte, timing = engine = RTL in every cycle."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cosparse.spec.dtypes import Array

from .. import engine, machine, timing
from ..config import AcceleratorConfig
from ..host import Counter
from ..isa import Unit
from ..machine import Memory
from ..program import Program
from .accelerator import RtlResult

Job = tuple[AcceleratorConfig, Program, Array]
"""Configuration, program and the DRAM image that it finds."""


@dataclass(frozen=True)
class Verdict:
    """What was compared. predicted: cycles of the timing model; counted: of the RTL.

    counters: the RTL's own, of each unit. differences: a line each; empty where all is equal.
    """

    predicted: int
    counted: int
    bytes_compared: int
    counters: Mapping[Unit, Mapping[Counter, int]]
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differences


def judge(job: Job, result: RtlResult) -> Verdict:
    """Compare memory, NONFINITE, total cycles and every unit's busy and stall cycles."""
    config, program, _ = job
    return Verdict(
        predicted=timing.cycles(program, config),
        counted=result.cycles,
        bytes_compared=len(result.image),
        counters=result.counters,
        differences=(*wrong_bits(job, result), *wrong_times(job, result)),
    )


def wrong_bits(job: Job, result: RtlResult) -> list[str]:
    """What the RTL left in memory and said at the end, where the machine says otherwise."""
    config, program, image = job
    name = program.name
    if result.timed_out or not result.done:
        why = "no interrupt" if result.timed_out else f"error {result.error.name}"
        return [f"{name}: expected HALT, got {why} ({result.error_unit.name})"]
    expected = machine.run(program, config, Memory(image))
    different = np.flatnonzero(expected.memory.image != result.image)
    problems = []
    if different.size:
        problems += [f"{name}: {different.size} bytes differ, first 0x{different[0]:x}"]
    if expected.nonfinite != result.nonfinite:
        problems += [f"{name}: expected NONFINITE {expected.nonfinite}"]
    return problems


def wrong_times(job: Job, result: RtlResult) -> list[str]:
    """Cycles in which engine, timing and RTL differ; nothing for a run that did not end."""
    if not result.done:
        return []
    config, program, _ = job
    name, trace = program.name, engine.run(program, config, trace=False)
    found = (timing.cycles(program, config), trace.cycles, result.cycles)
    problems = []
    if len(set(found)) > 1:
        problems += [f"{name}: timing, engine, RTL count {found} cycles"]
    for unit in Unit:
        expected, got = expected_counters(trace, unit), result.counters[unit]
        if expected != got:
            gained = {c.name: got[c] - expected[c] for c in Counter if got[c] != expected[c]}
            problems += [f"{name}: {unit.name} counts {gained} more than the engine"]
    return problems


def expected_counters(trace: engine.Trace, unit: Unit) -> dict[Counter, int]:
    """The engine's account of a unit as the RTL's counters have it."""
    spent = trace.units[unit]
    stalls = {Counter[reason.name]: count for reason, count in spent.stalls.items()}
    return {Counter.BUSY: spent.busy, **stalls}
