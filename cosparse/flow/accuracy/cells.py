"""Which runs a study has: named grids of cells, each a task, a method, a pattern, a budget and its seeds."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from algos.methods import METHODS, Method, find_method
from algos.schedules import Schedule
from cosparse.spec.errors import UnsupportedError, unknown_name

from .tasks import Task, find_task

STUDY_VERSION = 1
"""Raised when a run of the same name would give other numbers."""
EPOCHS, FLOPS = "equal epochs", "equal FLOPs"
DENSE = "dense"
ONE_SHOT = "one-shot"
"""A cell without runs of its own: the trained dense weights, pruned and evaluated at once."""

VARIANTS: dict[str, Method] = {
    method.name: method
    for method in (
        replace(METHODS["pgf"], name="pgf-chain", gradients="chain"),
        replace(METHODS["bdwp"], name="bdwp-decay", decay=2e-4),
        replace(METHODS["bdwp"], name="bdwp-pgf", schedule=Schedule("exponential")),
        replace(METHODS["bdwp"], name="bdwp-stepwise", schedule=Schedule("stepwise")),
        replace(METHODS["transposable"], name="transposable-pgf", schedule=Schedule("stepwise")),
    )
}
"""Rows of the study beside METHODS: `bdwp-...` are recipes of our own."""


def study_method(name: str) -> Method:
    """A row of METHODS or VARIANTS. Raises UnsupportedError."""
    return VARIANTS.get(name) or find_method(name)


@dataclass(frozen=True)
class Cell:
    """What is compared: every seed of it is one run."""

    task: str
    method: str
    pattern: str
    budget: str = EPOCHS

    @property
    def label(self) -> str:
        pattern = "" if self.method == DENSE else f" {self.pattern}"
        return f"{self.method}{pattern}" + ("" if self.budget == EPOCHS else f", {self.budget}")


@dataclass(frozen=True)
class Run:
    """One training."""

    cell: Cell
    seed: int


@dataclass(frozen=True)
class Grid:
    """A named study. seeds: by cell, the first of a fixed row 0, 1, 2, ..."""

    name: str
    summary: str
    seeds: dict[Cell, int]
    one_shot: tuple[str, ...] = ("2:8",)
    """Patterns by which trained dense weights are pruned without training."""
    shorten: float = 1.0
    """Share of each task's steps."""

    def task(self, name: str) -> Task:
        """The task with this grid's number of steps."""
        task = find_task(name)
        if self.shorten == 1:
            return task
        recipe = task.recipe
        if recipe.steps is not None:
            return replace(task, recipe=replace(recipe, steps=round(recipe.steps * self.shorten)))
        assert recipe.epochs is not None
        return replace(task, recipe=replace(recipe, epochs=round(recipe.epochs * self.shorten)))

    def key(self, run: Run) -> str:
        """Digest of all that decides the outcome of a run beside versions and machine."""
        method, task = study_method(run.cell.method), self.task(run.cell.task)
        content = [STUDY_VERSION, asdict(run), repr(method), asdict(task), self.one_shot]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def runs(self) -> list[Run]:
        """Task by task, the cells with the most seeds first, seed by seed: pairs are complete early."""
        tasks = dict.fromkeys(cell.task for cell in self.seeds)
        return [
            Run(cell, seed)
            for task in tasks
            for count in sorted(set(self.seeds.values()), reverse=True)
            for seed in range(count)
            for cell, seeds in self.seeds.items()
            if cell.task == task and seeds == count
        ]


_NEIGHBOURS = ("sr-ste", "sdgp", "sdwp", "random")
_OWN = ("bdwp", "bdwp-stepwise")
_MASKS = ("bi-mask", "transposable", "mvue", "bdwp-decay")
_SPARSER = ("1:16", "1:32")
_FACTORS = ("low-rank", "low-rank-guided", "sltrain-nm")
"""Trained from random weights, as their papers do; DSFormer's fine-tuning is in benchmarks/factorized.py."""


def _full() -> dict[Cell, int]:
    seeds: dict[Cell, int] = {}
    for task, head, others in (("digits-cnn", 30, 8), ("digits-vit", 30, 8), ("byte-lm", 5, 5)):
        language = task == "byte-lm"
        seeds[Cell(task, DENSE, "dense")] = head
        seeds[Cell(task, "bdwp", "2:8")] = head
        seeds |= {Cell(task, method, "2:8"): head for method in _NEIGHBOURS}
        seeds |= {Cell(task, method, "1:8"): others for method in _OWN}
        for pattern in _SPARSER:
            seeds |= {Cell(task, method, pattern): others for method in (*_OWN, "sr-ste", "pgf")}
        seeds |= {Cell(task, "fixed", "2:8", budget): others for budget in (EPOCHS, FLOPS)}
        seeds |= {Cell(task, name, "2:8"): others for name in _MASKS if not language}
    for task in ("digits-cnn", "digits-vit"):
        seeds[Cell(task, "s-ste", "2:4")] = 8
        seeds |= {Cell(task, name, "block 16x16 @ 0.25"): 8 for name in ("block", "block-prox")}
    for task, number in (("digits-vit", 8), ("byte-lm", 5)):
        seeds |= {Cell(task, name, "1:32"): number for name in _FACTORS}
    return seeds


def _short() -> dict[Cell, int]:
    task = "digits-cnn"
    names = ("bdwp", "sr-ste", "random")
    return {Cell(task, DENSE, "dense"): 4} | {Cell(task, name, "2:8"): 4 for name in names}


GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid("short", "four methods at 2:8 on digits-cnn, 4 paired seeds, 20 epochs", _short(),
             shorten=1 / 3),
        Grid("full", "all tasks; 30 paired seeds for the headline cells, 8 or 5 for others", _full(),
             one_shot=("2:8", "1:16")),
    )
}  # fmt: skip


def find_grid(name: str) -> Grid:
    """Raises UnsupportedError."""
    if name not in GRIDS:
        raise UnsupportedError(unknown_name("study", name, GRIDS))
    return GRIDS[name]
