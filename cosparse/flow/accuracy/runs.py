"""One run of a study: build, sparsify, train, evaluate, and what it would have cost in operations."""

import copy
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from algos.data import Dataset, load_data
from algos.diagnostics import MaskWatch
from algos.loop import Recipe, epoch_steps, evaluate, step_count, train
from algos.lowering import lower, lower_stages
from algos.models import build, find_model, sample
from algos.snapshot import SnapshotFile
from algos.sparsified import Sparsified, outline, sparsify
from algos.tracing import capture
from cosparse.spec import GEMM_PHASES, Workload

from ..progress import Reporter
from ..provenance import machine, versions
from .cells import DENSE, FLOPS, Cell, Grid, Run, study_method
from .records import Record
from .tasks import Task

SNAPSHOTS = 20
"""Of a run, evenly spaced."""


def run_one(grid: Grid, run: Run, folder: Path, reporter: Reporter) -> Record:
    """Train one run; a snapshot in `folder` that a killed process left is gone on from."""
    task, cell, key = grid.task(run.cell.task), run.cell, grid.key(run)
    data, started = data_of(task), time.process_time()
    cost = relative_cost(task, cell)
    recipe = recipe_of(task, cell, cost)
    steps = step_count(recipe, data)
    with torch.random.fork_rng(devices=()):
        sparsified = model_of(task, cell, run.seed)
        sparsified.model.to(device())
        folder.mkdir(parents=True, exist_ok=True)
        snapshots = SnapshotFile(folder / f"{key}.pt", max(1, steps // SNAPSHOTS), key)
        watch = MaskWatch(steps)
        with reporter.task(f"{cell.task}: {cell.label}, seed {run.seed}", steps) as bar:
            result = train(
                sparsified,
                data,
                recipe,
                run.seed,
                context=task.context,
                progress=lambda step, _, loss: bar.update(step, f"loss {loss:.3f}"),
                observe=watch,
                snapshots=snapshots,
                whole_test=True,
            )
        pruned = _one_shot(grid, task, data, sparsified) if cell.method == DENSE else {}
    return Record(
        key=key,
        task=cell.task,
        method=cell.method,
        pattern=cell.pattern,
        budget=cell.budget,
        seed=run.seed,
        metric_name=result.metric_name,
        metric=result.metric,
        steps=result.steps,
        cost=cost,
        cpu_seconds=time.process_time() - started,
        stopped=result.stopped,
        one_shot=pruned,
        windows=watch.to_json(),
        about=_about(),
    )


def model_of(task: Task, cell: Cell, seed: int, *, scheduled: bool = True) -> Sparsified:
    """A fresh model of this seed, proven to call every replaced module.

    scheduled: False for the method without its schedule, in its pattern from the first step.
    """
    torch.manual_seed(seed)
    probe = sample(find_model(task.model), 2)
    method = study_method(cell.method)
    if not scheduled:
        method = replace(method, schedule=None)
    sparsified = sparsify(build(task.model), method, cell.pattern, sample=probe)
    sparsified.verify(probe)
    return sparsified


def recipe_of(task: Task, cell: Cell, cost: float) -> Recipe:
    """The task's recipe; at equal FLOPs as many more steps as a step is cheaper."""
    if cell.budget != FLOPS:
        return task.recipe
    steps = round(step_count(task.recipe, data_of(task)) / cost)
    return replace(task.recipe, epochs=None, steps=steps)


@cache
def relative_cost(task: Task, cell: Cell) -> float:
    """Multiply-accumulates that executors issue for a run of a method, over those of dense.

    Over all stages of a schedule: while dropped weights pass, a step costs what a dense one does.
    """
    data, model = data_of(task), build(task.model)
    probe = sample(find_model(task.model), 2)
    steps = step_count(task.recipe, data)
    step = capture(model, probe)
    if cell.method == DENSE:
        return 1.0
    outlined = outline(model, study_method(cell.method), cell.pattern, sample=probe)
    own = step if outlined.method.structure is None else capture(outlined.model, probe)
    timeline = outlined.timeline(steps, epoch_steps(task.recipe, data))
    stages = lower_stages(own, outlined.layers, timeline)
    issued = sum((stage.end - stage.begin) * _macs(one) for stage, one in stages)
    return issued / (steps * _macs(lower(step, {})))


def _macs(workload: Workload) -> int:
    return sum(workload.issued_macs(phase) for phase in GEMM_PHASES)


def _one_shot(grid: Grid, task: Task, data: Dataset, trained: Sparsified) -> dict[str, float]:
    """The trained dense weights, pruned by magnitude and evaluated without training."""
    found = {}
    for pattern in grid.one_shot:
        model: nn.Module = copy.deepcopy(trained.model).cpu()
        sparsify(model, "fixed", pattern, sample=sample(find_model(task.model), 2))
        _, found[pattern] = evaluate(model.to(device()), data, context=task.context, whole=True)
    return found


def data_of(task: Task) -> Dataset:
    return _data(task.data)


@cache
def _data(name: str) -> Dataset:
    return load_data(name)


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _about() -> dict[str, Any]:
    found = versions()
    return {
        "versions": {name: found[name] for name in ("cosparse", "torch", "numpy", "python")},
        "cpu": machine()["cpu"],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
