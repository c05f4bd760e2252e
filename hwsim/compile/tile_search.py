"""The fastest tiles of a pass, by exact time: bound first, each tile timed at most once.

Scratchpads decide which tiles fit and nothing else, so one search answers for any of them; what a memory
does not change (`Candidates`) is worked out once for all memories.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from hwsim.config import AcceleratorConfig
from hwsim.constants import (
    DMA_END_CYCLES,
    DMA_START_CYCLES,
    FETCH_CYCLES,
    HALT_CYCLES,
    SEMAPHORE_CYCLES,
)

from .cuts import Block, Matrices, Tile, Words, blocks, tiles
from .sections import Cost, Rows, Section, Streams, TileWork

Table = npt.NDArray[np.int64]

Limits = npt.NDArray[np.int64]
"""(configurations, 3) words of a half of ACT, WGT and ACC."""

NOTHING = -1
"""Where no tile fits."""


class Job(Protocol):
    """Work over matrices that can be cut into tiles."""

    @property
    def config(self) -> AcceleratorConfig: ...

    @property
    def matrices(self) -> Matrices: ...

    @property
    def units(self) -> tuple[int, int]:
        """Rows and columns that a tile must keep together."""

    def words(self, tile: Tile) -> Words | None:
        """Scratchpad words of a tile; None for one that the job cannot be cut into."""

    def work(self, block: Block) -> TileWork:
        """Of a tile of a block."""

    def sections(self, tile: Tile) -> Iterator[Section]: ...


def limits_of(config: AcceleratorConfig) -> Limits:
    """The limits of one configuration: (1, 3)."""
    halves = (
        config.activation_half_words,
        config.weight_half_words,
        config.accumulator_half_words,
    )
    return np.array([halves], np.int64)


class Transfers(NamedTuple):
    """Transfers of blocks, one block after the other: bytes and number of runs, where each block begins."""

    run: Table
    runs: Table
    begins: Table

    @classmethod
    def of(cls, blocks: Sequence[Sequence[Rows]]) -> Self:
        runs = [_runs(rows) for block in blocks for rows in block]
        sizes = np.array(runs, np.int64).reshape(-1, 2)
        begins = np.cumsum([0, *(len(block) for block in blocks[:-1])])
        return cls(sizes[:, 0], sizes[:, 1], begins)

    def on(self, config: AcceleratorConfig) -> tuple[Table, Table]:
        """(cycles in which they occupy the channel, bursts) of each block, at least."""
        cycles = self.runs * -(-self.run // config.dram_bytes_per_cycle)
        bursts = self.runs * -(-self.run // config.burst_bytes)
        return np.add.reduceat(cycles, self.begins), np.add.reduceat(bursts, self.begins)


def _runs(rows: Rows) -> tuple[int, int]:
    """(bytes, number): rows without gaps are one run."""
    return (rows.size * rows.count, 1) if rows.stride == rows.size else (rows.size, rows.count)


class Candidates:
    """The tiles of a job from the smallest to the largest, and what no memory changes about them."""

    def __init__(self, job: Job) -> None:
        needs = [(tile, job.words(tile)) for tile in tiles(job.matrices, *job.units)]
        self.job = job
        self.smallest = needs[0][0]
        self.tiles = [tile for tile, words in needs if words is not None]
        self.words = np.array([words for _, words in needs if words is not None]).reshape(-1, 3)
        cut = [list(blocks(job.matrices, tile)) for tile in self.tiles]
        self._begins = np.cumsum([0, *map(len, cut[:-1])])
        listed = [block for of_tile in cut for block in of_tile]
        work = [job.work(block) for block in listed]
        self._counts = np.array(
            [block.row_tiles * block.column_tiles * job.matrices.count for block in listed],
            np.int64,
        )
        self._loads = Transfers.of([one.loads for one in work])
        self._stores = Transfers.of([one.stores for one in work])
        self._computed = np.array([max(one.sore, one.wuve) for one in work], np.int64)
        self._before_stores = np.array([one.before_stores for one in work], np.int64)
        self._programs: dict[int, Streams] = {}

    def bounds(self, config: AcceleratorConfig) -> Table:
        """Cycles that the program of each tile takes at least. config: its memory is read.

        The sections of a program follow each other, each drained. A section of `count` equal tiles is as long
        as the longest of what it cannot do at the same time:

        - Each unit works on one tile after the other: the DMA until its last burst is done, the others from
          the end of the first loads until the last store.
        - A burst keeps one of `outstanding` slots for its own cycles and the latency.
        - The DMA executes in order, and stores of a tile stand before the loads of the tile but one behind
          it: these two, the latency and what is computed between them follow each other.
        """
        count, latency = self._counts, config.dram_latency_cycles
        loading, loads = self._loads.on(config)
        storing, stores = self._stores.on(config)
        busy, bursts = loading + storing, loads + stores
        trip = DMA_START_CYCLES + latency + DMA_END_CYCLES
        slots = (busy + bursts * latency) * count // config.outstanding
        turns = count // 2 * (trip + busy + 2 * SEMAPHORE_CYCLES + self._before_stores)
        computed = 2 * trip + loading + count * self._computed
        section = np.maximum.reduce([trip + count * busy, computed, slots, turns])
        found: Table = FETCH_CYCLES + HALT_CYCLES + np.add.reduceat(section, self._begins)
        return found

    def program(self, position: int) -> Streams:
        """What a tile runs."""
        if position not in self._programs:
            sections = list(self.job.sections(self.tiles[position]))
            self._programs[position] = Streams.of(sections)
        return self._programs[position]


class TileSearch:
    """The exact times of a job's tiles on one memory, as far as they are known."""

    def __init__(self, candidates: Candidates, config: AcceleratorConfig) -> None:
        self._candidates, self._config = candidates, config
        self._bounds = candidates.bounds(config)
        self._order = np.argsort(self._bounds, kind="stable").tolist()
        self._cycles: dict[int, int] = {}

    def fastest(self, limits: Limits) -> Table:
        """For each configuration the position of the fastest tile that fits, or NOTHING.

        A tie goes to the smaller tile.
        """
        fits = np.all(self._candidates.words[None] <= limits[:, None], axis=2)
        return answer_once(fits, self._fastest_of)

    def _fastest_of(self, fits: Any) -> int:
        best, least = NOTHING, 0
        for position in self._order:
            if best != NOTHING and self._bounds[position] > least:
                break
            if fits[position]:
                cycles = self._time(position)
                if best == NOTHING or (cycles, position) < (least, best):
                    best, least = position, cycles
        return best

    def _time(self, position: int) -> int:
        if position not in self._cycles:
            program = self._candidates.program(position)
            self._cycles[position] = program.cost(self._config).cycles
        return self._cycles[position]


class PlanSearch:
    """The fastest of some plans on one memory, each of whose jobs runs under its own fastest tile."""

    def __init__(self, plans: Sequence[Sequence[Candidates]], config: AcceleratorConfig) -> None:
        self._plans, self._config = plans, config
        self._searches = [[TileSearch(job, config) for job in plan] for plan in plans]
        self._costs: dict[tuple[int, ...], Cost] = {}

    def fastest(self, limits: Limits) -> list[tuple[int, ...] | None]:
        """For each configuration the plan and the position of each job's tile; None where none fits."""
        found = [
            np.stack([search.fastest(limits) for search in plan], axis=1) for plan in self._searches
        ]
        ids, first = _numbered(np.concatenate(found, axis=1))
        answers = [self._fastest_plan([rows[index] for rows in found]) for index in first]
        return [answers[number] for number in ids.tolist()]

    def _fastest_plan(self, positions: list[Any]) -> tuple[int, ...] | None:
        runs = [
            (number, *chosen.tolist())
            for number, chosen in enumerate(positions)
            if NOTHING not in chosen
        ]
        return min(runs, key=lambda run: self.cost(run).cycles, default=None)

    def cost(self, run: tuple[int, ...]) -> Cost:
        """Exact cost of a plan with one tile for each job, as one program."""
        if run not in self._costs:
            jobs = zip(self._plans[run[0]], run[1:], strict=True)
            program = Streams.joined([job.program(position) for job, position in jobs])
            self._costs[run] = program.cost(self._config)
        return self._costs[run]

    def misfits(self, limits: Limits) -> list[Tile]:
        """The smallest tile of each job that has none within the first limits."""
        return [
            job.smallest
            for plan, searches in zip(self._plans, self._searches, strict=True)
            for job, search in zip(plan, searches, strict=True)
            if search.fastest(limits[:1])[0] == NOTHING
        ]


def answer_once(rows: npt.NDArray[Any], answer: Any) -> Table:
    """`answer` of every row, asked once for equal rows."""
    ids, first = _numbered(rows)
    return np.array([answer(rows[index]) for index in first], np.int64)[ids]


def _numbered(rows: npt.NDArray[Any]) -> tuple[Table, list[int]]:
    """(number of each row, where each number stands first): equal rows have equal numbers."""
    numbers: dict[bytes, int] = {}
    first: list[int] = []
    ids = np.empty(len(rows), np.int64)
    for index, row in enumerate(rows):
        key = row.tobytes()
        if key not in numbers:
            numbers[key] = len(first)
            first.append(index)
        ids[index] = numbers[key]
    return ids, first
