"""The accelerator's program for one product of a step: its text, and its timeline."""

from collections.abc import Iterator
from pathlib import Path

from cosparse.spec import Gemm, InputError, Workload
from cosparse.spec.errors import unknown_name
from hwsim.compile.emit import emit
from hwsim.config import AcceleratorConfig
from hwsim.disassembler import disassemble_program
from hwsim.engine import run
from hwsim.pricing import product_schedules
from hwsim.program import Program
from hwsim.trace import write_trace

from .store import replacing

MAX_INSTRUCTIONS = 200_000
"""A longer program is not written out; a smaller batch has a shorter one."""


def product_program(workload: Workload, config: AcceleratorConfig, product: str) -> Program:
    """The program of `product`, LAYER:PHASE, under its fastest schedule.

    Raises InputError for an unknown product and for a program of more than MAX_INSTRUCTIONS.
    """
    gemm = _find(workload, product)
    found = product_schedules(workload, config, gemm)
    schedule = min(found.values(), key=lambda one: one.cycles)
    if schedule.instructions > MAX_INSTRUCTIONS:
        raise InputError(
            f"{product}: expected a program of at most {MAX_INSTRUCTIONS:,} instructions, got "
            f"{schedule.instructions:,}; give the scenario a smaller 'batch'"
        )
    return emit(schedule.nests, config, product)


def text_of(program: Program) -> Iterator[str]:
    """One line an instruction."""
    yield from disassemble_program(program)


def write_timeline(program: Program, config: AcceleratorConfig, path: Path) -> int:
    """Run the program on the engine and write its Chrome trace. Returns the cycles."""
    trace = run(program, config)
    with replacing(path) as partial:
        write_trace(trace, partial)
    return trace.cycles


def _find(workload: Workload, product: str) -> Gemm:
    by_name = {f"{gemm.name}:{gemm.phase.value}": gemm for gemm in workload.gemms}
    if product not in by_name:
        raise InputError(unknown_name("product", product, by_name))
    return by_name[product]
