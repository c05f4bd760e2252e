"""Sections of streaming tiles as data, their cycles and their instructions; `streams` runs them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hwsim.accesses import ceil_div, word_bytes
from hwsim.config import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.isa import FIELDS, REGISTERS, UNIT_OF, Instruction, Op, Space, configure
from hwsim.program import Program

from . import streams

Table = npt.NDArray[np.int64]

COUNTERS = ("bytes_read", "bytes_written", "sore_busy", "wuve_busy", "instructions")

_NAMED_FIRST = ("bank", "space", "vector_op", "dram")
"""Fields that are not words of a scratchpad."""


@dataclass(frozen=True)
class Place:
    """A word of a scratchpad: its address for even tiles, and how far odd tiles lie behind."""

    word: int
    half_words: int


@dataclass(frozen=True)
class Step:
    """One instruction of every tile; the fields are columns of `streams`.

    places: operands in the order of the instruction's fields. dram, strides: address of tile 0 and
    the bytes by which each loop moves it. The semaphores are masks.
    """

    op: Op
    registers: Mapping[str, int]
    places: tuple[Place, ...]
    code: int = 0
    ahead: int = 0
    dram: int = 0
    strides: tuple[int, ...] = ()
    wait: int = 0
    late_wait: int = 0
    signal: int = 0
    early_signal: int = 0
    fences: int = 0

    def row(self, bank: int) -> Table:
        """(TABLE_WIDTH,)."""
        unit = UNIT_OF[self.op]
        row = np.zeros(streams.TABLE_WIDTH, np.int64)
        row[: streams.STEPS] = (
            *(unit, self.op, bank, self.code, self.ahead),
            *(self.wait, self.late_wait, self.signal, self.early_signal, self.fences, self.dram),
        )
        names = [item.name for item in REGISTERS[unit]]
        _write(row, streams.STEPS, self.strides)
        _write(row, streams.ADDRESS, [place.word for place in self.places])
        _write(row, streams.HALF, [place.half_words for place in self.places])
        _write(row, streams.REGISTER, [self.registers.get(name, 0) for name in names])
        return row

    def configs(self, bank: int, pairs: int) -> Iterator[Instruction]:
        """CONFIGs of the register pairs whose bit is set."""
        for pair, config in enumerate(configure(UNIT_OF[self.op], bank, self.registers)):
            if pairs >> pair & 1:
                yield config

    def instruction(self, bank: int, dram: int, tile: int, wait: int, signal: int) -> Instruction:
        """The instruction of one tile."""
        named = {"bank": bank, "space": self.code, "vector_op": self.code, "dram": dram}
        words = iter(self.places)
        args = {}
        for item in FIELDS[self.op]:
            if item.name in _NAMED_FIRST:
                args[item.name] = named[item.name]
            else:
                place = next(words)
                args[item.name] = place.word + tile % 2 * place.half_words
        return Instruction(self.op, args, wait, signal)


def _write(row: Table, first: int, values: Sequence[int]) -> None:
    row[first : first + len(values)] = values


@dataclass(frozen=True)
class Section:
    """Equal tiles over loops, innermost first. fenced: each group of transfers waits for the last."""

    steps: tuple[Step, ...]
    counts: tuple[int, ...]
    fenced: bool = False

    @cached_property
    def banks(self) -> tuple[int, ...]:
        """Bank of each step: its number among those of its unit."""
        units = [UNIT_OF[step.op] for step in self.steps]
        return tuple(units[:index].count(unit) for index, unit in enumerate(units))

    @cached_property
    def table(self) -> Table:
        """(steps, TABLE_WIDTH)."""
        rows = [step.row(bank) for step, bank in zip(self.steps, self.banks, strict=True)]
        return np.stack(rows)

    @cached_property
    def loops(self) -> Table:
        """(LEVELS,) counts."""
        loops = np.ones(streams.LEVELS, np.int64)
        _write(loops, 0, self.counts)
        return loops

    @property
    def tiles(self) -> int:
        return int(self.loops.prod())


@dataclass(frozen=True)
class Cost:
    """cycles: of the sections as one program. counters: by name, see COUNTERS; busy in cycles."""

    cycles: int
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """`count` rows of `size` bytes in DRAM, `stride` bytes apart, as one transfer."""

    size: int
    count: int
    stride: int

    def registers(self, space: Space, config: AcceleratorConfig) -> dict[str, int]:
        """Registers of the transfer; rows without gaps are one run."""
        whole = self.count == 1 or self.stride == self.size
        return {
            "run_bytes": self.size * self.count if whole else self.size,
            "count0": 1 if whole else self.count,
            "stride0": 0 if whole else self.stride,
            "count1": 1,
            "count2": 1,
            "row_bytes": self.size,
            "row_words": ceil_div(self.size, word_bytes(space, config)),
        }


class TileWork(NamedTuple):
    """What a tile asks of the units.

    loads, stores: its transfers. sore, wuve: cycles in which it keeps these units busy at least.
    before_stores: of those cycles, the ones between the end of its loads and its first store.
    """

    loads: tuple[Rows, ...]
    stores: tuple[Rows, ...]
    sore: int
    wuve: int
    before_stores: int


class Streams(NamedTuple):
    """Sections that run one after the other, as `streams` reads them.

    table: of all sections, up to ends[s] of section s. loops: (sections, LEVELS). fenced: (sections,).
    """

    table: Table
    ends: Table
    loops: Table
    fenced: Table

    @classmethod
    def of(cls, sections: Sequence[Section]) -> Self:
        return cls(
            np.concatenate([section.table for section in sections]),
            np.cumsum([len(section.steps) for section in sections]),
            np.stack([section.loops for section in sections]),
            np.array([section.fenced for section in sections], np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        ends = np.cumsum([part.ends[-1] for part in parts]) - [part.ends[-1] for part in parts]
        moved = [part.ends + before for part, before in zip(parts, ends, strict=True)]
        tables, loops, fenced = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("table", "loops", "fenced")
        )
        return cls(tables, np.concatenate(moved), loops, fenced)

    def cost(self, config: AcceleratorConfig) -> Cost:
        """Exact cycles as one program, without its instructions."""
        found = np.zeros(len(COUNTERS), np.int64)
        cycles = streams.price_sections(*self, config_vector(config), found)
        return Cost(int(cycles), dict(zip(COUNTERS, found.tolist(), strict=True)))


def cost(sections: Iterable[Section], config: AcceleratorConfig) -> Cost:
    """Exact cycles of sections, one after the other, without their instructions."""
    return Streams.of(list(sections)).cost(config)


def sections_program(sections: Iterable[Section], config: AcceleratorConfig, name: str) -> Program:
    """The program of sections, one after the other."""
    vector = config_vector(config)
    state = streams.new_state(vector)
    instructions: list[Instruction] = []
    for section in sections:
        record = np.zeros((len(section.steps) * section.tiles, streams.RECORD_WIDTH), np.int64)
        table, loops = section.table, section.loops
        streams.walk_section(table, loops, section.fenced, vector, state, record)
        for index, tile, wait, signal, pairs in record.tolist():
            step, bank = section.steps[index], section.banks[index]
            dram = streams.tile_address(table[index], tile, loops)
            instructions += step.configs(bank, pairs)
            instructions.append(step.instruction(bank, dram, tile, wait, signal))
    return Program.assemble(instructions, name)


def mask(*semaphores: int) -> int:
    """The mask with one bit for each semaphore."""
    return sum(1 << semaphore for semaphore in semaphores)


def marked(
    steps: Sequence[Step], first: Mapping[str, int], last: Mapping[str, int]
) -> Iterator[Step]:
    """The steps, with masks added to the first and to the last of them."""
    for index, step in enumerate(steps):
        added = [first] if index == 0 else []
        added += [last] if index == len(steps) - 1 else []
        for masks in added:
            changes: dict[str, Any] = {
                name: getattr(step, name) | bits for name, bits in masks.items()
            }
            step = replace(step, **changes)
        yield step
