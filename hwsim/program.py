"""A program: encoded instructions in program order, and the streams that the units fetch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from .isa import Instruction, Op, Unit, Words, decode, to_words


@dataclass(frozen=True, eq=False)
class Program:
    """words: (instructions, 2) uint64 in program order, the last one a HALT.

    name: what it computes, for messages and traces.
    """

    words: Words
    name: str = "program"

    @classmethod
    def assemble(cls, instructions: Iterable[Instruction], name: str = "program") -> Self:
        """Encode a list; a HALT is added where the last instruction is none."""
        listed = list(instructions)
        if not listed or listed[-1].op is not Op.HALT:
            listed.append(Instruction(Op.HALT))
        return cls(to_words(listed), name)

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[Instruction]:
        """Decoded instructions in program order. Raises InputError for an illegal encoding."""
        for low, high in self.words.tolist():
            yield decode(low | high << 64)

    def streams(self) -> dict[Unit, list[Instruction]]:
        """What each unit executes, HALT last."""
        listed = list(self)
        return {
            unit: [item for item in listed if item.unit is unit or item.op is Op.HALT]
            for unit in Unit
        }

    def to_bytes(self) -> bytes:
        """Program order, little-endian, 16 bytes an instruction."""
        return np.ascontiguousarray(self.words, "<u8").tobytes()
