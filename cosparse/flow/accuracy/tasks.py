"""The tasks of the study. They are not those of the BDWP paper (CIFAR, ImageNet), and every table says so."""

from dataclasses import dataclass

from algos.loop import Recipe
from cosparse.spec.errors import UnsupportedError, unknown_name


@dataclass(frozen=True)
class Task:
    """A model, its data and the recipe that all methods share."""

    name: str
    model: str
    data: str
    recipe: Recipe
    unit: str
    """Of a loss against dense: accuracy points, or percent of bits per byte."""
    margin: float
    """The largest loss that counts as kept: that of the claim."""
    context: int = 128


_VIT = Recipe(epochs=60, batch=64, optimizer="adamw", lr=1e-3, weight_decay=0.05)
_LM = Recipe(epochs=None, steps=3000, batch=16, optimizer="adamw", lr=1e-3, weight_decay=0.01)
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("digits-cnn", "digits-cnn", "digits", Recipe(epochs=60), "points", 0.56),
        Task("digits-vit", "digits-vit", "digits", _VIT, "points", 0.56),
        Task("byte-lm", "bytes-lm", "bytes", _LM, "% of bits", 1.0),
    )
}


def find_task(name: str) -> Task:
    """Raises UnsupportedError."""
    if name not in TASKS:
        raise UnsupportedError(unknown_name("task", name, TASKS))
    return TASKS[name]
