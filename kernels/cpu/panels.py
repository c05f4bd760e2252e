"""Activation panels: what the kernels multiply, with tokens innermost, and the ways in and out.

A strip is a run of tokens narrow enough for all of its rows to stay in the second-level cache, padded
with zeros to whole cache lines. Strips lie one after the other, so that rows never share a cache
set because of a power-of-two stride, and start on a 64-byte boundary: an unaligned vector load
crosses a cache line every second time.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from cosparse.spec.dtypes import Array

from .rows import OPTIONS

LINE = 16
"""float32 values in one cache line."""
_STRIP_BYTES = 1 << 19
_WIDEST_STRIP, _NARROWEST_STRIP = 128, 64


@dataclass(frozen=True, eq=False)
class Panel:
    """Row r of strip s is `values[strip_starts[s] + row_starts[r] :][:width]`; rows may overlap."""

    values: Array
    row_starts: Array
    strip_starts: Array
    width: int


def strips_of(tokens: int, rows: int) -> tuple[int, int]:
    """(strips, tokens of one strip) for a panel of `rows` rows."""
    fitting = _STRIP_BYTES // (4 * max(1, rows))
    widest = min(max(fitting, _NARROWEST_STRIP), _WIDEST_STRIP)
    strips = -(-tokens // widest)
    return strips, LINE * -(-tokens // (LINE * max(1, strips)))


def aligned_empty(size: int) -> Array:
    """An uninitialised float32 array that starts on a 64-byte boundary."""
    buffer = np.empty(size + LINE, np.float32)
    start = -buffer.ctypes.data % 64 // 4
    return buffer[start : start + size]


def address(array: Array) -> int:
    """Of the first element."""
    return int(array.__array_interface__["data"][0])


def starts(first: Array) -> Array:
    """Positions in a panel, in the type that the kernels index with."""
    return np.ascontiguousarray(first, np.uint64)


def to_panel(x: Array) -> Panel:
    """(tokens, rows) to a panel."""
    tokens, rows = x.shape
    strips, width = strips_of(tokens, rows)
    values = aligned_empty(strips * rows * width)
    for strip, part in enumerate(values.reshape(strips, rows, width)):
        tile = x[strip * width : (strip + 1) * width]
        _transpose(tile, part)
        part[:, len(tile) :] = 0
    return Panel(
        values, starts(np.arange(rows) * width), starts(np.arange(strips) * rows * width), width
    )


def from_strips(strips: Array, tokens: int) -> Array:
    """Results (strips, rows, width) to (tokens, rows)."""
    count, rows, width = strips.shape
    y = np.empty((count * width, rows), np.float32)
    for strip in range(count):
        _transpose(strips[strip], y[strip * width : (strip + 1) * width])
    return y[:tokens]


@njit(**OPTIONS)
def _transpose(source, target):  # type: ignore[no-untyped-def]
    """target[j, i] = source[i, j], in squares whose lines stay in the first-level cache."""
    rows, columns = source.shape
    for i0 in range(0, rows, 32):
        for j0 in range(0, columns, 32):
            for j in range(j0, min(j0 + 32, columns)):
                for i in range(i0, min(i0 + 32, rows)):
                    target[j, i] = source[i, j]
