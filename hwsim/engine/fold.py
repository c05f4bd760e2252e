"""WS: the cycles of one fold, and what the next one waits for."""

from dataclasses import dataclass

from ..constants import PARTIAL_SUM_WRITE_CYCLES
from .walk import Fold, Walk, ceil_div
from .work import Work


@dataclass(frozen=True)
class FoldPlan:
    """One fold of one column tile, on an array of `rows` rows.

    slots: occupied by one step (Ir tokens). entry_cycles: n * S, of a step on the array. take_cycles:
    in which a row takes its values of a step. read_cycles: of a step at the feeder; turn_cycles: until
    it may read the first step of another fold. steps: ceil(tokens / Ir). weight_cycles: load of the
    pairs. row_delay: d, a row of the array begins a step so much later than the row above it.
    """

    rows: int
    slots: int
    n: int
    entry_cycles: int
    take_cycles: int
    read_cycles: int
    turn_cycles: int
    steps: int
    weight_cycles: int
    row_delay: int

    @property
    def load_cycles(self) -> int:
        """Until the first step may start, when no fold before it hides the load."""
        return max(self.weight_cycles, self.read_cycles)

    @property
    def first_read_cycles(self) -> int:
        """Of the first step, behind another fold: rows take the last blocks of the word before."""
        return self.turn_cycles + self.read_cycles

    @property
    def step_cycles(self) -> int:
        """P."""
        return max(self.entry_cycles, self.read_cycles)

    @property
    def last_step(self) -> int:
        """From the fold's start until its last step."""
        return (self.steps - 1) * self.step_cycles

    @property
    def sum_cycles(self) -> int:
        """D, from a step's start until a later fold may read its partial sums."""
        return self.rows * self.row_delay + PARTIAL_SUM_WRITE_CYCLES

    @property
    def sums_written(self) -> int:
        """From the fold's start until the last slot of its last step is in the banks."""
        return self.last_step + self.sum_cycles + self.slots - 1

    def spacing(self, following: "FoldPlan") -> int:
        """Cycles from this fold's start to the start of `following`."""
        return max(
            self.last_step + max(self._rows_free(following), following.first_read_cycles),
            following.weight_cycles,
            self._sums_ready(following),
        )

    def _rows_free(self, following: "FoldPlan") -> int:
        """From the last step's start until no row is still busy when `following` comes to it.

        Rows below begin so much sooner with a narrower column tile, and take its values before.
        """
        sooner = (self.rows - 1) * (self.row_delay - following.row_delay)
        return max(self.entry_cycles, self.take_cycles) + sooner

    def _sums_ready(self, following: "FoldPlan") -> int:
        """Until no step of a faster `following` fold reads its partial sums before they are written."""
        gained = max(0, self.step_cycles - following.step_cycles)
        return self.sum_cycles + (self.steps - 1) * gained

    def work(self, following: "FoldPlan | None") -> Work:
        """Of all steps. Beside the last one the feeder brings the first step of `following`."""
        data = (self.steps - 1) * (self.step_cycles - self.entry_cycles)
        if following:
            data += max(0, following.first_read_cycles - self.entry_cycles)
        busy = self.steps * self.n * self.slots
        return Work(busy=busy, adder=self.steps * self.entry_cycles - busy, data=data)


def fold_plans(walk: Walk) -> list[FoldPlan]:
    """Column tiles outermost, folds inside."""
    folds = walk.folds()
    return [_plan(walk, fold, columns) for columns in walk.column_tiles() for fold in folds]


def _plan(walk: Walk, fold: Fold, columns: int) -> FoldPlan:
    config = walk.config
    slot_columns = ceil_div(columns, config.cols)
    slots = walk.ir * slot_columns
    slot_cycles = max(slots, config.add_latency)
    blocks = ceil_div(walk.m, config.act_values_per_row_cycle)
    reads = max(fold.words, blocks)
    return FoldPlan(
        rows=config.rows,
        slots=slots,
        n=walk.n,
        entry_cycles=walk.n * slot_cycles,
        take_cycles=walk.ir * blocks,
        read_cycles=walk.ir * reads,
        turn_cycles=min(config.rows, blocks) - 1,
        steps=ceil_div(walk.tokens, walk.ir),
        weight_cycles=config.rows * walk.n * slot_columns,
        row_delay=(walk.n - 1) * slot_cycles + config.add_latency + 1,
    )
