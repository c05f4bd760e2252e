"""Block-sparse tensor (BSR) with blocks of rows x cols (lanes x reduction entries).

    row_pointers  [conv_group * block_row + 1]   uint32, first block of every block row
    block_columns [block]                        uint32, ascending in a block row:
                                                 tap * ceil(K / cols) + column
    values        [block][row][col]              in the value dtype, edge blocks padded with +0

A block never crosses a tap or a convolution group.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..dtypes import Array, decode, storage_dtype
from ..errors import CorruptFileError
from ..layout import Layout
from ..patterns import Block, padded
from .base import PackedTensor, check_plane, check_scales, check_value_dtype, dequantise, quantise


@dataclass(frozen=True, eq=False, repr=False)
class BlockTensor(PackedTensor):
    """Packed block-sparse weight; see the module's text for the image."""

    format_name: ClassVar[str] = "block"
    pattern_types: ClassVar[tuple[type, ...]] = (Block,)
    plane_names: ClassVar[tuple[str, ...]] = ("row_pointers", "block_columns", "values", "scales")

    pattern: Block
    row_pointers: Array
    block_columns: Array
    values: Array
    scales: Array | None = None

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """(conv_groups, taps, block rows, block columns of one tap)."""
        layout = self.layout
        rows, cols = self.pattern.rows, self.pattern.cols
        return (
            layout.conv_groups,
            layout.taps,
            padded(layout.lanes, rows) // rows,
            padded(layout.reduction, cols) // cols,
        )

    def block_rows(self) -> Array:
        """Row of every block in `row_pointers` order, (blocks,)."""
        counts: Array = np.diff(self.row_pointers.astype(np.int64))
        return np.repeat(np.arange(len(counts)), counts)

    def decoded_values(self) -> Array:
        """float32 values, (blocks, rows, cols)."""
        if self.scales is None:
            return decode(self.values, self.dtype)
        values, _ = self._dense_blocks(self.values)
        c, t, br, bc, r, k = values.shape
        matrices = values.transpose(0, 1, 2, 4, 3, 5).reshape(c, t, br * r, bc * k)
        scales = np.zeros((c, br * r), np.float32)
        scales[:, : self.layout.lanes] = self.scales
        wide = dequantise(matrices, self.dtype, scales)
        blocks = wide.reshape(c, t, br, r, bc, k).transpose(0, 2, 1, 4, 3, 5)
        return blocks.reshape(c * br, t * bc, r, k)[self.block_rows(), self.block_columns]

    def _dense_blocks(self, values: Array) -> tuple[Array, Array]:
        """Scatter blocks: (values, mask), (conv_groups, taps, block rows, block cols, rows, cols)."""
        c, t, rows, cols = self.grid
        dense = np.zeros((c * rows, t * cols, self.pattern.rows, self.pattern.cols), values.dtype)
        mask = np.zeros(dense.shape, bool)
        place = (self.block_rows(), self.block_columns)
        dense[place] = values
        mask[place] = True
        shape = (c, rows, t, cols, *dense.shape[2:])
        order = (0, 2, 1, 3, 4, 5)
        return dense.reshape(shape).transpose(order), mask.reshape(shape).transpose(order)

    def to_matrices(self) -> tuple[Array, Array]:
        layout = self.layout
        c, t, rows, cols = self.grid
        shape = (c, t, rows * self.pattern.rows, cols * self.pattern.cols)
        return tuple(  # type: ignore[return-value]
            plane.transpose(0, 1, 2, 4, 3, 5).reshape(shape)[
                :, :, : layout.lanes, : layout.reduction
            ]
            for plane in self._dense_blocks(self.decoded_values())
        )

    def validate(self) -> None:
        check_value_dtype(self.dtype)
        c, t, rows, cols = self.grid
        check_plane("row_pointers", self.row_pointers, (c * rows + 1,), "<u4")
        blocks = int(self.row_pointers[-1])
        check_plane("block_columns", self.block_columns, (blocks,), "<u4")
        side = (self.pattern.rows, self.pattern.cols)
        check_plane("values", self.values, (blocks, *side), storage_dtype(self.dtype))
        check_scales(self, self.scales)
        check_rows(self.row_pointers, self.block_columns, t * cols)


def check_rows(row_pointers: Array, columns: Array, width: int) -> None:
    """Raise CorruptFileError unless pointers ascend from 0 and columns ascend in every row."""
    pointers = row_pointers.astype(np.int64)
    if pointers[0] != 0 or (np.diff(pointers) < 0).any():
        raise CorruptFileError("plane 'row_pointers': expected ascending offsets from 0")
    if columns.size and int(columns.max()) >= width:
        raise CorruptFileError(f"column plane: expected positions below {width}")
    rows = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    if (np.diff(rows * max(1, width) + columns.astype(np.int64)) <= 0).any():
        raise CorruptFileError("column plane: expected ascending positions in every row")


def pack_block(
    array: Array, mask: Array, pattern: Block, layout: Layout, dtype: str, select_dtype: str
) -> BlockTensor:
    """Pack the blocks marked by `mask` (a weight-shaped mask of whole blocks)."""
    blank = np.where(mask, array, np.zeros((), array.dtype))
    stored, scales = quantise(layout.to_matrices(blank), dtype)
    values = _blocks(stored, pattern)
    present = _blocks(layout.to_matrices(mask), pattern).any(axis=(-1, -2))
    pointers = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype("<u4")
    return BlockTensor(
        pattern=pattern,
        shape=layout.shape,
        axis=layout.axis,
        conv_groups=layout.conv_groups,
        dtype=dtype,
        select_dtype=select_dtype,
        row_pointers=pointers,
        block_columns=np.nonzero(present)[1].astype("<u4"),
        values=values[present],
        scales=scales,
    )


def _blocks(matrices: Array, pattern: Block) -> Array:
    """(c, t, lanes, K) -> (c * block rows, t * block columns, rows, cols), padded with zeros."""
    c, t, lanes, length = matrices.shape
    rows, cols = pattern.rows, pattern.cols
    grid_rows, grid_cols = padded(lanes, rows) // rows, padded(length, cols) // cols
    full = np.zeros((c, t, grid_rows * rows, grid_cols * cols), matrices.dtype)
    full[:, :, :lanes, :length] = matrices
    split = full.reshape(c, t, grid_rows, rows, grid_cols, cols).transpose(0, 2, 1, 4, 3, 5)
    return split.reshape(c * grid_rows, t * grid_cols, rows, cols)
