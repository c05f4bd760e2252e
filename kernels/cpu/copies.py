"""Copies of a weight that live for one training step: packed straight into the register tiles of the kernels.

    W (float32)  ->  ranks, kept entries  ->  tiles of `tiled`

A linear weight whose sizes fill whole blocks goes that way, both directions of a panel of rows while it is
in the cache; any other is packed and then prepared, with the same result of every product.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import lcm
from typing import Any

import numpy as np

from cosparse.spec import NM, VNM, Pattern
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout

from .isa import Isa, current
from .objects import Kernel
from .pack import pack_kernel, pack_weight, selection_of
from .pack_assembly import Selection, Target, lanes_at_once
from .panels import address
from .prepared import PreparedWeight, prepare
from .recycled import borrowed, recycle, recycled_empty
from .tiled import ROW_ALIGNMENT, TiledWeight, TileShape
from .tuned import conv_shape, tile_shape

PANEL_BYTES = 1 << 20
"""Of a weight's rows that are packed in both directions one after the other: half a second-level cache."""


@dataclass(frozen=True, eq=False)
class StepCopy:
    """One copy of a weight without convolution groups, in register tiles only: columns are (tap, K)."""

    layout: Layout
    tiles: TiledWeight

    finite = True
    """Others are prepared."""

    @property
    def group_rows(self) -> int:
        return self.layout.lanes

    def conv_tiles(self, _isa: Isa, taps: tuple[int, ...]) -> TiledWeight:
        """Those of some taps; of all, unless the copy was made with `taps_apart`."""
        if len(taps) == self.layout.taps:
            return self.tiles
        each = self.layout.reduction // self.tiles.shape.k_tile
        k_tiles = np.add.outer(np.array(taps) * each, np.arange(each)).reshape(-1)
        pointers = np.ascontiguousarray(self.tiles.pointers[k_tiles])
        columns = len(taps) * self.layout.reduction
        return replace(self.tiles, columns=columns, pointers=pointers)


Copy = StepCopy | PreparedWeight


@dataclass(frozen=True)
class _Call:
    """One call of a packing kernel; places in bytes from the start of the arrays."""

    source: int
    groups: int
    blocks: int
    values: int
    values_run: int
    indices: int
    indices_run: int


@dataclass(frozen=True, eq=False)
class _Plan:
    """How every weight of a layout is packed in one direction: a step only makes the calls."""

    layout: Layout
    shape: TileShape
    kernel: Kernel
    stride: int
    value_bytes: int
    index_bytes: int
    scratch: int
    """float32 that the kernel needs."""
    pointers: Array
    """Those of the tiles."""
    steps: int
    fillers: tuple[tuple[int, int], ...]
    """Runs of steps, of which some fill up tiles."""
    panels: tuple[tuple[_Call, ...], ...]
    """Calls for each panel of rows."""


def step_copies(
    weight: Array,
    pattern: Pattern,
    *,
    axes: tuple[int, ...] = (1, 0),
    select_dtype: str = "float16",
    conv_groups: int = 1,
    taps_apart: bool = False,
) -> tuple[Copy, ...]:
    """What the products of one step take, for each of `axes`: 1 for FF, 0 for BP.

    weight: as `pack_weight` takes it; taps_apart: for the BP of a strided convolution, which multiplies
    some taps at a time. Raises what `pack_weight` raises.
    """
    found: tuple[Copy | None, ...] = (None,) * len(axes)
    if conv_groups == 1 and weight.ndim == 2:
        found = _copies(weight, _plans(weight, pattern, axes, select_dtype)) or found
    elif conv_groups == 1 and isinstance(pattern, NM | VNM):
        found = tuple(_conv_copy(weight, pattern, a, select_dtype, taps_apart) for a in axes)
    options: dict[str, Any] = {"select_dtype": select_dtype, "conv_groups": conv_groups}
    return tuple(
        prepare(pack_weight(weight, pattern, axis=axis, **options)) if copy is None else copy
        for axis, copy in zip(axes, found, strict=True)
    )


def _conv_copy(
    weight: Array, pattern: NM | VNM, axis: int, select_dtype: str, taps_apart: bool
) -> StepCopy | None:
    """A convolution's weight as a linear one, tap after tap along K; None where it has to be prepared."""
    layout = Layout(weight.shape, axis)
    if weight.dtype != np.float32 or layout.reduction % pattern.m:
        return None
    unit = layout.reduction if taps_apart and axis == 0 else 0
    if axis == 1:
        matrix = weight.transpose(0, 2, 3, 1).reshape(layout.lanes, -1)
    else:
        matrix = weight.transpose(2, 3, 0, 1).reshape(-1, layout.lanes)
    plans = _plans(matrix, pattern, (axis,), select_dtype, partial(_conv_cut, unit, pattern.m))
    copies = _copies(matrix, plans, layout)
    return copies[0] if copies and np.isfinite(copies[0].tiles.values).all() else None


def _conv_cut(unit: int, m: int, shared: int, density: float, isa: Isa) -> TileShape | None:
    """The tiles of a convolution; whole k tiles fill `unit` columns unless it is 0, else None."""
    shape, step = conv_shape(shared, density, isa), lcm(isa.lanes, m)
    fitting = [k for k in range(step, shape.k_tile + 1, step) if unit % k == 0]
    return replace(shape, k_tile=fitting[-1]) if fitting else None


def _copies(
    weight: Array, plans: list[_Plan] | None, layout: Layout | None = None
) -> tuple[StepCopy, ...] | None:
    """layout: of the copies where it is not that of `weight`."""
    if plans is None:
        return None
    copies = [_begun(plan, layout or plan.layout) for plan in plans]
    source = address(weight)
    places = [(address(copy.tiles.values), address(copy.tiles.indices)) for copy in copies]
    with borrowed(max(plan.scratch for plan in plans)) as (scratch,):
        scratch_at = address(scratch)
        for panel in range(len(plans[0].panels)):
            for plan, (values, indices) in zip(plans, places, strict=True):
                for call in plan.panels[panel]:
                    plan.kernel(
                        source + call.source, plan.stride, call.groups, call.blocks, scratch_at,
                        values + call.values, plan.value_bytes, call.values_run,
                        indices + call.indices, plan.index_bytes, call.indices_run,
                    )  # fmt: skip
    return tuple(copies)


def _begun(plan: _Plan, layout: Layout) -> StepCopy:
    """A copy with nothing but what fills up its tiles."""
    shape = plan.shape
    values = recycled_empty(plan.steps * shape.rows)
    flat = recycled_empty(plan.steps * shape.indices_a_step, f"u{shape.index_bits // 8}")
    indices = flat.reshape(-1, shape.indices_a_step)
    for first, last in plan.fillers:
        values[first * shape.rows : last * shape.rows] = 0
        indices[first:last] = shape.k_tile
    tiles = TiledWeight(shape, plan.layout.reduction, plan.pointers, values, indices)
    copy = StepCopy(layout, tiles)
    recycle(copy, values, indices)
    return copy


def _plans(
    weight: Array,
    pattern: Pattern,
    axes: tuple[int, ...],
    select_dtype: str,
    cut: Callable[[int, float, Isa], TileShape | None] = tile_shape,
) -> list[_Plan] | None:
    """None where some direction has to be packed and prepared."""
    isa = current()
    plain = weight.ndim == 2 and weight.dtype == np.float32 and weight.strides[1] == weight.itemsize
    if not isinstance(pattern, NM | VNM) or not plain:
        return None
    selection = selection_of(pattern, select_dtype, isa)
    if selection is None:
        return None
    shape = cut(selection.v, selection.n / selection.m, isa)
    if shape is None:
        return None
    cuts = [(Layout(weight.shape, axis), shape) for axis in axes]
    if not all(_fills_blocks(layout, selection, shape, isa) for layout, shape in cuts):
        return None
    unit = max(_unit(layout, selection, shape, isa) for layout, shape in cuts)
    rows = max(unit, PANEL_BYTES // weight.strides[0] // unit * unit)
    return [_plan(layout, selection, shape, isa, weight.strides[0], rows) for layout, shape in cuts]


def _unit(layout: Layout, selection: Selection, shape: TileShape, isa: Isa) -> int:
    """Rows of the weight that are packed at once: a block of lanes for FF, a k tile for BP."""
    return lanes_at_once(selection, isa.lanes) if layout.axis == 1 else shape.k_tile


@lru_cache(maxsize=256)
def _plan(
    layout: Layout, selection: Selection, shape: TileShape, isa: Isa, stride: int, rows: int
) -> _Plan:
    """For panels of `rows` rows of the weight, which lie `stride` bytes apart."""
    turned, depth, lanes = layout.axis == 1, layout.reduction, layout.lanes
    counts = [min(shape.k_tile, depth - first) for first in range(0, depth, shape.k_tile)]
    kept = [count // selection.m * selection.n for count in counts]
    steps = [-(-one // shape.unroll) * shape.unroll for one in kept]
    starts = np.concatenate([[0], np.cumsum(steps)]) * (lanes // shape.rows)
    width = lanes_at_once(selection, isa.lanes)
    value_bytes, index_bytes = 4 * shape.rows, shape.indices_a_step * shape.index_bits // 8

    def call(number: int, lane: int, count: int) -> _Call:
        """K tile `number` of `count` lanes from lane `lane` on."""
        step = int(starts[number]) + steps[number] * (lane // shape.rows)
        k = number * shape.k_tile
        return _Call(
            lane * stride + 4 * k if turned else k * stride + 4 * lane,
            counts[number] // selection.m, count // width,
            step * value_bytes, steps[number] * value_bytes,
            step * index_bytes, steps[number] * index_bytes,
        )  # fmt: skip

    def panel(first: int, last: int) -> tuple[_Call, ...]:
        if turned:
            return tuple(call(number, first, last - first) for number in range(len(counts)))
        numbers = range(first // shape.k_tile, -(-last // shape.k_tile))
        return tuple(call(number, 0, lanes) for number in numbers)

    size = lanes if turned else depth
    target = Target(shape.rows, shape.index_bits, absolute=True)
    pointers = starts[:-1, None] + np.outer(steps, np.arange(lanes // shape.rows + 1))
    filled = [number for number, used in enumerate(kept) if steps[number] != used]
    return _Plan(
        layout=layout,
        shape=shape,
        kernel=pack_kernel(selection, target, isa.lanes, transposed=turned),
        stride=stride,
        value_bytes=value_bytes,
        index_bytes=index_bytes,
        scratch=shape.k_tile * width if turned else 1,
        pointers=pointers.astype(np.int64),
        steps=int(starts[-1]),
        fillers=tuple((int(starts[number]), int(starts[number + 1])) for number in filled),
        panels=tuple(panel(first, min(first + rows, size)) for first in range(0, size, rows)),
    )


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
