"""Instructions in program order with their place in a stream, and what may be wrong with them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..accesses import Job
from ..banks import Banks
from ..config import AcceleratorConfig
from ..disassembler import disassemble, named_bank
from ..isa import Instruction, Op, Unit


@dataclass(frozen=True)
class Violation:
    """rule: 1 to 4 of "Legal programs". instructions: their indices in program order."""

    rule: int
    instructions: tuple[int, ...]
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Step:
    """index: in program order. position: in the stream of `unit`."""

    index: int
    unit: Unit
    position: int
    job: Job

    def __str__(self) -> str:
        text = disassemble(self.job.instruction, self.job.registers)
        return f"instruction {self.index} ({self.unit.name}: {text})"


def program_steps(instructions: Iterable[Instruction], config: AcceleratorConfig) -> Iterator[Step]:
    """All instructions in program order but HALT."""
    banks = {unit: Banks(unit) for unit in Unit}
    lengths = dict.fromkeys(Unit, 0)
    for index, instruction in enumerate(instructions):
        unit = instruction.unit
        if unit is None:
            continue
        if instruction.op is Op.CONFIG:
            banks[unit].write(instruction)
        job = Job(instruction, named_bank(banks, instruction), config)
        yield Step(index, unit, lengths[unit], job)
        lengths[unit] += 1
