"""Means and paired differences of training runs, with what their number can resolve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from algos.loop import TrainingResult

CONFIDENCE = 0.95


@dataclass(frozen=True)
class MethodAccuracy:
    """One method over its seeds. Differences are to the baseline with the same seeds.

    half_width: of the 95 % confidence interval of the mean difference (Student's t); None with
    fewer than two pairs.
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
    return [_row(method, name, runs, reference, baseline) for method, runs in by_method.items()]


def _row(
    method: str,
    name: str,
    runs: dict[int, float | None],
    reference: dict[int, float | None],
    baseline: str,
) -> MethodAccuracy:
    finished = [value for value in runs.values() if value is not None]
    pairs = [
        value - other
        for seed, value in runs.items()
        if value is not None and (other := reference.get(seed)) is not None
    ]
    compared = bool(pairs) and method != baseline
    return MethodAccuracy(
        method=method,
        metric_name=name,
        values=tuple(runs.values()),
        mean=_mean(finished),
        deviation=_deviation(finished),
        difference=_mean(pairs) if compared else None,
        half_width=_half_width(pairs) if compared else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1)."""
    mean = _mean(values)
    if mean is None or len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _half_width(differences: Sequence[float]) -> float | None:
    from scipy.special import stdtrit

    deviation = _deviation(differences)
    if deviation is None:
        return None
    quantile = float(stdtrit(len(differences) - 1, 0.5 + CONFIDENCE / 2))
    return quantile * deviation / math.sqrt(len(differences))
