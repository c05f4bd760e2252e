"""The CPU's layout of a packed weight: row tiles with one list of columns each.

    tap_pointers [tile * taps + tap]  int64, first entry of every tap of every tile, and the end
    columns      [entry]              uint32, row of the activation panel that the entry multiplies
    values       [entry][row]         float32, one value for each of the tile's `tile_rows` rows

Tiles run over (conv_group, lane tile), panel rows over (conv_group, tap, K), in FF and BP alike. A
tile has four rows where the format shares indices among four lanes, otherwise one. Entries beyond K
(the padding of a cut group) are dropped. The kernels in LLVM assembly have a layout of their own,
`PreparedWeight.register_tiles`, which is made of this one for the first product that needs it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cosparse.spec import BlockTensor, NMTensor, PackedTensor, UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.errors import unknown_name
from cosparse.spec.layout import Layout

from .int8 import Int8Weight, int8_weight
from .isa import Isa, current
from .permute import PermutedWeight, can_permute, permuted
from .tiled import TiledWeight, tile
from .tuned import conv_shape, tile_shape

SHARED_ROWS = 4
"""Rows of a tile whose lanes share their columns."""


@dataclass(frozen=True, eq=False)
class PreparedWeight:
    """A packed weight in the layout of the CPU kernels; see the module's text."""

    format_name: str
    layout: Layout
    tile_rows: int
    tap_pointers: Array
    columns: Array
    values: Array
    shared_rows: int
    """Rows that have their columns in common: V, or the rows of a block."""
    packed: PackedTensor
    """Where it comes from."""
    repack_s: float
    """Seconds that the repacking took."""

    @property
    def panel_rows(self) -> int:
        return self.layout.conv_groups * self.layout.taps * self.layout.reduction

    @cached_property
    def tiles(self) -> int:
        return (len(self.tap_pointers) - 1) // self.layout.taps

    @cached_property
    def rows(self) -> int:
        """Rows of a product, with those that fill the last tile of every convolution group."""
        return self.tiles * self.tile_rows

    @property
    def group_rows(self) -> int:
        """`rows` of one convolution group."""
        return _lane_tiles(self.layout, self.tile_rows) * self.tile_rows

    @cached_property
    def _tiled(self) -> dict[tuple[str, tuple[int, ...] | None], TiledWeight]:
        return {}

    def register_tiles(self, isa: Isa) -> TiledWeight:
        """A linear weight in the layout of the kernels in LLVM assembly, made once a unit."""
        key = (isa.name, None)
        if key not in self._tiled:
            shape = tile_shape(self._common_rows, self.density, isa)
            self._tiled[key] = tile(
                shape, self.tap_pointers, self.columns, self.values, self.panel_rows
            )
        return self._tiled[key]

    def conv_tiles(self, isa: Isa, taps: tuple[int, ...]) -> TiledWeight:
        """Some taps of a convolution's weight, columns (conv group, one of `taps`, K), made once a unit."""
        key = (isa.name, taps)
        if key not in self._tiled:
            shape = conv_shape(self._common_rows, self.density, isa)
            self._tiled[key] = tile(shape, *self._entries(taps))
        return self._tiled[key]

    @property
    def _common_rows(self) -> int:
        """`shared_rows` that no convolution group cuts: a group has whole tiles of `tile_rows` rows."""
        if self.layout.conv_groups == 1:
            return self.shared_rows
        return math.gcd(self.shared_rows, self.group_rows)

    def _entries(self, taps: tuple[int, ...]) -> tuple[Array, Array, Array, int]:
        """(first entry of every tile, columns, values, number of columns) of ascending taps only."""
        layout = self.layout
        size = layout.conv_groups * len(taps) * layout.reduction
        if len(taps) == layout.taps:
            return self.tap_pointers[:: layout.taps], self.columns, self.values, size
        matrix, index = np.divmod(self.columns.astype(np.int64), max(1, layout.reduction))
        group, tap = np.divmod(matrix, layout.taps)
        place = np.full(layout.taps, -1)
        place[list(taps)] = np.arange(len(taps))
        kept = place[tap] >= 0
        before = np.concatenate([[0], np.cumsum(kept)])
        column = (group * len(taps) + place[tap]) * layout.reduction + index
        return before[self.tap_pointers[:: layout.taps]], column[kept], self.values[kept], size

    @cached_property
    def permuted(self) -> PermutedWeight | None:
        """The layout of the kernels for few tokens, where they take this weight."""
        packed: Any = self.packed
        return permuted(packed) if can_permute(packed, current()) else None

    @cached_property
    def int8(self) -> Int8Weight:
        """The layout of the INT8 kernels. Raises UnsupportedError for a weight that they do not take."""
        return int8_weight(self, prepare)

    @property
    def density(self) -> float:
        return self.values.size / max(1, self.rows * self.panel_rows)

    @cached_property
    def finite(self) -> bool:
        return bool(np.isfinite(self.values).all())

    def entry_ranges(self, taps: Sequence[int]) -> tuple[Array, Array]:
        """First entries and ends for ascending taps, (tiles, runs of neighbouring taps) each."""
        every = self.layout.taps
        firsts = [tap for tap in taps if tap - 1 not in taps]
        ends = [tap + 1 for tap in taps if tap + 1 not in taps]
        tile = np.arange(self.tiles)[:, None] * every
        pointers = self.tap_pointers
        return pointers[tile + np.array(firsts)], pointers[tile + np.array(ends)]

    @property
    def products_per_token(self) -> int:
        """Multiply-accumulates for one token or output pixel."""
        return self.values.size

    def unpack(self) -> Array:
        """The dense float32 array of the weight's shape, equal to that of the packed tensor."""
        layout = self.layout
        tile_count = _lane_tiles(layout, self.tile_rows)
        tile = _owners(self.tap_pointers) // layout.taps % max(1, tile_count)
        matrix, index = np.divmod(self.columns.astype(np.intp), max(1, layout.reduction))
        lanes = tile[:, None] * self.tile_rows + np.arange(self.tile_rows)
        padded = tile_count * self.tile_rows
        dense = np.zeros((layout.conv_groups * layout.taps, padded, layout.reduction), np.float32)
        dense[matrix[:, None], lanes, index[:, None]] = self.values
        split = dense.reshape(layout.conv_groups, layout.taps, padded, layout.reduction)
        return layout.from_matrices(split[:, :, : layout.lanes])


def prepare(packed: PackedTensor) -> PreparedWeight:
    """Repack once, at load, and check every index: kernels check none.

    Raises UnsupportedError for a format without a CPU layout, CorruptFileError for planes that do not
    form a tensor of the format.
    """
    if packed.format_name not in _REPACKS:
        raise UnsupportedError(unknown_name("CPU format", packed.format_name, _REPACKS))
    packed.validate()
    start = time.perf_counter()
    tile_rows, pointers, columns, values = _REPACKS[packed.format_name](packed)
    return PreparedWeight(
        format_name=packed.format_name,
        layout=packed.layout,
        tile_rows=tile_rows,
        tap_pointers=pointers,
        columns=columns,
        values=values,
        shared_rows=_shared_rows(packed),
        packed=packed,
        repack_s=time.perf_counter() - start,
    )


def _shared_rows(packed: Any) -> int:
    if isinstance(packed, NMTensor):
        return packed.lane_block
    return packed.pattern.rows if isinstance(packed, BlockTensor) else 1


Repacked = tuple[int, Array, Array, Array]
"""(tile_rows, tap_pointers, columns, values)."""


def _repack_nm(packed: Any) -> Repacked:
    tensor: NMTensor = packed
    layout = tensor.layout
    rows = SHARED_ROWS if tensor.lane_block % SHARED_ROWS == 0 else 1
    lane_tiles = _lane_tiles(layout, rows)
    conv_groups, taps, groups, n, _ = tensor.values.shape
    image = (conv_groups, taps, groups, n, lane_tiles)
    values = tensor.decoded_values()[..., : lane_tiles * rows].reshape(*image, rows)
    position = tensor.lane_indices()[..., : lane_tiles * rows : rows].astype(np.int64)
    index = position + np.arange(groups)[:, None, None] * tensor.pattern.m
    order = (0, 4, 1, 2, 3)
    kept = (index < layout.reduction).transpose(order)
    columns = (_panel_starts(layout)[:, :, None, None, None] + index).transpose(order)
    pointers = _pointers(kept.sum(axis=(3, 4)).reshape(-1))
    return rows, pointers, columns[kept].astype(np.uint32), values.transpose(*order, 5)[kept]


def _repack_block(packed: Any) -> Repacked:
    tensor: BlockTensor = packed
    layout, block = tensor.layout, tensor.pattern
    rows = SHARED_ROWS if block.rows % SHARED_ROWS == 0 else 1
    _, _, block_rows, block_columns = tensor.grid
    group, block_row = np.divmod(tensor.block_rows()[:, None, None], max(1, block_rows))
    tap, block_column = np.divmod(
        tensor.block_columns.astype(np.int64)[:, None, None], max(1, block_columns)
    )
    lane_tile = block_row * (block.rows // rows) + np.arange(block.rows // rows)[:, None]
    index = block_column * block.cols + np.arange(block.cols)
    kept = (lane_tile < _lane_tiles(layout, rows)) & (index < layout.reduction)
    values = tensor.decoded_values().reshape(-1, block.rows // rows, rows, block.cols)
    place = _tile_taps(layout, rows, group, tap, lane_tile)
    column = _panel_starts(layout)[group, tap] + index
    return _sorted_by_tile(
        layout, rows, _at(place, kept), _at(column, kept), values.swapaxes(2, 3)[kept]
    )


def _repack_rows(packed: Any) -> Repacked:
    layout = packed.layout
    group, lane = np.divmod(packed.entry_rows(), max(1, layout.lanes))
    tap, index = np.divmod(packed.entry_columns(), max(1, layout.reduction))
    place = _tile_taps(layout, 1, group, tap, lane)
    column = _panel_starts(layout)[group, tap] + index
    return _sorted_by_tile(layout, 1, place, column, packed.decoded_values()[:, None])


_REPACKS: dict[str, Callable[[Any], Repacked]] = {
    "nm": _repack_nm,
    "vnm": _repack_nm,
    "block": _repack_block,
    "csr": _repack_rows,
    "bitmap": _repack_rows,
}


def _lane_tiles(layout: Layout, rows: int) -> int:
    return -(-layout.lanes // rows)


def _panel_starts(layout: Layout) -> Array:
    """First panel row of every (conv_group, tap)."""
    starts = np.arange(layout.conv_groups * layout.taps) * layout.reduction
    return starts.reshape(layout.conv_groups, layout.taps)


def _tile_taps(layout: Layout, rows: int, group: Array, tap: Array, lane_tile: Array) -> Array:
    """Place in `tap_pointers` of a tile's tap."""
    return (group * _lane_tiles(layout, rows) + lane_tile) * layout.taps + tap


def _at(array: Array, kept: Array) -> Array:
    return np.broadcast_to(array, kept.shape)[kept]


def _sorted_by_tile(
    layout: Layout, rows: int, place: Array, column: Array, values: Array
) -> Repacked:
    """Entries in any order to the order of tiles and taps; inside a tap their order stays."""
    order = np.argsort(place, kind="stable")
    places = layout.conv_groups * _lane_tiles(layout, rows) * layout.taps
    counts = np.bincount(place, minlength=places)
    contiguous = np.ascontiguousarray(values[order], np.float32)
    return rows, _pointers(counts), column[order].astype(np.uint32), contiguous


def _pointers(counts: Array) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _owners(pointers: Array) -> Array:
    """Which range of `pointers` every entry lies in."""
    return np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
