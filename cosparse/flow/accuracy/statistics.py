"""What paired seeds say of a loss against dense: its mean, one-sided bounds, and a verdict.

Loss of a pair: dense minus method in accuracy points, or method over dense minus one in percent of bits
per byte. Tasks are never averaged together. With n pairs, mean d and deviation s, the one-sided 95 % bounds
are d +- t(0.95, n - 1) s / sqrt(n).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
HOLDS, NOT_RESOLVED = "holds", "not resolved"


@dataclass(frozen=True)
class Loss:
    """Paired losses of one cell. lower, upper: one-sided 95 % bounds, None with fewer than two pairs."""

    pairs: int
    mean: float | None
    deviation: float | None
    lower: float | None
    upper: float | None
    diverged: int = 0

    def verdict(self, margin: float) -> str:
        """Of the claim "loses at most `margin`": it holds, or this number of pairs does not show it."""
        known = self.upper is not None and self.diverged == 0
        return HOLDS if known and self.upper is not None and self.upper <= margin else NOT_RESOLVED

    @property
    def significant(self) -> bool:
        """Whether the method loses at all, at 95 %."""
        return self.lower is not None and self.lower > 0


def paired_loss(metric_name: str, method: float, dense: float) -> float:
    """Positive where the method is worse."""
    if metric_name == "accuracy":
        return dense - method
    return 100.0 * (method / dense - 1)


def loss_of(
    metric_name: str, method: Mapping[int, float | None], dense: Mapping[int, float | None]
) -> Loss:
    """method, dense: metric by seed, None where a run diverged."""
    shared = [seed for seed in method if seed in dense]
    pairs = [(method[seed], dense[seed]) for seed in sorted(shared)]
    losses = [paired_loss(metric_name, a, b) for a, b in pairs if a is not None and b is not None]
    return summarise(losses, diverged=len(pairs) - len(losses))


def summarise(losses: Sequence[float], diverged: int = 0) -> Loss:
    """Mean and bounds of paired losses."""
    n = len(losses)
    if n == 0:
        return Loss(0, None, None, None, None, diverged)
    mean = math.fsum(losses) / n
    if n == 1:
        return Loss(1, mean, None, None, None, diverged)
    deviation = math.sqrt(math.fsum((loss - mean) ** 2 for loss in losses) / (n - 1))
    half = quantile(n - 1) * deviation / math.sqrt(n)
    return Loss(n, mean, deviation, mean - half, mean + half, diverged)


def quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Student's one-sided quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, confidence))
