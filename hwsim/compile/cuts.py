"""How matrices are cut into tiles: one absolute list, of which a configuration holds some."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cosparse.spec.patterns import padded

TILE_VALUES = (32, 128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144)
"""Values of a tile at most, unless its smallest block has more."""
TILE_WIDTHS = (8, 32, 128, 512)
"""Columns of a tile, beside all of them. A matrix of one row is cut anywhere."""


@dataclass(frozen=True)
class Matrices:
    """`count` equal matrices of rows x columns, one after the other."""

    count: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Tile:
    """Rows and columns of a full tile."""

    rows: int
    columns: int


class Words(NamedTuple):
    """Scratchpad words that a tile needs in one half of each."""

    act: int = 0
    wgt: int = 0
    acc: int = 0


@dataclass(frozen=True)
class Block:
    """Equal tiles: their size, the first one's place, how many lie along rows and columns."""

    rows: int
    columns: int
    first_row: int
    first_column: int
    row_tiles: int
    column_tiles: int


def tiles(matrices: Matrices, row_unit: int, column_unit: int) -> list[Tile]:
    """Tiles of whole units (or all of an axis), smallest first."""
    rows, columns = matrices.rows, matrices.columns
    found = set()
    for width in TILE_VALUES if rows == 1 else (*TILE_WIDTHS, columns):
        tile_columns = min(padded(width, column_unit), columns)
        for values in TILE_VALUES:
            units = max(values // (tile_columns * row_unit), 1)
            found.add(Tile(min(units * row_unit, rows), tile_columns))
    return sorted(found, key=lambda tile: (tile.rows * tile.columns, tile.rows))


def blocks(matrices: Matrices, tile: Tile) -> Iterator[Block]:
    """Full tiles first, then those that an edge cuts."""
    for first_column, columns, column_tiles in _pieces(matrices.columns, tile.columns):
        for first_row, rows, row_tiles in _pieces(matrices.rows, tile.rows):
            yield Block(rows, columns, first_row, first_column, row_tiles, column_tiles)


def _pieces(total: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(first, size, count) of the full pieces and of the rest."""
    whole = total // size
    if whole:
        yield 0, size, whole
    if total % size:
        yield whole * size, total % size, 1
