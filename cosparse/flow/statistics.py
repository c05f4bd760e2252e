"""Means and paired differences of training runs, with what their number can resolve."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from algos.loop import TrainingResult

CONFIDENCE = 0.95


@dataclass(frozen=True)
class MethodAccuracy:
    """One method over its seeds. Differences are to the baseline with the same seeds.

    half_width: of the 95 % confidence interval of the mean difference, which holds for all compared
    methods at once; None where there are too few pairs.
    """

    method: str
    metric_name: str
    values: tuple[float | None, ...]
    mean: float | None
    deviation: float | None
    difference: float | None
    half_width: float | None


def summarise(results: Sequence[TrainingResult], baseline: str = "dense") -> list[MethodAccuracy]:
    """One row a method, in order of first appearance; diverged runs count as missing."""
    by_method: dict[str, dict[int, float | None]] = {}
    for result in results:
        by_method.setdefault(result.method, {})[result.seed] = result.metric
    name = results[0].metric_name if results else ""
    reference = by_method.get(baseline, {})
    differences = {
        method: _differences(runs, reference)
        for method, runs in by_method.items()
        if method != baseline
    }
    widths = half_widths(differences)
    return [
        MethodAccuracy(
            method=method,
            metric_name=name,
            values=tuple(runs.values()),
            mean=_mean(_finished(runs)),
            deviation=_deviation(_finished(runs)),
            difference=_mean(differences.get(method, ())),
            half_width=widths.get(method),
        )
        for method, runs in by_method.items()
    ]


def half_widths(differences: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """Half-widths of simultaneous 95 % intervals, by method.

    A handful of seeds estimates one method's deviation badly, so the deviations are pooled over the
    methods (as in a one-way analysis of variance, which takes them as equal), and Student's
    quantile is taken at 1 - 0.05 / k for k methods (Bonferroni). With one method this is the
    ordinary paired interval.
    """
    from scipy.special import stdtrit

    compared = {method: pairs for method, pairs in differences.items() if len(pairs) > 1}
    freedom = sum(len(pairs) - 1 for pairs in compared.values())
    if not compared:
        return dict.fromkeys(differences)
    squares = sum((len(p) - 1) * _deviation_of(p) ** 2 for p in compared.values())
    quantile = float(stdtrit(freedom, 1 - (1 - CONFIDENCE) / 2 / len(compared)))
    pooled = math.sqrt(squares / freedom)
    return {
        method: quantile * pooled / math.sqrt(len(pairs)) if method in compared else None
        for method, pairs in differences.items()
    }


def _finished(runs: Mapping[int, float | None]) -> list[float]:
    return [value for value in runs.values() if value is not None]


def _differences(
    runs: Mapping[int, float | None], reference: Mapping[int, float | None]
) -> list[float]:
    """Paired by seed; a seed that diverged in either is left out."""
    return [
        value - other
        for seed, value in runs.items()
        if value is not None and (other := reference.get(seed)) is not None
    ]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1), of two values at least."""
    return _deviation_of(values) if len(values) > 1 else None


def _deviation_of(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
