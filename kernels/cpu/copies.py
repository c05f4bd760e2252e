"""Copies of a weight that live for one training step: packed straight into the register tiles of the kernels.

    W (float32)  ->  ranks, kept entries  ->  tiles of `tiled`, one pass for each direction

A linear weight whose sizes fill whole blocks goes that way; any other is packed and then prepared, with the
same result of every product.
"""

from dataclasses import dataclass

import numpy as np

from cosparse.spec import NM, VNM, Pattern
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout

from .isa import Isa, current
from .pack import address, pack_kernel, pack_weight, selection_of
from .pack_assembly import Selection, Target, lanes_at_once
from .panels import aligned_empty
from .prepared import SHARED_ROWS, PreparedWeight, prepare, tile_shape
from .tiled import ROW_ALIGNMENT, TiledWeight, TileShape


@dataclass(frozen=True, eq=False)
class StepCopy:
    """One copy of a linear weight, in register tiles only."""

    layout: Layout
    tiles: TiledWeight


def step_copy(
    weight: Array,
    pattern: Pattern,
    *,
    axis: int,
    select_dtype: str = "float16",
    conv_groups: int = 1,
) -> StepCopy | PreparedWeight:
    """What the products of one step take: axis 1 for FF, 0 for BP. weight: as `pack_weight` takes it.

    Raises what `pack_weight` raises.
    """
    isa = current()
    if isinstance(pattern, NM | VNM) and weight.ndim == 2 and weight.dtype == np.float32:
        selection = selection_of(pattern, select_dtype, isa)
        layout = Layout(weight.shape, axis, conv_groups)
        if selection is not None and conv_groups == 1:
            shape = _tile_shape(layout, selection)
            if _fills_blocks(layout, selection, shape, isa):
                return StepCopy(
                    layout, _tiles(layout.to_matrices(weight)[0, 0], selection, shape, isa)
                )
    packed = pack_weight(
        weight, pattern, axis=axis, select_dtype=select_dtype, conv_groups=conv_groups
    )
    return prepare(packed)


def _tile_shape(layout: Layout, selection: Selection) -> TileShape:
    """As `prepare` cuts the same weight."""
    rows = SHARED_ROWS if selection.v % SHARED_ROWS == 0 else 1
    return tile_shape(rows, selection.v, -(-layout.lanes // rows))


def _fills_blocks(layout: Layout, selection: Selection, shape: TileShape, isa: Isa) -> bool:
    """Whether no block of lanes, group or tile is cut, and rows that share a tile share their positions."""
    lanes, depth = layout.lanes, layout.reduction
    whole = lanes % lanes_at_once(selection, isa.lanes) == 0 and lanes % ROW_ALIGNMENT == 0
    shared = (
        shape.shared == (selection.v > 1) and selection.v % (shape.rows if shape.shared else 1) == 0
    )
    aligned = (
        depth % isa.lanes == 0 and depth % selection.m == 0 and shape.k_tile % selection.m == 0
    )
    return whole and shared and aligned and shape.k_tile % isa.lanes == 0 and depth > 0


def _tiles(matrix: Array, selection: Selection, shape: TileShape, isa: Isa) -> TiledWeight:
    """matrix: (lanes, K)."""
    lanes, depth = matrix.shape
    counts = [min(shape.k_tile, depth - first) for first in range(0, depth, shape.k_tile)]
    kept = [count // selection.m * selection.n for count in counts]
    steps = [-(-one // shape.unroll) * shape.unroll for one in kept]
    row_tiles = lanes // shape.rows
    starts = np.concatenate([[0], np.cumsum(steps)]) * row_tiles
    values = aligned_empty(int(starts[-1]) * shape.rows)
    indices = np.empty((int(starts[-1]), shape.indices_a_step), f"u{shape.index_bits // 8}")
    for number, count in enumerate(counts):
        part = slice(int(starts[number]), int(starts[number + 1]))
        first = number * shape.k_tile
        tile_values = values[part.start * shape.rows : part.stop * shape.rows]
        if steps[number] != kept[number]:
            tile_values[:] = 0
            indices[part] = shape.k_tile
        _pack_k_tile(
            matrix[:, first : first + count],
            selection,
            shape,
            isa,
            steps[number],
            tile_values,
            indices[part],
        )
    pointers = starts[:-1, None] + np.outer(steps, np.arange(row_tiles + 1))
    return TiledWeight(shape, depth, pointers.astype(np.int64), values, indices)


def _pack_k_tile(
    matrix: Array,
    selection: Selection,
    shape: TileShape,
    isa: Isa,
    steps: int,
    values: Array,
    indices: Array,
) -> None:
    """One k tile of all rows. values, indices: its part of the tiled weight, from its first step on."""
    lanes, depth = matrix.shape
    turned = matrix.strides[1] == matrix.itemsize
    width = lanes_at_once(selection, isa.lanes)
    target = Target(shape.rows, shape.index_bits, absolute=True)
    kernel = pack_kernel(selection, target, isa.lanes, transposed=turned)
    scratch = aligned_empty(depth * width if turned else 1)
    step_bytes = shape.indices_a_step * indices.itemsize
    kernel(
        address(matrix), matrix.strides[0 if turned else 1], depth // selection.m, lanes // width,
        address(scratch), address(values), 4 * shape.rows, 4 * shape.rows * steps,
        address(indices), step_bytes, step_bytes * steps,
    )  # fmt: skip
