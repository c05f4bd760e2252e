"""All four rules. Limits and tokens first: without them neither addresses nor clocks mean anything."""

from collections.abc import Iterator

from cosparse.spec.errors import ProgramError

from ..config import AcceleratorConfig
from ..isa import Instruction, Op
from ..limits import DRAM_ADDRESSES, check_instruction
from ..program import Program
from .ordering import Clocks
from .races import Races
from .semaphores import Counts, check_serial, check_units
from .steps import Step, Violation, program_steps

_SHOWN = 20
"""Violations that `require_legal` prints."""


def check_program(
    program: Program, config: AcceleratorConfig, dram_bytes: int = DRAM_ADDRESSES
) -> list[Violation]:
    """Everything that makes the program illegal; empty when it is legal.

    dram_bytes: size of the memory that it runs on. Raises InputError for an illegal encoding.
    """
    instructions = list(program)
    steps = list(program_steps(instructions, config))
    violations = _check_end(instructions) + _check_limits(steps, dram_bytes)
    violations += check_serial(steps) + check_units(steps)
    return violations or list(_check_order(steps))


def require_legal(
    program: Program, config: AcceleratorConfig, dram_bytes: int = DRAM_ADDRESSES
) -> None:
    """Raise ProgramError, naming what is wrong, unless `check_program` finds nothing."""
    violations = check_program(program, config, dram_bytes)
    if not violations:
        return
    lines = [str(violation) for violation in violations[:_SHOWN]]
    if len(violations) > _SHOWN:
        lines.append(f"and {len(violations) - _SHOWN} more")
    raise ProgramError("\n".join(f"{program.name}: {line}" for line in lines))


def _check_end(instructions: list[Instruction]) -> list[Violation]:
    """One HALT, the last instruction, without semaphores: it closes the stream of every unit."""
    halts = {index: item for index, item in enumerate(instructions) if item.op is Op.HALT}
    if list(halts) != [len(instructions) - 1]:
        where = ", ".join(map(str, halts)) or "none"
        text = f"expected one HALT, the last of {len(instructions)}, got it at: {where}"
        return [Violation(4, tuple(halts), text)]
    return [
        Violation(4, (index,), f"instruction {index} (HALT): expected no semaphores")
        for index, item in halts.items()
        if item.wait or item.signal
    ]


def _check_limits(steps: list[Step], dram_bytes: int) -> list[Violation]:
    """Rule 4."""
    return [
        Violation(4, (step.index,), f"{step}: {problem}")
        for step in steps
        for problem in _problems(step, dram_bytes)
    ]


def _problems(step: Step, dram_bytes: int) -> list[str]:
    job = step.job
    return check_instruction(job.instruction, job.registers, job.config, dram_bytes)


def _check_order(steps: list[Step]) -> Iterator[Violation]:
    """Rule 3, and the counts of rule 2."""
    clocks, counts, races = Clocks(), Counts(), Races()
    for step in steps:
        issue, completion = clocks.step(step.unit, step.job.instruction)
        yield from counts.check(step, issue, completion)
        yield from races.check(step, issue)
