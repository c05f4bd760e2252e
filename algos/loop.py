"""One training run: a recipe, a data set, a seed; the same initial weights and batches for every method."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosparse.spec import UnsupportedError
from cosparse.spec.errors import unknown_name

from .data import Dataset
from .snapshot import Snapshot, SnapshotFile, restore, take
from .sparsified import Sparsified

EVALUATION_BATCH = 256
TEST_WINDOWS = 128
HISTORY_POINTS = 20
WARMUP_SHARE = 0.05

Progress = Callable[[int, int, float], None]
"""Called with (step, steps, loss)."""
Observer = Callable[[int, Sparsified], None]
"""Called with (step, model) when the gradients of a step are there and the weights have not changed."""


@dataclass(frozen=True)
class Recipe:
    """How to train. Exactly one of `epochs` and `steps` counts; lr follows `schedule` to its end."""

    epochs: int | None = 20
    steps: int | None = None
    batch: int = 64
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    decay: float | None = None


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of one run. metric: accuracy in percent, or bits per byte (None if diverged).

    steps: those that were done. history: (step, loss) of finite losses. stopped: why a run ended early,
    and what its weights are then.
    """

    method: str
    seed: int
    metric_name: str
    metric: float | None
    steps: int
    seconds: float
    history: list[dict[str, float]]
    stopped: str | None = None


OPTIMIZERS: dict[str, Callable[[Any, Recipe], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, recipe: torch.optim.SGD(
        parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    ),
    "adam": lambda parameters, recipe: torch.optim.Adam(
        parameters, lr=recipe.lr, weight_decay=recipe.weight_decay
    ),
    "adamw": lambda parameters, recipe: torch.optim.AdamW(
        parameters, lr=recipe.lr, weight_decay=recipe.weight_decay
    ),
}


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor on lr: linear warm-up over the first 5 %, then constant or half a cosine to 0.

    step: from 0 to `steps`.
    """
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    raise UnsupportedError(unknown_name("schedule", schedule, ("constant", "cosine")))


def step_count(recipe: Recipe, data: Dataset) -> int:
    """Optimizer steps of the whole run (an epoch drops its last, incomplete batch)."""
    if recipe.steps is not None:
        return recipe.steps
    return (recipe.epochs or 0) * max(1, len(data.x_train) // recipe.batch)


def epoch_steps(recipe: Recipe, data: Dataset) -> int:
    """Optimizer steps of an epoch; of one token stream, from which windows are drawn, there is none."""
    return 1 if data.task == "language" else max(1, len(data.x_train) // recipe.batch)


def train(
    sparsified: Sparsified,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    context: int = 128,
    progress: Progress | None = None,
    observe: Observer | None = None,
    snapshots: SnapshotFile | None = None,
    whole_test: bool = False,
) -> TrainingResult:
    """Train `sparsified.model` in place, on the device where it is.

    context: tokens of a window, for language data. A loss that is not finite ends the run: `stopped` says
    at which step, and the weights are those of the last snapshot before it. Such a run, and one that ends
    with weights that are not finite, has metric None. snapshots: where a killed run goes on from, to the
    same bits; the file is removed at the end. whole_test: of language data, see `evaluate`. Raises
    UnsupportedError for an unknown optimizer or schedule, CorruptFileError for a damaged snapshot.
    """
    model, started = sparsified.model, time.process_time()
    run = _Run(sparsified, data, recipe, seed, context, progress or _silent, observe, snapshots)
    history, steps, stopped = _descend(run)
    name, metric = evaluate(model, data, context=context, whole=whole_test)
    finite = stopped is None and math.isfinite(metric) and _is_finite(model)
    if snapshots is not None:
        snapshots.remove()
    return TrainingResult(
        method=sparsified.method.name,
        seed=seed,
        metric_name=name,
        metric=metric if finite else None,
        steps=steps,
        seconds=time.process_time() - started,
        history=history,
        stopped=stopped,
    )


@dataclass(frozen=True)
class _Run:
    """The arguments of `train`."""

    sparsified: Sparsified
    data: Dataset
    recipe: Recipe
    seed: int
    context: int
    progress: Progress
    observe: Observer | None
    snapshots: SnapshotFile | None


def _descend(run: _Run) -> tuple[list[dict[str, float]], int, str | None]:
    """Run the optimizer. Returns points of (step, loss), the number of steps, and why it stopped early."""
    sparsified, recipe, model = run.sparsified, run.recipe, run.sparsified.model
    steps, device = step_count(recipe, run.data), _device(run.sparsified.model)
    optimizer = _optimizer(model, recipe)
    hooks = sparsified.attach(optimizer, recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(recipe.schedule, step, steps)
    )
    timeline = sparsified.timeline(steps, epoch_steps(recipe, run.data))
    every = max(1, steps // HISTORY_POINTS) if run.snapshots is None else run.snapshots.every
    good = run.snapshots.read() if run.snapshots is not None else None
    if good is not None:
        restore(good, model, optimizer, schedule)
    else:
        good = take(0, model, optimizer, schedule, [])
    history, step, stopped = list(good.history), good.step, None
    model.train()
    order = enumerate(batches(run.data, recipe.batch, steps, run.seed, run.context), start=1)
    for step, (x, y) in islice(order, good.step, None):
        sparsified.enter(timeline.at(step - 1), step - 1)
        sparsified.guide(step - 1, steps)
        loss = _loss(model, run.data.task, x.to(device), y.to(device))
        value = float(loss.detach())
        run.progress(step, steps, value)
        if not math.isfinite(value):
            stopped = _stopped(value, step, good)
            restore(good, model, optimizer, schedule)
            break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if run.observe is not None:
            run.observe(step, sparsified)
        optimizer.step()
        schedule.step()
        if step == steps or step % max(1, steps // HISTORY_POINTS) == 0:
            history.append({"step": step, "loss": value})
        if step % every == 0 and step < steps and _is_finite(model):
            good = take(step, model, optimizer, schedule, history)
            if run.snapshots is not None:
                run.snapshots.write(good)
    hooks.remove()
    sparsified.enter(timeline.stages[-1], steps)
    sparsified.guide(steps, steps)
    return history, step, stopped


def _stopped(loss: float, step: int, good: Snapshot) -> str:
    return (
        f"the loss was {loss} at step {step}; the weights are those after step {good.step}, the last good "
        "checkpoint; try a smaller learning rate"
    )


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer not in OPTIMIZERS:
        raise UnsupportedError(unknown_name("optimizer", recipe.optimizer, OPTIMIZERS))
    return OPTIMIZERS[recipe.optimizer](model.parameters(), recipe)


def _silent(step: int, steps: int, loss: float) -> None:
    """Progress that nobody watches."""


def _is_finite(model: nn.Module) -> bool:
    state = model.state_dict().values()
    return all(bool(torch.isfinite(t).all()) for t in state if isinstance(t, Tensor))


def evaluate(
    model: nn.Module, data: Dataset, *, context: int = 128, whole: bool = False
) -> tuple[str, float]:
    """Test metric: ("accuracy", percent) or ("bits per byte", bits). Leaves the model in eval mode.

    whole: all of a language's test stream, window after window, instead of windows evenly spaced in it.
    """
    model.eval()
    with torch.no_grad():
        if data.task == "language":
            return "bits per byte", _bits_per_byte(model, data, context, whole)
        return "accuracy", _accuracy(model, data)


def _accuracy(model: nn.Module, data: Dataset) -> float:
    correct, device = 0, _device(model)
    for start in range(0, len(data.x_test), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        predicted = model(torch.from_numpy(data.x_test[part]).to(device)).argmax(-1).cpu()
        correct += int((predicted == torch.from_numpy(data.y_test[part])).sum())
    return 100.0 * correct / len(data.x_test)


def _bits_per_byte(model: nn.Module, data: Dataset, context: int, whole: bool) -> float:
    """Mean over test windows, the same for every run."""
    last = len(data.x_test) - context - 1
    starts = np.arange(0, last, context) if whole else np.linspace(0, last, TEST_WINDOWS)
    total, device = 0.0, _device(model)
    for begin in range(0, len(starts), 32):
        some = starts[begin : begin + 32].astype(np.int64)
        x, y = _windows(data.x_test, some, context)
        total += float(_loss(model, "language", x.to(device), y.to(device))) * len(x)
    return total / len(starts) / math.log(2)


def _loss(model: nn.Module, task: str, x: Tensor, y: Tensor) -> Tensor:
    logits = model(x)
    if task == "language":
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())
    return F.cross_entropy(logits, y)


def batches(
    data: Dataset, batch: int, steps: int, seed: int, context: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches in an order that depends on the seed alone."""
    random = np.random.default_rng(seed)
    if data.task == "language":
        for _ in range(steps):
            starts = random.integers(0, len(data.x_train) - context - 1, batch)
            yield _windows(data.x_train, starts, context)
        return
    order = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < min(batch, len(data.x_train)):
            order = random.permutation(len(data.x_train))
        chosen, order = order[:batch], order[batch:]
        yield torch.from_numpy(data.x_train[chosen]), torch.from_numpy(data.y_train[chosen])


def _windows(stream: Any, starts: Any, context: int) -> tuple[Tensor, Tensor]:
    """Inputs and next bytes, (windows, context) int64."""
    window = stream[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return torch.from_numpy(window[:, :-1].copy()), torch.from_numpy(window[:, 1:].copy())
