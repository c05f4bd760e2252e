"""Which points of a space are evaluated: all, drawn beforehand, or asked for by what others gave."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import MissingToolError

from ..scenario_schema import Sampler
from .objectives import Objective
from .space import BLOCK, Codes, Points, Space

DRAWS = 200
"""Random draws for each point that is wanted, before a sampler gives up on finding legal ones."""


def listed_points(space: Space, sampler: Sampler) -> Iterator[tuple[Points, Counter[str]]]:
    """Blocks of points of a grid, or of a list that was drawn, and what each block leaves out."""
    if sampler.kind == "grid":
        yield from (space.resolve(codes) for codes in space.grid())
        return
    draw = random_points if sampler.kind == "random" else hypercube_points
    yield draw(space, min(sampler.points or 0, space.size), sampler.seed)


def random_points(space: Space, count: int, seed: int) -> tuple[Points, Counter[str]]:
    """`count` different legal points, fewer where they are not found. numbers: in the order drawn."""
    rng = np.random.default_rng(seed)
    found = _Different()
    left_out: Counter[str] = Counter()
    drawn, most = 0, DRAWS * count
    while len(found) < count and drawn < most:
        size = min(2 * (count - len(found)) + 16, most - drawn, BLOCK)
        columns = [rng.integers(0, values, size) for values in space.shape]
        points, illegal = space.resolve(np.stack(columns, axis=1), fold=True)
        found.add(points)
        left_out += illegal
        drawn += size
    return found.points(count), left_out


def hypercube_points(space: Space, count: int, seed: int) -> tuple[Points, Counter[str]]:
    """The legal and different ones of `count` points whose values cover every axis evenly."""
    from scipy.stats import qmc

    unit = qmc.LatinHypercube(len(space.axes), rng=np.random.default_rng(seed)).random(count)
    codes = np.minimum((unit * space.shape).astype(np.int64), np.array(space.shape) - 1)
    points, left_out = space.resolve(codes, fold=True)
    found = _Different()
    found.add(points)
    left_out["drawn twice"] += len(points) - len(found)
    return found.points(count), +left_out


class _Different:
    """Points in the order in which they are met, each once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._parts: list[Points] = []

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, points: Points) -> None:
        rows = []
        for row, number in enumerate(points.numbers.tolist()):
            if number not in self._seen:
                self._seen.add(number)
                rows.append(row)
        self._parts.append(points.select(rows))

    def points(self, count: int) -> Points:
        """The first `count`, numbered from 0."""
        parts = [
            np.concatenate([getattr(one, item.name) for one in self._parts])[:count]
            for item in fields(Points)
        ]
        return Points(*parts).numbered(range(len(parts[0])))


class Search:
    """Optuna asks for points in batches and is told their costs. The same seed asks for the same."""

    def __init__(self, space: Space, objectives: Sequence[Objective], sampler: Sampler) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise MissingToolError(
                f"the sampler '{sampler.kind}' needs Optuna: pip install 'cosparse[sweep]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        made: Any
        if sampler.kind == "nsga2":
            made = optuna.samplers.NSGAIISampler(population_size=sampler.batch, seed=sampler.seed)
        else:
            made = optuna.samplers.TPESampler(seed=sampler.seed)
        self._study = optuna.create_study(directions=["minimize"] * len(objectives), sampler=made)
        self._failed = optuna.trial.TrialState.FAIL
        self._distributions = {
            str(position): _distribution(optuna.distributions, axis.values)
            for position, axis in enumerate(space.axes)
        }

    def ask(self, count: int) -> tuple[list[Any], Codes]:
        """(trials, their codes)."""
        trials = [self._study.ask(self._distributions) for _ in range(count)]
        codes = [[trial.params[name] for name in self._distributions] for trial in trials]
        return trials, np.array(codes, np.int64).reshape(count, len(self._distributions))

    def tell(self, trial: Any, costs: Sequence[float] | None) -> None:
        """Costs of a trial; None where the point is not legal or cannot run."""
        if costs is None or not np.isfinite(costs).all():
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, list(costs))


def _distribution(distributions: Any, values: Sequence[Any]) -> Any:
    """Positions: in order where the values are sorted numbers, else without an order."""
    numbers = all(type(value) in (int, float) for value in values)
    if numbers and list(values) == sorted(values):
        return distributions.IntDistribution(0, len(values) - 1)
    return distributions.CategoricalDistribution(list(range(len(values))))


def costs_of(
    objectives: Sequence[Objective], columns: dict[str, npt.NDArray[Any]], count: int
) -> npt.NDArray[np.float64]:
    """(points, objectives)."""
    found = [np.broadcast_to(one.cost(columns), count) for one in objectives]
    return np.stack(found, axis=1).astype(np.float64)
