"""One training run: a recipe, a data set, a seed; the same initial weights and batches for every method."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosparse.spec import UnsupportedError
from cosparse.spec.errors import unknown_name

from .data import Dataset
from .sparsified import Sparsified

EVALUATION_BATCH = 256
TEST_WINDOWS = 128
HISTORY_POINTS = 20
WARMUP_SHARE = 0.05

Progress = Callable[[int, int, float], None]
"""Called with (step, steps, loss)."""


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

    steps: those that were done. history: (step, loss) of finite losses.
    """

    method: str
    seed: int
    metric_name: str
    metric: float | None
    steps: int
    seconds: float
    history: list[dict[str, float]]


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
) -> TrainingResult:
    """Train `sparsified.model` in place.

    context: tokens of a window, for language data. A loss that is not finite ends the run; such a
    run, and one that ends with weights that are not finite, has metric None. Raises
    UnsupportedError for an unknown optimizer or schedule.
    """
    model, started = sparsified.model, time.process_time()
    history, steps = _descend(sparsified, data, recipe, seed, context, progress or _silent)
    name, metric = evaluate(model, data, context=context)
    finite = math.isfinite(history[-1]["loss"]) and math.isfinite(metric) and _is_finite(model)
    return TrainingResult(
        method=sparsified.method.name,
        seed=seed,
        metric_name=name,
        metric=metric if finite else None,
        steps=steps,
        seconds=time.process_time() - started,
        history=[point for point in history if math.isfinite(point["loss"])],
    )


def _descend(
    sparsified: Sparsified,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    context: int,
    progress: Progress,
) -> tuple[list[dict[str, float]], int]:
    """Run the optimizer. Returns points of (step, loss), the last step among them, and its number."""
    model, steps = sparsified.model, step_count(recipe, data)
    optimizer = _optimizer(model, recipe)
    decay = sparsified.attach(optimizer, recipe.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(recipe.schedule, step, steps)
    )
    timeline = sparsified.timeline(steps, epoch_steps(recipe, data))
    history: list[dict[str, float]] = []
    step = 0
    model.train()
    for step, (x, y) in enumerate(batches(data, recipe.batch, steps, seed, context), start=1):
        sparsified.enter(timeline.at(step - 1), step - 1)
        sparsified.guide(step - 1, steps)
        loss = _loss(model, data.task, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        value = float(loss.detach())
        progress(step, steps, value)
        diverged = not math.isfinite(value)
        if diverged or step == steps or step % max(1, steps // HISTORY_POINTS) == 0:
            history.append({"step": step, "loss": value})
        if diverged:
            break
    decay.remove()
    sparsified.guide(steps, steps)
    return history, step


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer not in OPTIMIZERS:
        raise UnsupportedError(unknown_name("optimizer", recipe.optimizer, OPTIMIZERS))
    return OPTIMIZERS[recipe.optimizer](model.parameters(), recipe)


def _silent(step: int, steps: int, loss: float) -> None:
    """Progress that nobody watches."""


def _is_finite(model: nn.Module) -> bool:
    state = model.state_dict().values()
    return all(bool(torch.isfinite(t).all()) for t in state if isinstance(t, Tensor))


def evaluate(model: nn.Module, data: Dataset, *, context: int = 128) -> tuple[str, float]:
    """Test metric: ("accuracy", percent) or ("bits per byte", bits). Leaves the model in eval mode."""
    model.eval()
    with torch.no_grad():
        if data.task == "language":
            return "bits per byte", _bits_per_byte(model, data, context)
        return "accuracy", _accuracy(model, data)


def _accuracy(model: nn.Module, data: Dataset) -> float:
    correct = 0
    for start in range(0, len(data.x_test), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        predicted = model(torch.from_numpy(data.x_test[part])).argmax(-1)
        correct += int((predicted == torch.from_numpy(data.y_test[part])).sum())
    return 100.0 * correct / len(data.x_test)


def _bits_per_byte(model: nn.Module, data: Dataset, context: int) -> float:
    """Mean over evenly spaced test windows, the same for every run."""
    starts = np.linspace(0, len(data.x_test) - context - 1, TEST_WINDOWS).astype(np.int64)
    total = 0.0
    for start in range(0, TEST_WINDOWS, 32):
        x, y = _windows(data.x_test, starts[start : start + 32], context)
        total += float(_loss(model, "language", x, y)) * len(x)
    return total / TEST_WINDOWS / math.log(2)


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
