"""Sparsity patterns: which entries of a weight may be present.

A pattern lies along the reduction axis of the GEMM that uses it. Scores are arrays (..., lanes, K):
K is that reduction axis, lanes the output rows, and what comes before (convolution groups, taps) is
a batch of independent matrices. Patterns only choose; `spec.select` applies the rounding rule first.
"""

import math
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .dtypes import Array, magnitude_keys
from .errors import PatternError, nearest
from .selection import keep_largest, keep_top

MAX_GROUP = 256
"""Largest M: indices of packed N:M tensors are at most one byte."""


class Pattern(Protocol):
    """What every pattern offers."""

    @property
    def density(self) -> float:
        """Fraction of entries kept when the shape is a multiple of the pattern."""

    def validate(self, shape: tuple[int, ...]) -> None:
        """Raise PatternError when the pattern cannot apply to scores of `shape` (..., lanes, K)."""

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        """Boolean mask of `scores`' shape; larger magnitudes are kept. K is `axis`."""


@dataclass(frozen=True)
class Dense:
    """Everything is kept."""

    @property
    def density(self) -> float:
        return 1.0

    def validate(self, shape: tuple[int, ...]) -> None:
        """Every shape fits."""

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        return np.ones(scores.shape, dtype=bool)

    def __str__(self) -> str:
        return "dense"


@dataclass(frozen=True)
class NM:
    """`n` of every `m` consecutive entries along K; a group cut by the edge is padded with +0."""

    n: int
    m: int

    def __post_init__(self) -> None:
        _check_nm(self.n, self.m, f"{self.n}:{self.m}")

    @property
    def density(self) -> float:
        return self.n / self.m

    def validate(self, shape: tuple[int, ...]) -> None:
        _check_reduction(self, shape, self.m)

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        moved = np.moveaxis(scores, axis, -1)
        return np.moveaxis(_nm_mask(magnitude_keys(moved), self.n, self.m), -1, axis)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


@dataclass(frozen=True)
class VNM:
    """N:M where `v` consecutive lanes share one index pattern, chosen by the sum of magnitudes."""

    v: int
    n: int
    m: int

    def __post_init__(self) -> None:
        _check_nm(self.n, self.m, str(self))
        if not 1 <= self.v <= 1024:
            raise PatternError(f"pattern '{self}': expected 1 <= V <= 1024, got V = {self.v}")

    @property
    def density(self) -> float:
        return self.n / self.m

    def validate(self, shape: tuple[int, ...]) -> None:
        _check_reduction(self, shape, self.m)

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        moved = np.moveaxis(scores, axis, -1)
        lanes = moved.shape[-2]
        sums = sum_lanes(moved, self.v)
        shared = _nm_mask(magnitude_keys(sums), self.n, self.m)
        return np.moveaxis(np.repeat(shared, self.v, axis=-2)[..., :lanes, :], -1, axis)

    def __str__(self) -> str:
        return f"{self.v}:{self.n}:{self.m}"


@dataclass(frozen=True)
class Block:
    """Blocks of `rows` lanes x `cols` reduction entries; the share `density` of them is kept.

    Blocks are ranked over the whole tensor by the sum of magnitudes.
    """

    rows: int
    cols: int
    density: float

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise PatternError(f"pattern '{self}': expected positive block sides")
        _check_density(self.density, str(self))

    def validate(self, shape: tuple[int, ...]) -> None:
        _check_rank(self, shape)
        if self.rows > shape[-2] or self.cols > shape[-1]:
            raise PatternError(
                f"pattern '{self}' needs at least {self.rows} output lanes and {self.cols} "
                f"reduction entries, got {shape[-2]} and {shape[-1]}"
            )

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        moved = np.moveaxis(scores, axis, -1)
        kept = self.kept_blocks(moved)
        full = np.repeat(np.repeat(kept, self.rows, axis=-2), self.cols, axis=-1)
        return np.moveaxis(full[..., : moved.shape[-2], : moved.shape[-1]], -1, axis)

    def kept_blocks(self, scores: Array) -> Array:
        """scores: (..., lanes, K). Returns the boolean grid (..., ceil(lanes/rows), ceil(K/cols))."""
        by_rows = sum_lanes(scores, self.rows)
        sums = np.swapaxes(sum_lanes(np.swapaxes(by_rows, -1, -2), self.cols), -1, -2)
        return keep_top(np.ascontiguousarray(sums), kept_count(self.density, sums.size))

    def __str__(self) -> str:
        return f"block {self.rows}x{self.cols} @ {self.density:g}"


@dataclass(frozen=True)
class Unstructured:
    """The share `density` of all entries, ranked over the whole tensor."""

    density: float

    def __post_init__(self) -> None:
        _check_density(self.density, str(self))

    def validate(self, shape: tuple[int, ...]) -> None:
        _check_rank(self, shape)

    def mask_from_scores(self, scores: Array, axis: int = -1) -> Array:
        return keep_top(scores, kept_count(self.density, scores.size))

    def __str__(self) -> str:
        return f"unstructured @ {self.density:g}"


PATTERNS: dict[str, type] = {
    "dense": Dense,
    "nm": NM,
    "vnm": VNM,
    "block": Block,
    "unstructured": Unstructured,
}

_GRAMMAR = (
    (r"dense", lambda: Dense()),
    (r"(\d+):(\d+)", lambda n, m: NM(int(n), int(m))),
    (r"(\d+):(\d+):(\d+)", lambda v, n, m: VNM(int(v), int(n), int(m))),
    (r"block (\d+)x(\d+) @ ([0-9.e-]+)", lambda r, c, d: Block(int(r), int(c), float(d))),
    (r"unstructured @ ([0-9.e-]+)", lambda d: Unstructured(float(d))),
)
PATTERN_FORMS = "'dense', '2:8' (N:M), '16:2:8' (V:N:M), 'block 16x16 @ 0.1', 'unstructured @ 0.1'"


def parse_pattern(text: str) -> Pattern:
    """Read a pattern as it is written in scenarios and printed in reports.

    Raises PatternError when the text has none of the known forms or a number breaks its rule.
    """
    for form, build in _GRAMMAR:
        match = re.fullmatch(form.replace(" ", r"\s*"), str(text).strip())
        if match:
            return _build(text, build, match.groups())
    hint = nearest(str(text).split(" ")[0], ["dense", "block", "unstructured", "2:8", "2:4"])
    raise PatternError(f"unknown pattern '{text}'{hint} (valid forms: {PATTERN_FORMS})")


def _build(text: str, build: object, parts: tuple[str, ...]) -> Pattern:
    try:
        return build(*parts)  # type: ignore[operator, no-any-return]
    except ValueError as error:
        raise PatternError(f"pattern '{text}': {error}") from None


def kept_count(density: float, size: int) -> int:
    """How many of `size` items a density keeps: rounded half up, at least one of a non-empty set."""
    return min(size, max(1, math.floor(density * size + 0.5)))


def padded(length: int, multiple: int) -> int:
    """`length` rounded up to a multiple."""
    return -(-length // multiple) * multiple


def pad_axis(array: Array, axis: int, multiple: int) -> Array:
    """Append zeros along `axis` up to a multiple; returns the array itself when it already fits."""
    missing = padded(array.shape[axis], multiple) - array.shape[axis]
    if missing == 0:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return np.pad(array, widths)


def sum_lanes(scores: Array, count: int) -> Array:
    """Sum |scores| over runs of `count` lanes (axis -2) in float64, ascending; exact for float16."""
    magnitudes = pad_axis(np.abs(scores).astype(np.float64), -2, count)
    total: Array = magnitudes[..., 0::count, :].copy()
    for lane in range(1, count):
        total += magnitudes[..., lane::count, :]
    return total


def _nm_mask(keys: Array, n: int, m: int) -> Array:
    """keys: (..., K) integer magnitudes. Returns the N:M mask of the same shape."""
    length = keys.shape[-1]
    grouped = pad_axis(keys, -1, m).reshape(*keys.shape[:-1], -1, m)
    kept = np.moveaxis(keep_largest(np.ascontiguousarray(np.moveaxis(grouped, -1, 0)), n), 0, -1)
    mask: Array = kept.reshape(*keys.shape[:-1], -1)[..., :length]
    return mask


def _check_nm(n: int, m: int, text: str) -> None:
    if not (1 <= n <= m <= MAX_GROUP):
        raise PatternError(
            f"pattern '{text}': expected 1 <= N <= M <= {MAX_GROUP}, got N = {n}, M = {m}"
        )


def _check_density(density: float, text: str) -> None:
    if not 0.0 < density <= 1.0:
        raise PatternError(f"pattern '{text}': expected 0 < density <= 1, got {density}")


def _check_rank(pattern: object, shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        raise PatternError(f"pattern '{pattern}' needs at least two axes, got shape {shape}")


def _check_reduction(pattern: object, shape: tuple[int, ...], m: int) -> None:
    _check_rank(pattern, shape)
    if 0 < shape[-1] < m:
        raise PatternError(
            f"pattern '{pattern}' needs at least {m} entries along the reduction axis, "
            f"got {shape[-1]} (shape {shape}); that phase stays dense"
        )
