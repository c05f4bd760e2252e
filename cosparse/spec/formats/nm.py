"""N:M and V:N:M tensors: two planes with a fixed stride, what simulator and RTL read from memory.

    values  [conv_group][tap][group][n][lane]           in the value dtype
    indices [conv_group][tap][group][n][lane / v]       position in the group of M

lane = out for the FF copy and in for the BP copy, innermost, padded with +0 to a multiple of 32.
Indices are 4-bit nibbles up to M = 16 (even lane in the low nibble), bytes above. Every group holds
exactly N entries, zeros included, in ascending index. An N:M tensor is the case v = 1.
"""

from dataclasses import dataclass
from math import lcm
from typing import ClassVar

import numpy as np

from ..dtypes import (
    Array,
    decode_bits,
    encode,
    magnitude_keys,
    selection_keys,
    sign_cleared,
    storage_dtype,
)
from ..errors import CorruptFileError
from ..layout import Layout
from ..patterns import NM, VNM, pad_axis, padded, sum_lanes
from ..selection import keep_largest
from .base import (
    LANE_ALIGNMENT,
    PackedTensor,
    check_plane,
    check_scales,
    check_value_dtype,
    dequantise,
    quantise,
)

NIBBLE_MAX_M = 16
_CHUNK = 1 << 17  # entries handled at once, so that temporaries stay in the cache
_TRANSPOSE_LANES = 128  # lanes copied at once: a whole-matrix transposition misses on every line


@dataclass(frozen=True, eq=False, repr=False)
class NMTensor(PackedTensor):
    """Packed N:M weight; see the module's text for the image."""

    format_name: ClassVar[str] = "nm"
    pattern_types: ClassVar[tuple[type, ...]] = (NM,)
    plane_names: ClassVar[tuple[str, ...]] = ("values", "indices", "scales")

    pattern: NM
    values: Array
    indices: Array
    scales: Array | None = None

    @property
    def lane_block(self) -> int:
        """Lanes that share one index."""
        return 1

    @property
    def group_counts(self) -> tuple[int, int, int]:
        """(conv_groups, taps, groups along K)."""
        layout = self.layout
        groups = padded(layout.reduction, self.pattern.m) // self.pattern.m
        return layout.conv_groups, layout.taps, groups

    @property
    def padded_lanes(self) -> int:
        return padded(self.layout.lanes, lcm(LANE_ALIGNMENT, self.lane_block))

    def unpacked_indices(self) -> Array:
        """Indices as bytes, (conv_groups, taps, groups, n, padded_lanes / v)."""
        if self.pattern.m > NIBBLE_MAX_M:
            return self.indices
        count = self.padded_lanes // self.lane_block
        pairs = np.stack([self.indices & 15, self.indices >> 4], axis=-1)
        return pairs.reshape(*self.indices.shape[:-1], 2 * self.indices.shape[-1])[..., :count]

    def lane_indices(self) -> Array:
        """Index of every value, same shape as `values`."""
        return np.repeat(self.unpacked_indices(), self.lane_block, axis=-1)

    def decoded_values(self) -> Array:
        """float32 values in image order, (conv_groups, taps, groups, n, padded_lanes)."""
        scales = self.scales
        if scales is not None:
            scales = pad_axis(scales, 1, max(1, self.padded_lanes))
        c, t, g, n, lanes = self.values.shape
        by_lane = self.values.reshape(c, t, g * n, lanes).transpose(0, 1, 3, 2)
        wide = dequantise(np.ascontiguousarray(by_lane), self.dtype, scales)
        return wide.transpose(0, 1, 3, 2).reshape(self.values.shape)

    def to_matrices(self) -> tuple[Array, Array]:
        layout = self.layout
        c, t, groups, _, lanes = self.values.shape
        dense = np.zeros((c, t, groups, self.pattern.m, lanes), np.float32)
        mask = np.zeros(dense.shape, bool)
        indices = self.lane_indices().astype(np.intp)
        np.put_along_axis(dense, indices, self.decoded_values(), axis=3)
        np.put_along_axis(mask, indices, True, axis=3)
        return tuple(  # type: ignore[return-value]
            plane.reshape(c, t, groups * self.pattern.m, lanes).transpose(0, 1, 3, 2)[
                :, :, : layout.lanes, : layout.reduction
            ]
            for plane in (dense, mask)
        )

    def validate(self) -> None:
        check_value_dtype(self.dtype)
        shape = (*self.group_counts, self.pattern.n, self.padded_lanes)
        check_plane("values", self.values, shape, storage_dtype(self.dtype))
        blocks = self.padded_lanes // self.lane_block
        width = -(-blocks // 2) if self.pattern.m <= NIBBLE_MAX_M else blocks
        check_plane("indices", self.indices, (*shape[:-1], width), np.uint8)
        check_scales(self, self.scales)
        indices = self.unpacked_indices().astype(np.int16)
        outside = indices.size > 0 and int(indices.max()) >= self.pattern.m
        if outside or (np.diff(indices, axis=3) <= 0).any():
            raise CorruptFileError(
                f"plane 'indices': expected ascending positions below {self.pattern.m} in every group"
            )


@dataclass(frozen=True, eq=False, repr=False)
class VNMTensor(NMTensor):
    """Packed V:N:M weight: one index serves `v` consecutive lanes."""

    format_name: ClassVar[str] = "vnm"
    pattern_types: ClassVar[tuple[type, ...]] = (VNM,)

    pattern: VNM  # type: ignore[assignment]

    @property
    def lane_block(self) -> int:
        return self.pattern.v


def pack_nm(
    array: Array, pattern: NM | VNM, layout: Layout, dtype: str, select_dtype: str
) -> NMTensor:
    """Select and pack `array`, a float weight of `layout.shape`."""
    kind, v = (VNMTensor, pattern.v) if isinstance(pattern, VNM) else (NMTensor, 1)
    lanes = padded(layout.lanes, lcm(LANE_ALIGNMENT, v))
    source = array.astype(np.float32) if dtype == "int8" else encode(array, dtype)
    grouped = _grouped(layout, source, pattern.m, lanes)
    if dtype == select_dtype:
        keys = sign_cleared(grouped)
    else:
        keys = _grouped(layout, selection_keys(array, select_dtype), pattern.m, lanes)
    if v > 1:
        keys = _shared_keys(keys, select_dtype, v)
    values, indices = _compact(keys, grouped, pattern.n, v)
    groups = padded(layout.reduction, pattern.m) // pattern.m
    image = (layout.conv_groups, layout.taps, groups, pattern.n)
    values, scales = _quantised(values.reshape(*image, lanes), dtype, layout.lanes)
    return kind(
        pattern=pattern,  # type: ignore[arg-type]
        shape=layout.shape,
        axis=layout.axis,
        conv_groups=layout.conv_groups,
        dtype=dtype,
        select_dtype=select_dtype,
        values=values,
        indices=_stored_indices(indices.reshape(*image, lanes // v), pattern.m),
        scales=scales,
    )


def _grouped(layout: Layout, array: Array, m: int, lanes: int) -> Array:
    """Copy a weight into (blocks, m, lanes), block = (conv_group, tap, group), padded with zeros."""
    matrices = layout.to_matrices(array)
    c, t, rows, length = matrices.shape
    grouped = np.zeros((c, t, padded(length, m), lanes), array.dtype)
    for start in range(0, rows, _TRANSPOSE_LANES):
        part = slice(start, min(start + _TRANSPOSE_LANES, rows))
        grouped[:, :, :length, part] = matrices[:, :, part].transpose(0, 1, 3, 2)
    return grouped.reshape(c * t * (padded(length, m) // m), m, lanes)


def _shared_keys(keys: Array, select_dtype: str, v: int) -> Array:
    """Keys of the summed magnitudes of every `v` lanes, (blocks, m, lanes / v)."""
    magnitudes = decode_bits(keys, select_dtype).swapaxes(1, 2)
    return magnitude_keys(sum_lanes(magnitudes, v)).swapaxes(1, 2)


def _compact(keys: Array, source: Array, n: int, v: int) -> tuple[Array, Array]:
    """Gather the kept entries. Returns values (blocks, n, lanes) and indices (blocks, n, lanes / v)."""
    blocks, m, lanes = source.shape
    values = np.zeros((blocks, n, lanes), source.dtype)
    indices = np.zeros((blocks, n, lanes // v), np.uint8)
    step = max(1, _CHUNK // max(1, m * lanes))
    for start in range(0, blocks, step):
        part = slice(start, start + step)
        kept = keep_largest(keys[part].transpose(1, 0, 2), n)
        _fill_slots(values[part], indices[part], kept, source[part], v)
    return values, indices


def _fill_slots(values: Array, indices: Array, kept: Array, source: Array, v: int) -> None:
    """Write the kept entries of one chunk into their zeroed slots, in ascending index.

    Works on bits: a hit widened to all ones selects a value with `&`, which NumPy vectorises where a
    masked copy goes element by element.
    """
    m, n = kept.shape[0], values.shape[1]
    unsigned = np.dtype(f"u{values.itemsize}")
    out, bits = values.view(unsigned), source.view(unsigned)
    filled = np.zeros(kept.shape[1:], np.uint8)
    for position in range(m):
        for slot in range(max(0, n - (m - position)), min(position, n - 1) + 1):
            hit = kept[position] & (filled == slot)
            indices[:, slot] += hit.view(np.uint8) * np.uint8(position)
            lanes = hit if v == 1 else np.repeat(hit, v, axis=-1)
            out[:, slot] |= np.negative(lanes.astype(unsigned)) & bits[:, position]
        filled += kept[position]


def _stored_indices(indices: Array, m: int) -> Array:
    if m > NIBBLE_MAX_M:
        return indices
    pairs = pad_axis(indices, -1, 2)
    nibbles: Array = pairs[..., 0::2] | (pairs[..., 1::2] << 4)
    return nibbles


def _quantised(values: Array, dtype: str, lanes: int) -> tuple[Array, Array | None]:
    """Values in image order to their stored dtype, with one scale a lane for int8."""
    if dtype != "int8":
        return values, None
    c, t, g, n, padded_lanes = values.shape
    by_lane = values.transpose(0, 1, 4, 2, 3).reshape(c, t, padded_lanes, g * n)
    stored, scales = quantise(by_lane, dtype)
    image = stored.reshape(c, t, padded_lanes, g, n).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(image), None if scales is None else scales[:, :lanes].copy()
