"""The fastest tiles of a pass, by exact time: bound first, each tile timed at most once.

Scratchpads decide which tiles fit and nothing else, so one search answers for any of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

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
from hwsim.dram import ceil_div

from .cuts import Block, Matrices, Tile, Words, blocks, tiles
from .sections import Cost, Rows, Section, TileWork, cost

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


def least_cycles(job: Job, tile: Tile) -> int:
    """Cycles that a job's program takes at least: its sections follow each other, each drained."""
    cycles = FETCH_CYCLES + HALT_CYCLES
    for block in blocks(job.matrices, tile):
        count = block.row_tiles * block.column_tiles * job.matrices.count
        cycles += _least_of_section(job.work(block), count, job.config)
    return cycles


def _least_of_section(work: TileWork, count: int, config: AcceleratorConfig) -> int:
    """The longest of what `count` equal tiles cannot do at the same time.

    - Each unit works on one tile after the other: the DMA until its last burst is done, the others from
      the end of the first loads until the last store.
    - A burst keeps one of `outstanding` slots for its own cycles and the latency.
    - The DMA executes in order, and stores of a tile stand before the loads of the tile but one behind
      it: these two, the latency and what is computed between them follow each other.
    """
    latency = config.dram_latency_cycles
    loads, stores = (_channel(rows, config) for rows in (work.loads, work.stores))
    busy, bursts = loads[0] + stores[0], loads[1] + stores[1]
    slots = (busy + bursts * latency) * count // config.outstanding
    trip = DMA_START_CYCLES + latency + DMA_END_CYCLES
    turns = count // 2 * (trip + busy + 2 * SEMAPHORE_CYCLES + work.before_stores)
    computed = loads[0] + count * max(work.sore, work.wuve) + trip
    return trip + max(count * busy, computed, slots - trip, turns - trip)


def _channel(moved: Sequence[Rows], config: AcceleratorConfig) -> tuple[int, int]:
    """(cycles that transfers occupy the channel, their bursts), at least: bursts take whole cycles."""
    cycles = bursts = 0
    for size, count, stride in ((rows.size, rows.count, rows.stride) for rows in moved):
        run, runs = (size * count, 1) if stride == size else (size, count)
        cycles += runs * ceil_div(run, config.dram_bytes_per_cycle)
        bursts += runs * ceil_div(run, config.burst_bytes)
    return cycles, bursts


class TileSearch:
    """The tiles of a job from the smallest to the largest, and the exact times known so far."""

    def __init__(self, job: Job) -> None:
        needs = [(tile, job.words(tile)) for tile in tiles(job.matrices, *job.units)]
        self.job = job
        self.smallest = needs[0][0]
        self.tiles = [tile for tile, words in needs if words is not None]
        self._words = np.array([words for _, words in needs if words is not None]).reshape(-1, 3)
        self._bounds = np.array([least_cycles(job, tile) for tile in self.tiles], np.int64)
        self._order = np.argsort(self._bounds, kind="stable")
        self._cycles: dict[int, int] = {}

    def fastest(self, limits: Limits) -> npt.NDArray[np.int64]:
        """For each configuration the position of the fastest tile that fits, or NOTHING.

        A tie goes to the smaller tile.
        """
        fits = np.all(self._words[None] <= limits[:, None], axis=2)
        return answer_once(fits, self._fastest_of)

    def _fastest_of(self, fits: Any) -> int:
        best, least = NOTHING, 0
        for position in self._order.tolist():
            if best != NOTHING and self._bounds[position] > least:
                break
            if fits[position]:
                cycles = self._time(position)
                if best == NOTHING or (cycles, position) < (least, best):
                    best, least = position, cycles
        return best

    def _time(self, position: int) -> int:
        if position not in self._cycles:
            sections = self.job.sections(self.tiles[position])
            self._cycles[position] = cost(sections, self.job.config).cycles
        return self._cycles[position]


class PlanSearch:
    """The fastest of some plans, each of whose jobs runs under its own fastest tile."""

    def __init__(self, plans: Sequence[Sequence[Job]]) -> None:
        self._plans = [[TileSearch(job) for job in plan] for plan in plans]
        self._config = plans[0][0].config
        self._costs: dict[tuple[int, ...], Cost] = {}

    def fastest(self, limits: Limits) -> list[tuple[int, ...] | None]:
        """For each configuration the plan and the position of each job's tile; None where none fits."""
        found = [
            np.stack([search.fastest(limits) for search in plan], axis=1) for plan in self._plans
        ]
        together = np.concatenate(found, axis=1)
        ids, first = _numbered(together)
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
            self._costs[run] = cost(self.sections(run), self._config)
        return self._costs[run]

    def sections(self, run: tuple[int, ...]) -> list[Section]:
        """The program of a plan with one tile for each job."""
        plan, positions = self._plans[run[0]], run[1:]
        return [
            section
            for search, position in zip(plan, positions, strict=True)
            for section in search.job.sections(search.tiles[position])
        ]

    def smallest_tiles(self, limits: Limits) -> list[Tile]:
        """The smallest tile of each job that has none within the first limits."""
        return [
            search.smallest
            for plan in self._plans
            for search in plan
            if search.fastest(limits[:1])[0] == NOTHING
        ]


def answer_once(rows: npt.NDArray[Any], answer: Any) -> npt.NDArray[np.int64]:
    """`answer` of every row, asked once for equal rows."""
    ids, first = _numbered(rows)
    return np.array([answer(rows[index]) for index in first], np.int64)[ids]


def _numbered(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[int]]:
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
