"""Cut nests as a Program: the rows that `walk` records, with the CONFIGs that they need."""

from collections.abc import Iterable, Iterator

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.isa import REGISTERS, Instruction, Op, Unit, configure
from hwsim.program import Program

from .evaluate import shape_vector
from .loops import block_counts
from .nest import Nests
from .walk import ORDINALS, RECORD_WIDTH, walk

_ROWS_A_STEP = 6
_REGISTERS_FROM = 11


def emit(nests: Nests, config: AcceleratorConfig, name: str = "program") -> Program:
    """The program of cut nests, one after the other."""
    ordinals = np.zeros(ORDINALS, np.int64)
    banks = {unit: {bank: _Bank(unit, bank) for bank in range(5)} for unit in (Unit.DMA, Unit.STCE)}
    instructions: list[Instruction] = []
    for nest in nests:
        steps = int(np.prod(block_counts(nest)))
        record = np.zeros((_ROWS_A_STEP * steps, RECORD_WIDTH), np.int64)
        count = walk(nest, shape_vector(config), ordinals, record)
        for row in record[:count].tolist():
            unit = Unit.STCE if row[0] == Op.MATMUL else Unit.DMA
            instructions += banks[unit][row[1]].written(row[_REGISTERS_FROM:])
            instructions.append(_instruction(row))
    return Program.assemble(instructions, name)


class _Bank:
    """What a descriptor bank holds, so that only registers that change are written."""

    def __init__(self, unit: Unit, bank: int) -> None:
        self._unit, self._bank = unit, bank
        self._count = len(REGISTERS[unit])
        self._values = [0] * self._count

    def written(self, values: list[int]) -> Iterator[Instruction]:
        """CONFIGs of the pairs that differ."""
        wanted = values[: self._count]
        names = [item.name for item in REGISTERS[self._unit]]
        pairs = configure(self._unit, self._bank, dict(zip(names, wanted, strict=True)))
        for first, instruction in zip(range(0, self._count, 2), pairs, strict=True):
            if self._values[first : first + 2] != wanted[first : first + 2]:
                yield instruction
        self._values = wanted


def _instruction(row: list[int]) -> Instruction:
    op, bank, space, accumulate, wait, signal = row[:6]
    if op == Op.MATMUL:
        names = ("act", "wgt", "acc", "table")
        args = {"bank": bank, "accumulate": accumulate}
        return Instruction(Op.MATMUL, args | dict(zip(names, row[6:10], strict=True)), wait, signal)
    args = {"bank": bank, "space": space, "local": row[6], "dram": row[7]}
    return Instruction(Op(op), args, wait, signal)


def instructions_of(programs: Iterable[Program]) -> int:
    """Instructions of all programs together."""
    return sum(len(program) for program in programs)
