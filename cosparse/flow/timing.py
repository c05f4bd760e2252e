"""One product and its times: medians with their range, of samples taken in turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Self

from ..spec import ConvGeometry, Phase, Spread


@dataclass(frozen=True)
class Timed:
    """Median and range of repeated samples of one product, in seconds."""

    median_s: float
    spread: Spread

    @classmethod
    def from_samples(cls, samples: list[float]) -> Self:
        return cls(median(samples), Spread(min(samples), max(samples), len(samples)))


@dataclass(frozen=True)
class Product:
    """What is timed. Sizes are of one convolution group; inputs include the taps.

    With `conv` it is that convolution, images to images, and tokens are its output pixels.
    """

    phase: Phase
    tokens: int
    outputs: int
    inputs: int
    conv_groups: int = 1
    conv: ConvGeometry | None = None

    @property
    def macs(self) -> int:
        return self.tokens * self.outputs * self.inputs * self.conv_groups

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.tokens, self.outputs, self.inputs, self.conv_groups


@dataclass(frozen=True)
class GemmTiming:
    """One product, timed sparse and dense in the same run."""

    product: Product
    sparse: Timed
    dense: dict[str, Timed]
    """By the name of the baseline."""
    issued_macs: int
    """Multiply-accumulates of the sparse kernel."""
    threads: int
    clock: str

    @property
    def baseline(self) -> str:
        """Name of the fastest dense contestant."""
        return min(self.dense, key=lambda name: self.dense[name].median_s)

    @property
    def sparse_s(self) -> float:
        return self.sparse.median_s

    @property
    def dense_s(self) -> float:
        return self.dense[self.baseline].median_s

    @property
    def ratio(self) -> float:
        """Sparse over dense time; below 1 the sparse kernel is faster."""
        return self.sparse_s / self.dense_s

    @property
    def spreads(self) -> dict[str, Spread]:
        """Range of every contestant; the sparse kernel is "sparse"."""
        return {"sparse": self.sparse.spread} | {n: t.spread for n, t in self.dense.items()}


def time_interleaved(
    contestants: Mapping[str, Callable[[], float]], *, repeats: int, budget_s: float
) -> dict[str, Timed]:
    """Sample all contestants in turn, after one round that compiles and warms up."""
    for sample in contestants.values():
        sample()
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    deadline = time.perf_counter() + budget_s
    for _ in range(max(1, repeats)):
        for name, sample in contestants.items():
            samples[name].append(sample())
        if time.perf_counter() > deadline:
            break
    return {name: Timed.from_samples(values) for name, values in samples.items()}


def figure(timed: Timed, threads: int) -> float:
    """Seconds: the median for one thread, the shortest sample for more."""
    return timed.median_s if threads == 1 else timed.spread.low


def timed_json(timed: Timed) -> dict[str, float]:
    """In microseconds."""
    spread = timed.spread
    return {
        "median_us": 1e6 * timed.median_s,
        "low_us": 1e6 * spread.low,
        "high_us": 1e6 * spread.high,
        "samples": spread.samples,
    }
