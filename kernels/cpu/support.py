"""Weights whose entries have fixed positions and values that change: SLTrain's sparse part.

Positions are cut into tiles once, in both directions; the values of a step are put in their places by one
gather. The gradient of the values is a dot product of two rows of activations an entry, not a dense
product of which most is thrown away.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numba import njit

from cosparse.spec import ShapeError, UnsupportedError
from cosparse.spec.dtypes import Array

from ..geometry import as_float32
from .dot_assembly import MOST_VECTORS, dots_kernel, transpose_kernel
from .isa import PORTABLE, Isa, current
from .linear import filled, multiply
from .panels import address, aligned_empty, from_strips, to_panel
from .recycled import borrowed
from .rows import OPTIONS, multiply_rows
from .tiled import TiledWeight, TileShape, tile
from .tuned import tile_shape
from .workers import bounds, check_threads, run_parts

_MOST_ENTRIES = (1 << 24) - 1
"""Entries that float32 can count."""
_VERY_FEW, _FEW = 1 / 16, 1 / 8
"""Densities below which tiles are other than those of N:M weights: rows differ in their counts."""


class Support:
    """Where a weight (out, in) has entries.

    positions: ascending flat places; values: float32, one for each, given with every product. Raises
    ShapeError for positions that do not ascend inside the shape.
    """

    def __init__(self, positions: Array, shape: tuple[int, int]) -> None:
        rows, columns = shape
        places = np.asarray(positions, np.int64)
        ascending = places.ndim == 1 and bool((np.diff(places) > 0).all())
        if not ascending or (places.size and not 0 <= places[0] <= places[-1] < rows * columns):
            raise ShapeError(f"support: expected ascending positions in {rows} x {columns} places")
        if len(places) > _MOST_ENTRIES:
            raise UnsupportedError(
                f"support: expected at most {_MOST_ENTRIES} entries, got {len(places)}"
            )
        self.shape = shape
        self.entries = len(places)
        row, column = np.divmod(places, max(1, columns))
        self._ahead = _direction(row, column, rows, columns)
        self._back = _direction(column, row, columns, rows)

    def matmul(self, values: Array, x: Array, *, threads: int = 1) -> Array:
        """The product x W^T. x: (tokens, in); returns (tokens, out)."""
        return self._ahead.multiply(self._checked(values), _tokens(x, self.shape[1]), threads)

    def input_gradient(self, values: Array, dy: Array, *, threads: int = 1) -> Array:
        """The gradient dy W. dy: (tokens, out); returns (tokens, in)."""
        return self._back.multiply(self._checked(values), _tokens(dy, self.shape[0]), threads)

    def gradient(self, dy: Array, x: Array, *, threads: int = 1) -> Array:
        """Of the values: the entries of dy^T x at the positions. dy: (tokens, out), x: (tokens, in)."""
        check_threads(threads)
        dy, x = _tokens(dy, self.shape[0]), _tokens(x, self.shape[1])
        if len(dy) != len(x):
            raise ShapeError(f"support: expected {len(x)} tokens of dy, got {len(dy)}")
        isa = current()
        if isa is not PORTABLE:
            return _sampled(self._ahead, dy, x, isa, threads)
        left, right = (np.ascontiguousarray(side.T) for side in (dy, x))
        found = np.zeros(self.entries, np.float32)
        on_rows = partial(_add_dots, self._ahead.pointers, self._ahead.columns, left, right, found)
        run_parts(lambda part: on_rows(*part), bounds(self.shape[0], threads))
        return found

    def _checked(self, values: Array) -> Array:
        if values.shape != (self.entries,):
            raise ShapeError(f"support: expected ({self.entries},) values, got {values.shape}")
        return as_float32("support", values)


@dataclass(frozen=True, eq=False)
class _Direction:
    """The positions by the rows of one direction. order: the entry of every place."""

    pointers: Array
    columns: Array
    order: Array
    size: int
    tiles: dict[str, tuple[TiledWeight, Array]]

    def multiply(self, values: Array, x: Array, threads: int) -> Array:
        check_threads(threads)
        isa, rows = current(), len(self.pointers) - 1
        if isa is PORTABLE:
            return self._portable(values, x, threads)
        if isa.name not in self.tiles:
            self.tiles[isa.name] = self._tiled(isa)
        tiles, entry = self.tiles[isa.name]
        placed = aligned_empty(entry.size)
        np.take(np.concatenate([np.zeros(1, np.float32), values]), entry, out=placed, mode="clip")
        weight = replace(tiles, values=placed.reshape(tiles.values.shape))
        return multiply(weight, x, isa, threads)[:, :rows]

    def _tiled(self, isa: Isa) -> tuple[TiledWeight, Array]:
        """Tiles of this direction and, for every place in them, its entry from 1 on; 0 fills them up."""
        places = max(1, (len(self.pointers) - 1) * self.size)
        shape = _tile_shape(len(self.columns) / places, isa)
        numbers = (self.order + 1).astype(np.float32)[:, None]
        tiles = tile(shape, self.pointers, self.columns, numbers, self.size)
        return tiles, tiles.values.reshape(-1).astype(np.intp)

    def _portable(self, values: Array, x: Array, threads: int) -> Array:
        panel, rows = to_panel(x), len(self.pointers) - 1
        out = np.empty((len(panel.strip_starts), rows, panel.width), np.float32)
        ranges = self.pointers[:-1, None], self.pointers[1:, None]
        entries = self.columns.astype(np.uint32), values[self.order][:, None]
        on_rows = partial(
            multiply_rows,
            *ranges,
            *entries,
            panel.values,
            panel.row_starts,
            panel.strip_starts,
            out,
        )
        run_parts(lambda part: on_rows(*part), bounds(rows, threads))
        return from_strips(out, len(x))


def _tile_shape(density: float, isa: Isa) -> TileShape:
    """Few entries a row: deeper k tiles, and fewer rows that wait for the longest of them."""
    if density < _VERY_FEW:
        return TileShape(1, shared=False, k_tile=512, unroll=1)
    if density < _FEW:
        return TileShape(4, shared=False, k_tile=256, unroll=1)
    return tile_shape(1, density, isa)


def _direction(row: Array, column: Array, rows: int, columns: int) -> _Direction:
    order = np.lexsort((column, row))
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    return _Direction(pointers.astype(np.int64), column[order], order, columns, {})


def _tokens(x: Array, columns: int) -> Array:
    if x.ndim != 2 or x.shape[1] != columns:
        raise ShapeError(f"support: expected (tokens, {columns}), got {x.shape}")
    return as_float32("support", x)


def _sampled(direction: _Direction, dy: Array, x: Array, isa: Isa, threads: int) -> Array:
    """dy^T x at the positions; threads share the blocks of tokens."""
    block = MOST_VECTORS * isa.lanes
    dy, x = (filled(side, isa.lanes, isa.lanes) for side in (dy, x))
    pointers, columns = address(direction.pointers), address(direction.columns)
    rows, parts = len(direction.pointers) - 1, bounds(-(-len(x) // block), threads)
    found = np.zeros((max(1, len(parts)), len(direction.columns)), np.float32)

    def run(part: tuple[int, int, int]) -> None:
        number, first, last = part
        with borrowed(*(side.shape[1] * block for side in (dy, x))) as (left, right):
            for token in range(first * block, min(last * block, len(x)), block):
                vectors = min(block, len(x) - token) // isa.lanes
                stride = 4 * vectors * isa.lanes
                for side, lines in ((dy, left), (x, right)):
                    transpose_kernel(isa.lanes)(
                        1, vectors, side.shape[1] // isa.lanes,
                        address(side) + token * side.strides[0], 0, side.strides[0],
                        address(lines), 0, stride,
                    )  # fmt: skip
                dots_kernel(vectors, isa.lanes)(
                    rows, pointers, columns, address(left), stride, address(right), stride,
                    address(found) + number * found.strides[0],
                )  # fmt: skip

    run_parts(run, [(number, *part) for number, part in enumerate(parts)])
    total: Array = found[0] if len(found) == 1 else found.sum(axis=0)
    return total


@njit(**OPTIONS)
def _add_dots(pointers, columns, left, right, found, first, last):  # type: ignore[no-untyped-def]
    """Entries of the rows [first, last). left: (rows, tokens), right: (columns, tokens)."""
    for row in range(first, last):
        for entry in range(pointers[row], pointers[row + 1]):
            total = np.float32(0)
            for token in range(left.shape[1]):
                total += left[row, token] * right[columns[entry], token]
            found[entry] = total
