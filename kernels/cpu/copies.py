"""Copies of a weight that live for one training step: packed straight into the register tiles of the kernels.

    W (float32)  ->  ranks, kept entries  ->  tiles of `tiled`

A linear weight whose sizes fill whole blocks goes that way, both directions of a panel of rows while it is
in the cache; any other is packed and then prepared, with the same result of every product.
"""

from dataclasses import dataclass
from math import lcm

import numpy as np

from cosparse.spec import NM, VNM, Pattern
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout

from .isa import Isa, current
from .pack import pack_kernel, pack_weight, selection_of
from .pack_assembly import Selection, Target, lanes_at_once
from .panels import address, aligned_empty
from .prepared import PreparedWeight, prepare
from .recycled import recycle, recycled_empty
from .tiled import ROW_ALIGNMENT, TiledWeight, TileShape
from .tuned import tile_shape

PANEL_BYTES = 1 << 20
"""Of a weight's rows that are packed in both directions one after the other: half a second-level cache."""


@dataclass(frozen=True, eq=False)
class StepCopy:
    """One copy of a linear weight, in register tiles only."""

    layout: Layout
    tiles: TiledWeight


Copy = StepCopy | PreparedWeight


def step_copies(
    weight: Array,
    pattern: Pattern,
    *,
    axes: tuple[int, ...] = (1, 0),
    select_dtype: str = "float16",
    conv_groups: int = 1,
) -> tuple[Copy, ...]:
    """What the products of one step take, for each of `axes`: 1 for FF, 0 for BP.

    weight: as `pack_weight` takes it. Raises what `pack_weight` raises.
    """
    ways = _directions(weight, pattern, axes, select_dtype) if conv_groups == 1 else None
    if ways is None:
        return tuple(
            prepare(
                pack_weight(
                    weight, pattern, axis=axis, select_dtype=select_dtype, conv_groups=conv_groups
                )
            )
            for axis in axes
        )
    unit = max(way.unit for way in ways)
    rows = max(unit, PANEL_BYTES // weight.strides[0] // unit * unit)
    for first in range(0, len(weight), rows):
        last = min(first + rows, len(weight))
        for way in ways:
            way.pack(address(weight), weight.strides[0], first, last)
    return tuple(way.copy for way in ways)


class _Direction:
    """One direction of a weight on its way into tiles.

    What calls need is worked out once: a weight takes a hundred of them, of a few microseconds each.
    """

    def __init__(self, layout: Layout, selection: Selection, shape: TileShape, isa: Isa) -> None:
        self._turned = layout.axis == 1
        self._m, self._k_tile, self._rows = selection.m, shape.k_tile, shape.rows
        self._width = lanes_at_once(selection, isa.lanes)
        depth, self._lanes = layout.reduction, layout.lanes
        self._counts = [min(shape.k_tile, depth - first) for first in range(0, depth, shape.k_tile)]
        kept = [count // selection.m * selection.n for count in self._counts]
        self._steps = [-(-one // shape.unroll) * shape.unroll for one in kept]
        tiles = _empty_tiles(layout, shape, self._steps, kept)
        self.copy = StepCopy(layout, tiles)
        recycle(self.copy, tiles.values, tiles.indices)
        self._starts = tiles.pointers[:, 0].tolist()
        self._values, self._indices = address(tiles.values), address(tiles.indices)
        self._value_bytes = 4 * shape.rows
        self._index_bytes = shape.indices_a_step * tiles.indices.itemsize
        self._scratch = aligned_empty(shape.k_tile * self._width if self._turned else 1)
        target = Target(shape.rows, shape.index_bits, absolute=True)
        self._kernel = pack_kernel(selection, target, isa.lanes, transposed=self._turned)

    @property
    def unit(self) -> int:
        """Rows of the weight that are packed at once: a block of lanes for FF, a k tile for BP."""
        return self._width if self._turned else self._k_tile

    def pack(self, weight: int, stride: int, first: int, last: int) -> None:
        """Rows first to last of the weight, multiples of `unit` or its end. weight: its address."""
        if self._turned:
            at = weight + first * stride
            for number, count in enumerate(self._counts):
                self._call(number, at, stride, count, first, last - first)
                at += 4 * count
            return
        for number in range(first // self._k_tile, -(-last // self._k_tile)):
            at = weight + number * self._k_tile * stride
            self._call(number, at, stride, self._counts[number], 0, self._lanes)

    def _call(
        self, number: int, source: int, stride: int, count: int, lane: int, lanes: int
    ) -> None:
        """`count` K positions of k tile `number` and `lanes` lanes from lane `lane` on."""
        steps = self._steps[number]
        step = self._starts[number] + steps * (lane // self._rows)
        self._kernel(
            source, stride, count // self._m, lanes // self._width, address(self._scratch),
            self._values + step * self._value_bytes, self._value_bytes, self._value_bytes * steps,
            self._indices + step * self._index_bytes, self._index_bytes, self._index_bytes * steps,
        )  # fmt: skip


def _directions(
    weight: Array, pattern: Pattern, axes: tuple[int, ...], select_dtype: str
) -> list[_Direction] | None:
    """None where some direction has to be packed and prepared."""
    isa = current()
    plain = weight.ndim == 2 and weight.dtype == np.float32 and weight.strides[1] == weight.itemsize
    if not isinstance(pattern, NM | VNM) or not plain:
        return None
    selection = selection_of(pattern, select_dtype, isa)
    if selection is None:
        return None
    cuts = [
        (layout, tile_shape(selection.v, selection.n / selection.m, isa))
        for layout in (Layout(weight.shape, a) for a in axes)
    ]
    if not all(_fills_blocks(layout, selection, shape, isa) for layout, shape in cuts):
        return None
    return [_Direction(layout, selection, shape, isa) for layout, shape in cuts]


def _fills_blocks(layout: Layout, selection: Selection, shape: TileShape, isa: Isa) -> bool:
    """Whether no block of lanes, group or tile is cut, and rows that share a tile share their positions."""
    lanes, depth = layout.lanes, layout.reduction
    unit = lcm(lanes_at_once(selection, isa.lanes), ROW_ALIGNMENT, shape.rows)
    whole = lanes % unit == 0
    shared = shape.shared == (selection.v > 1)
    shared = shared and selection.v % (shape.rows if shape.shared else 1) == 0
    tiles = shape.k_tile % selection.m == 0 and shape.k_tile % isa.lanes == 0
    return (
        whole and shared and tiles and depth > 0 and depth % isa.lanes == depth % selection.m == 0
    )


def _empty_tiles(
    layout: Layout, shape: TileShape, steps: list[int], kept: list[int]
) -> TiledWeight:
    """Only what fills up tiles is written. steps, kept: of every k tile, with and without that."""
    row_tiles = layout.lanes // shape.rows
    starts = np.concatenate([[0], np.cumsum(steps)]) * row_tiles
    values = recycled_empty(int(starts[-1]) * shape.rows)
    flat = recycled_empty(int(starts[-1]) * shape.indices_a_step, f"u{shape.index_bits // 8}")
    indices = flat.reshape(-1, shape.indices_a_step)
    for number, (filled, used) in enumerate(zip(steps, kept, strict=True)):
        if filled != used:
            part = slice(int(starts[number]), int(starts[number + 1]))
            values[part.start * shape.rows : part.stop * shape.rows] = 0
            indices[part] = shape.k_tile
    pointers = starts[:-1, None] + np.outer(steps, np.arange(row_tiles + 1))
    return TiledWeight(shape, layout.reduction, pointers.astype(np.int64), values, indices)
