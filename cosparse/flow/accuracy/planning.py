"""How long a study takes, measured on a few steps of each cell, and its cut into shards."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from algos.loop import Recipe, evaluate, step_count, train
from cosparse.spec import InputError

from ..progress import Reporter
from ..store import read_json, write_json
from ..trainings import torch_threads
from .cells import DENSE, Cell, Grid, Run
from .records import Record
from .runs import data_of, model_of, recipe_of, relative_cost
from .tasks import Task

SHARD_HOURS = 2.0
BUDGET_HOURS = 20.0
"""Of the full study, on a machine that does nothing else."""
CALIBRATION_STEPS = 12
CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class Plan:
    """Runs with their predicted CPU seconds, in the order in which they run; done: keys that are there."""

    grid: Grid
    runs: tuple[Run, ...]
    seconds: tuple[float, ...]
    done: frozenset[str]

    @property
    def shards(self) -> list[list[Run]]:
        """Consecutive runs of at most two predicted hours each; the same whatever is done."""
        shards: list[list[Run]] = [[]]
        filled = 0.0
        for run, seconds in zip(self.runs, self.seconds, strict=True):
            if shards[-1] and filled + seconds > SHARD_HOURS * 3600:
                shards.append([])
                filled = 0.0
            shards[-1].append(run)
            filled += seconds
        return shards

    def shard(self, number: int) -> list[Run]:
        """Shards are counted from 1. Raises InputError."""
        shards = self.shards
        if not 1 <= number <= len(shards):
            raise InputError(f"--shard: expected 1 to {len(shards)}, got {number}")
        return shards[number - 1]

    def to_json(self) -> dict[str, Any]:
        left = [not self.is_done(run) for run in self.runs]
        seconds = list(zip(self.seconds, left, strict=True))
        return {
            "study": self.grid.name,
            "runs": len(self.runs),
            "done": len(self.runs) - sum(left),
            "core_hours": sum(self.seconds) / 3600,
            "core_hours_left": sum(one for one, missing in seconds if missing) / 3600,
            "shards": len(self.shards),
            "cells": [
                {
                    "task": cell.task,
                    "cell": cell.label,
                    "seeds": seeds,
                    "core_hours": self._of(cell),
                }
                for cell, seeds in self.grid.seeds.items()
            ],
        }

    def is_done(self, run: Run) -> bool:
        return self.grid.key(run) in self.done

    def _of(self, cell: Cell) -> float:
        pairs = zip(self.runs, self.seconds, strict=True)
        return sum(seconds for run, seconds in pairs if run.cell == cell) / 3600


def plan_study(grid: Grid, folder: Path, records: dict[str, Record], reporter: Reporter) -> Plan:
    """Predict every run of a grid; what was calibrated in this folder is not measured again."""
    seconds = _calibrated(grid, folder, reporter)
    runs = tuple(grid.runs())
    return Plan(grid, runs, tuple(seconds[run.cell] for run in runs), frozenset(records))


def _calibrated(grid: Grid, folder: Path, reporter: Reporter) -> dict[Cell, float]:
    """Predicted CPU seconds of one run of each cell. Kept, so that shards are the same everywhere."""
    path = folder / CALIBRATION
    known: dict[str, float] = read_json(path) if path.is_file() else {}
    missing = [cell for cell in grid.seeds if _name(grid, cell) not in known]
    evaluations: dict[str, tuple[float, float]] = {}
    with torch_threads(1), reporter.task("calibration", len(missing)) as bar:
        for number, cell in enumerate(missing, start=1):
            task = grid.task(cell.task)
            if task.name not in evaluations:
                evaluations[task.name] = _evaluations(task)
            known[_name(grid, cell)] = _measure(task, cell, *evaluations[task.name])
            folder.mkdir(parents=True, exist_ok=True)
            write_json(path, known)
            bar.update(number, cell.label)
    return {cell: known[_name(grid, cell)] for cell in grid.seeds}


def _name(grid: Grid, cell: Cell) -> str:
    return json.dumps([grid.name, cell.task, cell.label])


def _evaluations(task: Task) -> tuple[float, float]:
    """Seconds of an evaluation on all test data, and of the one that ends a short training."""
    with torch.random.fork_rng(devices=()):
        model, data = model_of(task, Cell(task.name, DENSE, "dense"), 0).model, data_of(task)
    whole = _seconds(lambda: evaluate(model, data, context=task.context, whole=True))
    return whole, _seconds(lambda: evaluate(model, data, context=task.context))


def _measure(task: Task, cell: Cell, evaluation: float, short: float) -> float:
    """Steps of the whole run times the time of a step, and one evaluation."""
    data = data_of(task)
    steps = step_count(recipe_of(task, cell, relative_cost(task, cell)), data)
    recipe = task.recipe
    few = Recipe(None, CALIBRATION_STEPS, recipe.batch, recipe.optimizer, recipe.lr)
    with torch.random.fork_rng(devices=()):
        sparsified = model_of(task, cell, 0, scheduled=False)
        whole = _seconds(lambda: train(sparsified, data, few, 0, context=task.context))
    return steps * max(0.0, whole - short) / CALIBRATION_STEPS + evaluation


def _seconds(action: Any) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def summary(plan: Plan) -> list[str]:
    """The plan in a few lines."""
    facts = plan.to_json()
    lines = [
        f"study {plan.grid.name}: {plan.grid.summary}",
        f"{facts['runs']} runs, {facts['done']} done; {facts['core_hours']:.1f} core-hours, "
        f"{facts['core_hours_left']:.1f} left, in {facts['shards']} shards of at most "
        f"{SHARD_HOURS:g} hours (predicted from {CALIBRATION_STEPS} steps of each cell)",
    ]
    if facts["core_hours"] > BUDGET_HOURS:
        lines.append(
            f"more than the {BUDGET_HOURS:g} core-hours meant: on a busy machine the prediction is too "
            f"high; delete {CALIBRATION} and plan again on an idle one"
        )
    return lines + [_cell_line(row) for row in facts["cells"]]


def _cell_line(row: dict[str, Any]) -> str:
    return f"  {row['task']:11} {row['cell']:34} {row['seeds']:3} seeds  {row['core_hours']:6.2f} h"
