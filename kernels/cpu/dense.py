"""An own dense float32 product, C = A B, for the machine's vector unit: `dense_assembly`, block by block.

Operands are read where they lie: each needs one direction side by side in memory and any stride in the
other, so transposes and slices are not copied. An element is a sum over K in blocks, each in ascending
order, with the error bound of `rows`. The portable unit leaves products to NumPy.
"""

from functools import cache
from itertools import product

import numpy as np

from cosparse.spec import ShapeError, UnsupportedError
from cosparse.spec.dtypes import Array

from .dense_assembly import (
    ARGUMENTS,
    BLOCK_ROWS,
    CHUNKS_AHEAD,
    LINE_BYTES,
    LINES_AHEAD,
    UNROLL,
    DenseShape,
    dense_assembly,
    packed_floats,
)
from .isa import AVX512, PORTABLE, Isa, current
from .objects import Kernel, load_kernel
from .panels import address
from .recycled import borrowed, lent_results
from .workers import bounds, check_threads, run_parts

_DEPTHS = {True: 512, False: 384}
"""Most K of a block, by whether K is side by side in A: a strip of A then fills a third of the first-level
cache, or a quarter where its lines are read from a page each."""
_PANELS_BYTES = 1216 << 10
"""Most of B that is packed at once: of a second-level cache of 2 MiB."""
_FEW_BLOCKS = 3
"""Up to so many blocks of rows, the panels that follow are fetched ahead instead of the next block of A."""
_VECTORS = 3
"""Registers of columns in a panel."""


def dense_matmul(a: Array, b: Array, *, threads: int = 1) -> Array:
    """a: (M, K), b: (K, N), float32, any strides; returns (M, N).

    Raises ShapeError for other shapes, UnsupportedError for other dtypes or less than one thread.
    """
    _check(a, b)
    check_threads(threads)
    isa = current()
    rows, columns = len(a), b.shape[1]
    if isa is PORTABLE or 0 in (rows, columns, a.shape[1]):
        with np.errstate(invalid="ignore", over="ignore"):
            result: Array = a @ b
        return result
    a, b = _readable(a), _readable(b)
    c = lent_results(rows, columns)

    def some_rows(cut: tuple[int, int]) -> None:
        _multiply(a[slice(*cut)], b, c[slice(*cut)], isa)

    def some_columns(cut: tuple[int, int]) -> None:
        _multiply(a, b[:, slice(*cut)], c[:, slice(*cut)], isa)

    if rows >= columns:
        run_parts(some_rows, bounds(rows, threads, _tile_rows(isa)))
    else:
        run_parts(some_columns, bounds(columns, threads, _VECTORS * isa.lanes))
    return c


def _check(a: Array, b: Array) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"expected a (M, K) and b (K, N), got {a.shape} and {b.shape}")
    for name, one in (("a", a), ("b", b)):
        if one.dtype != np.float32:
            raise UnsupportedError(f"{name}: expected float32, got {one.dtype}")


def _readable(matrix: Array) -> Array:
    """Itself, or a copy where neither direction is side by side."""
    aligned = all(stride % matrix.itemsize == 0 for stride in matrix.strides)
    return matrix if aligned and matrix.itemsize in matrix.strides else np.ascontiguousarray(matrix)


def _multiply(a: Array, b: Array, c: Array, isa: Isa) -> None:
    """Write a b into c, whose columns are side by side."""
    few = len(a) <= _FEW_BLOCKS * BLOCK_ROWS
    most = _DEPTHS[a.strides[1] == a.itemsize]
    depths = bounds(a.shape[1], -(-a.shape[1] // most), UNROLL)
    deepest = max(end - first for first, end in depths)
    panel = packed_floats(_VECTORS * isa.lanes, deepest)
    panels = max(1, _PANELS_BYTES // (1 + few) // (4 * panel))
    blocks = list(product(_column_runs(b.shape[1], panels, isa.lanes), depths))
    strips = -(-BLOCK_ROWS // _tile_rows(isa)) * packed_floats(_tile_rows(isa), deepest)
    with borrowed(strips, panels * panel) as (packed_a, packed_b):
        for ((first, end, vectors), (k, k_end)), following in zip(
            blocks, [*blocks[1:], blocks[-1]], strict=True
        ):
            left, right = a[:, k:k_end], b[k:k_end, first:end]
            if few:
                (after, after_end, _), (k_after, k_after_end) = following
                ahead, more = b[k_after:k_after_end, after:after_end].T, 0
            else:
                ahead, more = left[BLOCK_ROWS : 2 * BLOCK_ROWS], BLOCK_ROWS * a.strides[0]
            _kernel(_shape(a, b, vectors, isa))(
                address(left), _stride(left, 1), address(right), _stride(right, 0), len(a),
                end - first, k_end - k, -(-(end - first) // (vectors * isa.lanes)),
                address(packed_a), address(packed_b), address(c) + 4 * first, c.strides[0],
                int(k > 0), address(ahead), more, *_ahead(ahead),
            )  # fmt: skip


def _column_runs(columns: int, panels: int, lanes: int) -> list[tuple[int, int, int]]:
    """(first, end, vectors of a panel): runs of wide panels, of about equal size, then one narrow one."""
    units = -(-columns // lanes)
    whole, rest = divmod(units, _VECTORS)
    width = _VECTORS * lanes
    cuts = bounds(whole, -(-whole // panels))
    runs = [(first * width, min(columns, end * width), _VECTORS) for first, end in cuts]
    return [*runs, (whole * width, columns, rest)] if rest else runs


def _ahead(lines: Array) -> tuple[int, int, int, int, int]:
    """How tiles share what they fetch ahead, a matrix (lines, K) with one direction side by side.

    Returns groups, minor, major, jump and step, the `ahead_...` of `dense_assembly.ARGUMENTS`.
    """
    groups = max(1, len(lines) // (LINES_AHEAD * CHUNKS_AHEAD))
    if lines.strides[1] == lines.itemsize:
        stride = lines.strides[0]
        return groups, LINES_AHEAD * stride, LINES_AHEAD * groups * stride, stride, LINE_BYTES
    stride = lines.strides[1]
    rounds = -(-lines.shape[1] // UNROLL)
    return groups, LINES_AHEAD * LINE_BYTES, rounds * stride, LINE_BYTES, stride


def _tile_rows(isa: Isa) -> int:
    """Rows of a register tile."""
    return 8 if isa is AVX512 else 4


def _shape(a: Array, b: Array, vectors: int, isa: Isa) -> DenseShape:
    deep = a.strides[1] == a.itemsize, b.strides[0] == b.itemsize
    return DenseShape(_tile_rows(isa), vectors, isa.lanes, *deep)


def _stride(matrix: Array, deep: int) -> int:
    """Bytes along the direction that is not side by side. deep: the axis of K."""
    other = matrix.strides[1 - deep]
    return other if matrix.strides[deep] == matrix.itemsize else matrix.strides[deep]


@cache
def _kernel(shape: DenseShape) -> Kernel:
    return load_kernel(shape.name, dense_assembly(shape), len(ARGUMENTS))
