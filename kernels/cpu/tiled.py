"""Weights cut into register tiles, the layout of the kernels in LLVM assembly.

    pointers [k tile][row tile]  int64, first step of every tile, and the end of the last one of a k tile
    values   [step][row]         float32, the rows of a tile side by side
    indices  [step][row]         column inside the k tile; [step] alone where the rows share them

A step is one entry of every row of a tile. Rows that have fewer entries than their tile has steps, and
tiles cut off at the last row, are filled up with value 0 at column `k_tile`, where a panel has zeros:
an absent weight meets no activation. A k tile's part of a panel fits into a cache; see `broadcast`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosparse.spec.dtypes import Array

from .panels import aligned_empty

ROW_ALIGNMENT = 16
"""Rows of the widest vector register: results leave the kernels in squares of that size."""


@dataclass(frozen=True)
class TileShape:
    """How a weight is cut: rows of a tile and columns of a k tile."""

    rows: int
    shared: bool
    """Whether the rows of a tile have their columns in common."""
    k_tile: int
    unroll: int
    """Steps that a kernel takes at once; every tile has a multiple of it."""
    across: bool = False
    """Whether the rows lie across the vector lanes (`row_lanes`), otherwise tokens do (`broadcast`)."""

    @property
    def indices_a_step(self) -> int:
        return 1 if self.shared else self.rows

    @property
    def index_bits(self) -> int:
        return 8 if self.k_tile < 1 << 8 else 16


@dataclass(frozen=True, eq=False)
class TiledWeight:
    """A weight in tiles; see the module's text."""

    shape: TileShape
    columns: int
    """K: columns of the weight."""
    pointers: Array
    values: Array
    indices: Array

    @property
    def k_tiles(self) -> int:
        return len(self.pointers)

    @property
    def row_tiles(self) -> int:
        return int(self.pointers.shape[1]) - 1

    @property
    def rows(self) -> int:
        """Rows of a product, with those that fill the last tiles."""
        return self.row_tiles * self.shape.rows


def tile(
    shape: TileShape, pointers: Array, columns: Array, values: Array, size: int
) -> TiledWeight:
    """Cut a weight of `size` columns into tiles.

    pointers: first entry of every run of rows, and the end; columns (entries,), values (entries, rows
    of a run). Runs that share a tile must have the same columns where `shape.shared`. The tiles' rows
    are filled up to a multiple of ROW_ALIGNMENT.
    """
    rows_a_run = values.shape[1]
    runs_a_tile = shape.rows // rows_a_run
    runs, k_tiles = len(pointers) - 1, max(1, -(-size // shape.k_tile))
    row_tiles = _filled(-(-runs // runs_a_tile), max(1, ROW_ALIGNMENT // shape.rows))
    run = np.repeat(np.arange(runs), np.diff(pointers))
    k_tile, inside = np.divmod(columns.astype(np.int64), shape.k_tile)
    cell = k_tile * (row_tiles * runs_a_tile) + run
    order = np.argsort(cell, kind="stable")
    counts = np.bincount(cell, minlength=k_tiles * row_tiles * runs_a_tile)
    steps = counts.reshape(k_tiles, row_tiles, runs_a_tile).max(axis=2)
    steps = _filled(steps, shape.unroll)
    ends = np.concatenate([[0], np.cumsum(steps)])
    tile_pointers = ends[np.add.outer(np.arange(k_tiles) * row_tiles, np.arange(row_tiles + 1))]
    rank = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    owner, place = np.divmod(cell[order], runs_a_tile)
    step = ends[owner] + rank
    tiled_values = aligned_empty(int(ends[-1]) * shape.rows).reshape(-1, runs_a_tile, rows_a_run)
    tiled_values[...] = 0
    tiled_values[step, place] = values[order]
    indices = np.full((int(ends[-1]), shape.indices_a_step), shape.k_tile, _index_type(shape))
    indices[step, 0 if shape.shared else place] = inside[order]
    return TiledWeight(shape, size, tile_pointers.astype(np.int64), tiled_values, indices)


def _index_type(shape: TileShape) -> str:
    return f"u{shape.index_bits // 8}"


def _filled(count: Any, multiple: int) -> Any:
    """Rounded up to a multiple."""
    return -(-count // multiple) * multiple
