"""The study as a table: every cell with its seeds, paired loss, bounds and verdict, run or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import DENSE, ONE_SHOT, Cell, Grid, Run
from .records import Record
from .statistics import HOLDS, Loss, loss_of
from .tasks import Task

Metrics = Mapping[int, float | None]
CONTRASTS = (
    ("pgf", "sr-ste", "1:16"),
    ("pgf", "sr-ste", "1:32"),
    ("bdwp-stepwise", "bdwp", "1:8"),
    ("bdwp-stepwise", "bdwp", "1:16"),
    ("bdwp", "random", "2:8"),
    ("bdwp", "sr-ste", "2:8"),
    ("low-rank-guided", "low-rank", "1:32"),
)
"""(method, against, pattern): which of two is better."""


@dataclass(frozen=True)
class Row:
    """One line. planned, done: seeds. cost: operations over dense, None where nothing was run."""

    task: str
    label: str
    planned: int
    done: int
    mean: float | None
    loss: Loss
    verdict: str
    cost: float | None
    windows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "cell": self.label,
            "seeds_planned": self.planned,
            "seeds_done": self.done,
            "pairs": self.loss.pairs,
            "diverged": self.loss.diverged,
            "mean": self.mean,
            "loss": self.loss.mean,
            "lower": self.loss.lower,
            "upper": self.loss.upper,
            "verdict": self.verdict,
            "cost": self.cost,
            "last_window": self.windows[-1] if self.windows else None,
        }


@dataclass(frozen=True)
class Contrast:
    """Two methods on the same seeds; the gain of the first, positive where it is better."""

    task: str
    text: str
    gain: Loss

    @property
    def verdict(self) -> str:
        if self.gain.lower is None or self.gain.upper is None:
            return "not run"
        if self.gain.lower > 0:
            return "better"
        return "worse" if self.gain.upper < 0 else "not resolved"


def rows_of(grid: Grid, records: Mapping[str, Record]) -> list[Row]:
    """One row a cell, and one a pattern of one-shot pruning, task by task."""
    by_cell = _by_cell(grid, records)
    rows = []
    for name in dict.fromkeys(cell.task for cell in grid.seeds):
        task = grid.task(name)
        dense = _metrics(by_cell.get(_dense(name), []))
        for cell, seeds in grid.seeds.items():
            if cell.task == name:
                rows.append(_row(task, cell, seeds, by_cell.get(cell, []), dense))
        rows += [_one_shot(task, grid, pattern, by_cell, dense) for pattern in grid.one_shot]
    return rows


def contrasts_of(grid: Grid, records: Mapping[str, Record]) -> list[Contrast]:
    """The pairs of methods that this grid has."""
    by_cell, found = _by_cell(grid, records), []
    for task in dict.fromkeys(cell.task for cell in grid.seeds):
        for method, against, pattern in CONTRASTS:
            cells = Cell(task, method, pattern), Cell(task, against, pattern)
            if not all(cell in grid.seeds for cell in cells):
                continue
            mine, other = (by_cell.get(cell, []) for cell in cells)
            metric = mine[0].metric_name if mine else "accuracy"
            # the loss of the other against this one is this one's gain
            gain = loss_of(metric, _metrics(other), _metrics(mine))
            found.append(Contrast(task, f"{method} over {against} at {pattern}", gain))
    return found


def _by_cell(grid: Grid, records: Mapping[str, Record]) -> dict[Cell, list[Record]]:
    found: dict[Cell, list[Record]] = {}
    for run in grid.runs():
        record = records.get(grid.key(run))
        if record is not None:
            found.setdefault(run.cell, []).append(record)
    return found


def _row(task: Task, cell: Cell, planned: int, records: Sequence[Record], dense: Metrics) -> Row:
    own = _metrics(records)
    loss = loss_of(records[0].metric_name if records else "", own, dense)
    verdict = "baseline" if cell.method == DENSE else _verdict(loss, task)
    windows = next((record.windows for record in records if record.windows), [])
    cost = records[0].cost if records else None
    return Row(
        task.name, cell.label, planned, len(records), _mean(own), loss, verdict, cost, windows
    )


def _one_shot(
    task: Task, grid: Grid, pattern: str, by_cell: Mapping[Cell, list[Record]], dense: Metrics
) -> Row:
    """The control: pruning without training must lose, or the task tells methods apart from nothing."""
    cell = _dense(task.name)
    records = [one for one in by_cell.get(cell, []) if pattern in one.one_shot]
    own: Metrics = {one.seed: one.one_shot[pattern] for one in records}
    loss = loss_of(records[0].metric_name if records else "", own, dense)
    verdict = "not run" if loss.pairs < 2 else "loses" if loss.significant else "does not lose"
    label = f"{ONE_SHOT} {pattern} (control)"
    return Row(
        task.name, label, grid.seeds.get(cell, 0), len(records), _mean(own), loss, verdict, None, []
    )


def _verdict(loss: Loss, task: Task) -> str:
    if loss.pairs < 2:
        return "not run"
    verdict = loss.verdict(task.margin)
    return f"<= {task.margin:g}: {verdict}" if verdict == HOLDS else verdict


def _dense(task: str) -> Cell:
    return Cell(task, DENSE, "dense")


def _metrics(records: Sequence[Record]) -> dict[int, float | None]:
    return {record.seed: record.metric for record in records}


def _mean(metrics: Metrics) -> float | None:
    known = [value for value in metrics.values() if value is not None]
    return sum(known) / len(known) if known else None


def runs_left(grid: Grid, records: Mapping[str, Record], runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that have no record."""
    return [run for run in runs if grid.key(run) not in records]
