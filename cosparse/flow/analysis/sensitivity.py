"""How much of an objective's spread each axis explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Effect:
    """One axis. share: Var(E[y | axis]) / Var(y), the first-order sensitivity of Sobol (2001).

    values: those of the axis, in order; means: the objective's mean at each. best: the value with the
    smallest mean.
    """

    axis: str
    share: float
    values: tuple[Any, ...]
    means: tuple[float, ...]

    @property
    def best(self) -> Any:
        return self.values[int(np.argmin(self.means))]


def main_effects(axes: Mapping[str, Sequence[Any]], objective: NDArray[np.float64]) -> list[Effect]:
    """The axes by descending share. axes: name -> value of each point; objective: of each point.

    On a full grid the shares add up to at most 1; what is missing is interaction. On a sample they are
    estimates.
    """
    effects = [_effect(name, values, objective) for name, values in axes.items()]
    return sorted(effects, key=lambda effect: -effect.share)


def _effect(name: str, column: Sequence[Any], objective: NDArray[np.float64]) -> Effect:
    values = _ordered(column)
    codes = {value: code for code, value in enumerate(values)}
    index = np.fromiter((codes[value] for value in column), np.int64, len(objective))
    counts = np.bincount(index, minlength=len(values))
    means = np.bincount(index, objective, len(values)) / counts
    spread = float(objective.var())
    between = float((counts * (means - objective.mean()) ** 2).sum() / len(objective))
    return Effect(name, between / spread if spread else 0.0, values, tuple(means.tolist()))


def _ordered(column: Sequence[Any]) -> tuple[Any, ...]:
    """Distinct values: numbers ascending, text in order of appearance."""
    distinct = dict.fromkeys(column)
    numeric = all(isinstance(value, int | float) for value in distinct)
    return tuple(sorted(distinct)) if numeric else tuple(distinct)
