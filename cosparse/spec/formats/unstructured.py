"""Unstructured tensors: compressed sparse rows, or a bitmap with the values in order.

Rows are (conv_group, lane); the columns of a row run over tap * K + reduction index.

    CSR      row_pointers [row + 1] uint32   columns [entry] uint16 (uint32 beyond 65,536)   values [entry]
    bitmap   row_pointers [row + 1] uint32   bits [row][ceil(columns / 8)], low bit first    values [entry]
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..dtypes import Array, decode, storage_dtype
from ..errors import CorruptFileError
from ..layout import Layout
from ..patterns import Unstructured
from .base import PackedTensor, check_plane, check_scales, check_value_dtype, quantise
from .block import check_rows


@dataclass(frozen=True, eq=False, repr=False)
class _RowTensor(PackedTensor):
    """Rows of entries; subclasses say how the columns are stored."""

    pattern_types: ClassVar[tuple[type, ...]] = (Unstructured,)

    pattern: Unstructured
    row_pointers: Array
    values: Array
    scales: Array | None

    @property
    def rows(self) -> int:
        return self.conv_groups * self.layout.lanes

    @property
    def columns_count(self) -> int:
        return self.layout.taps * self.layout.reduction

    def entry_rows(self) -> Array:
        """Row of every entry, (entries,)."""
        counts: Array = np.diff(self.row_pointers.astype(np.int64))
        return np.repeat(np.arange(self.rows), counts)

    @abstractmethod
    def entry_columns(self) -> Array:
        """Column of every entry, (entries,), ascending in a row."""

    def decoded_values(self) -> Array:
        """float32 values, (entries,)."""
        if self.scales is None:
            return decode(self.values, self.dtype)
        by_entry = self.scales.reshape(-1)[self.entry_rows()]
        widened: Array = self.values.astype(np.float32) * by_entry
        return widened

    def to_matrices(self) -> tuple[Array, Array]:
        layout = self.layout
        dense = np.zeros((self.rows, self.columns_count), np.float32)
        mask = np.zeros(dense.shape, bool)
        place = (self.entry_rows(), self.entry_columns())
        dense[place] = self.decoded_values()
        mask[place] = True
        shape = (layout.conv_groups, layout.lanes, layout.taps, layout.reduction)
        return tuple(plane.reshape(shape).swapaxes(1, 2) for plane in (dense, mask))  # type: ignore[return-value]

    def _check_values(self) -> None:
        check_value_dtype(self.dtype)
        check_plane("row_pointers", self.row_pointers, (self.rows + 1,), "<u4")
        entries = (int(self.row_pointers[-1]),)
        check_plane("values", self.values, entries, storage_dtype(self.dtype))
        check_scales(self, self.scales)


@dataclass(frozen=True, eq=False, repr=False)
class CSRTensor(_RowTensor):
    """Packed unstructured weight with one column number an entry."""

    format_name: ClassVar[str] = "csr"
    plane_names: ClassVar[tuple[str, ...]] = ("row_pointers", "columns", "values", "scales")

    columns: Array

    def entry_columns(self) -> Array:
        return self.columns.astype(np.int64)

    def validate(self) -> None:
        self._check_values()
        dtype = column_dtype(self.columns_count)
        check_plane("columns", self.columns, self.values.shape, dtype)
        check_rows(self.row_pointers, self.columns, self.columns_count)


@dataclass(frozen=True, eq=False, repr=False)
class BitmapTensor(_RowTensor):
    """Packed unstructured weight with one bit a position."""

    format_name: ClassVar[str] = "bitmap"
    plane_names: ClassVar[tuple[str, ...]] = ("row_pointers", "bits", "values", "scales")

    bits: Array

    def present(self) -> Array:
        """Boolean (rows, columns)."""
        return np.unpackbits(self.bits, axis=1, count=self.columns_count, bitorder="little").astype(
            bool
        )

    def entry_columns(self) -> Array:
        return np.nonzero(self.present())[1]

    def validate(self) -> None:
        self._check_values()
        check_plane("bits", self.bits, (self.rows, -(-self.columns_count // 8)), np.uint8)
        counts = np.diff(self.row_pointers.astype(np.int64))
        unpacked = np.unpackbits(self.bits, axis=1, bitorder="little")
        if unpacked[:, self.columns_count :].any() or (unpacked.sum(axis=1) != counts).any():
            raise CorruptFileError("plane 'bits': expected as many marks a row as it has entries")


def column_dtype(columns: int) -> np.dtype[Any]:
    """The narrowest column number that reaches `columns` positions."""
    return np.dtype("<u2" if columns <= 1 << 16 else "<u4")


def pack_rows(
    kind: type[CSRTensor] | type[BitmapTensor],
    array: Array,
    mask: Array,
    pattern: Unstructured,
    layout: Layout,
    dtype: str,
    select_dtype: str,
) -> CSRTensor | BitmapTensor:
    """Pack the entries marked by `mask` (weight-shaped) as CSR or bitmap."""
    blank = np.where(mask, array, np.zeros((), array.dtype))
    stored, scales = quantise(layout.to_matrices(blank), dtype)
    rows, columns = layout.conv_groups * layout.lanes, layout.taps * layout.reduction
    by_row = stored.swapaxes(1, 2).reshape(rows, columns)
    present = layout.to_matrices(mask).swapaxes(1, 2).reshape(rows, columns)
    pointers = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype("<u4")
    if kind is CSRTensor:
        plane = {"columns": np.nonzero(present)[1].astype(column_dtype(columns))}
    else:
        plane = {"bits": np.packbits(present, axis=1, bitorder="little")}
    return kind(
        pattern=pattern,
        shape=layout.shape,
        axis=layout.axis,
        conv_groups=layout.conv_groups,
        dtype=dtype,
        select_dtype=select_dtype,
        row_pointers=pointers,
        values=by_row[present],
        scales=scales,
        **plane,
    )
