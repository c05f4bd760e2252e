"""The oracle: every product of a training step in NumPy, straight from the packed images.

A sum runs over present entries only, so that an absent weight never meets an activation, even an
infinite one. Entries add in the canonical order (tap, group, entry ascending, from +0): with
`accumulate=np.float32` and FP16 operands the results are the accelerator's bits; the default float64
is the reference that kernels are held to. Absent entries and padding of an N:M tail do not add.

Padding of a forward convolution is a zero that is multiplied; in the input gradient, taps that meet
no output pixel contribute nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cosparse.spec import BlockTensor, ConvGeometry, NMTensor, PackedTensor, UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.errors import unknown_name

from .geometry import (
    Pair,
    check_forward,
    check_input_gradient,
    check_linear,
    check_token_pair,
    check_weight_gradient,
)
from .quantise import Per, quantise


@dataclass(frozen=True)
class Entries:
    """Present entries by slot, each array (slots, rows): slot s is the s-th entry of every row.

    rows run over (conv_group, lane), columns over (conv_group, tap, reduction index).
    """

    columns: Array
    values: Array
    present: Array


def entries(packed: PackedTensor) -> Entries:
    """Walk a packed image in canonical order. Raises UnsupportedError for a format without a walk."""
    if packed.format_name not in _WALKS:
        raise UnsupportedError(unknown_name("format", packed.format_name, _WALKS))
    return _WALKS[packed.format_name](packed)


def matmul(packed: PackedTensor, x: Array, *, accumulate: npt.DTypeLike = np.float64) -> Array:
    """FF: y = x W^T with the FF copy, BP: dx = dy W with the BP copy.

    x: (tokens, in) for FF, (tokens, out) for BP; returns (tokens, out) or (tokens, in).
    """
    x = check_linear(packed.layout, x)
    return multiply_panel(packed, x.T, accumulate=accumulate).T


def matmul_int8(packed: PackedTensor, x: Array, *, per: Per = "token") -> Array:
    """`matmul` with both sides in INT8 and exact sums: NumPy's int32 product, by `kernels.quantise`."""
    x = check_linear(packed.layout, x)
    if packed.dtype != "int8":
        raise UnsupportedError(
            f"INT8 product: expected a weight packed as int8, got {packed.dtype}"
        )
    tensor: Any = packed
    scales: Array = tensor.scales
    integers, _ = replace(tensor, scales=np.ones_like(scales)).to_matrices()
    rows = integers[:, 0].astype(np.int32)
    q, steps = quantise(x, per)
    columns = q.astype(np.int32).reshape(len(x), len(rows), -1)
    sums = [columns[:, group] @ lanes.T for group, lanes in enumerate(rows)]
    y: Array = np.concatenate(sums, axis=1).astype(np.float32) * scales.reshape(-1) * steps[:, None]
    return y


def weight_gradient(dy: Array, x: Array, *, accumulate: npt.DTypeLike = np.float64) -> Array:
    """WU: dW = dy^T x. dy: (tokens, out), x: (tokens, in); returns (out, in)."""
    dy, x = check_token_pair(dy, x)
    with np.errstate(all="ignore"):
        product: Array = dy.T.astype(accumulate) @ x.astype(accumulate)
    return product


def conv2d(
    packed: PackedTensor,
    x: Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    accumulate: npt.DTypeLike = np.float64,
) -> Array:
    """Forward convolution. x: (batch, in, height, width); returns (batch, out, height', width')."""
    x, geometry = check_forward(packed.layout, x, stride, padding, dilation)
    panel = im2col(x, geometry, packed.conv_groups)
    y = multiply_panel(packed, panel, accumulate=accumulate)
    return _to_images(y, geometry.batch, geometry.out_hw)


def conv2d_input_gradient(
    packed: PackedTensor,
    dy: Array,
    in_hw: tuple[int, int],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    accumulate: npt.DTypeLike = np.float64,
) -> Array:
    """Gradient of the input of `conv2d`. dy: (batch, out, height', width'); returns (batch, in, *in_hw)."""
    dy, geometry = check_input_gradient(packed.layout, dy, in_hw, stride, padding, dilation)
    panel, meets = transposed_im2col(dy, geometry, packed.conv_groups)
    dx = multiply_panel(packed, panel, meets, accumulate=accumulate)
    return _to_images(dx, geometry.batch, in_hw)


def conv2d_weight_gradient(
    dy: Array,
    x: Array,
    kernel: tuple[int, int],
    *,
    conv_groups: int = 1,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    accumulate: npt.DTypeLike = np.float64,
) -> Array:
    """Dense gradient of the weight of `conv2d`, (out, in / conv_groups, *kernel)."""
    dy, x, geometry = check_weight_gradient(dy, x, kernel, conv_groups, stride, padding, dilation)
    columns = im2col(x, geometry, conv_groups).astype(accumulate)
    columns = columns.reshape(conv_groups, -1, columns.shape[1])
    rows = dy.swapaxes(0, 1).reshape(conv_groups, -1, columns.shape[2]).astype(accumulate)
    gradient: Array = rows @ columns.swapaxes(1, 2)
    split = gradient.reshape(dy.shape[1], *kernel, x.shape[1] // conv_groups)
    return split.transpose(0, 3, 1, 2)


def multiply_panel(
    packed: PackedTensor,
    panel: Array,
    meets: Array | None = None,
    *,
    accumulate: npt.DTypeLike = np.float64,
) -> Array:
    """Multiply by a panel of activations.

    panel: (conv_groups * taps * K, pixels); meets: (taps, pixels), which pixels a tap touches (all
    when None). Returns (conv_groups * lanes, pixels) in the dtype `accumulate`.
    """
    walk, layout = entries(packed), packed.layout
    total = np.zeros((layout.conv_groups * layout.lanes, panel.shape[1]), accumulate)
    wide = panel.astype(accumulate)
    values = walk.values.astype(accumulate)
    with np.errstate(all="ignore"):  # infinities, NaN and underflow are results, not accidents
        for columns, slot_values, present in zip(walk.columns, values, walk.present, strict=True):
            rows = np.flatnonzero(present)
            products = slot_values[rows, None] * wide[columns[rows]]
            if meets is not None:
                taps = columns[rows] // layout.reduction % layout.taps
                products = np.where(meets[taps], products, 0)
            total[rows] += products
    return total


def im2col(x: Array, geometry: ConvGeometry, conv_groups: int) -> Array:
    """(batch, channels, h, w) to (conv_groups * taps * channels / conv_groups, output pixels)."""
    (ph, pw), (sh, sw), (oh, ow) = geometry.padding, geometry.stride, geometry.out_hw
    wide = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    taps = [
        wide[:, :, y : y + (oh - 1) * sh + 1 : sh, z : z + (ow - 1) * sw + 1 : sw]
        for y, z in _tap_offsets(geometry)
    ]
    return _taps_to_panel(np.stack(taps), conv_groups)


def transposed_im2col(dy: Array, geometry: ConvGeometry, conv_groups: int) -> tuple[Array, Array]:
    """Panel of the output gradients that meet every input pixel, and which taps meet one.

    Tap (y, z) at input row i meets output row (i + padding - dilation * y) / stride if that is whole
    and in range. Returns (conv_groups * taps * K, input pixels) and (taps, input pixels).
    """
    (ih, iw), (oh, ow) = geometry.in_hw, geometry.out_hw
    taps, meets = [], []
    for y, z in _tap_offsets(geometry):
        rows, row_meets = _source(ih, oh, y, geometry.padding[0], geometry.stride[0])
        columns, column_meets = _source(iw, ow, z, geometry.padding[1], geometry.stride[1])
        meet = row_meets[:, None] & column_meets
        taps.append(np.where(meet, dy[:, :, rows[:, None], columns], 0))
        meets.append(np.tile(meet.reshape(-1), geometry.batch))
    return _taps_to_panel(np.stack(taps), conv_groups), np.stack(meets)


def _source(size: int, outputs: int, offset: int, padding: int, stride: int) -> tuple[Array, Array]:
    shifted = np.arange(size) + padding - offset
    source = shifted // stride
    meets = (shifted % stride == 0) & (source >= 0) & (source < outputs)
    return np.where(meets, source, 0), meets


def _tap_offsets(geometry: ConvGeometry) -> list[tuple[int, int]]:
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    return [(y * dh, z * dw) for y in range(kh) for z in range(kw)]


def _taps_to_panel(taps: Array, conv_groups: int) -> Array:
    """(taps, batch, channels, h, w) to (conv_groups * taps * channels / conv_groups, pixels)."""
    count, batch, channels, height, width = taps.shape
    split = taps.reshape(count, batch, conv_groups, channels // conv_groups, height, width)
    return split.transpose(2, 0, 3, 1, 4, 5).reshape(count * channels, batch * height * width)


def _to_images(rows: Array, batch: int, hw: tuple[int, int]) -> Array:
    return rows.reshape(len(rows), batch, *hw).swapaxes(0, 1)


def _walk_nm(packed: Any) -> Entries:
    tensor: NMTensor = packed
    layout = tensor.layout
    conv_groups, taps, groups, n, _ = tensor.values.shape
    group_starts = np.arange(groups)[:, None, None] * tensor.pattern.m
    index = tensor.lane_indices()[..., : layout.lanes].astype(np.intp) + group_starts
    matrix = np.arange(conv_groups * taps).reshape(conv_groups, taps, 1, 1, 1)

    def by_slot(plane: Array) -> Array:
        return plane.transpose(1, 2, 3, 0, 4).reshape(taps * groups * n, conv_groups * layout.lanes)

    return Entries(
        columns=by_slot(matrix * layout.reduction + index),
        values=by_slot(tensor.decoded_values()[..., : layout.lanes]),
        present=by_slot(index < layout.reduction),
    )


def _walk_block(packed: Any) -> Entries:
    tensor: BlockTensor = packed
    layout = tensor.layout
    _, taps, block_rows, block_columns = tensor.grid
    group, block_row = np.divmod(tensor.block_rows()[:, None, None], block_rows)
    tap, block_column = np.divmod(
        tensor.block_columns.astype(np.intp)[:, None, None], block_columns
    )
    lane = block_row * tensor.pattern.rows + np.arange(tensor.pattern.rows)[:, None]
    index = block_column * tensor.pattern.cols + np.arange(tensor.pattern.cols)
    rows = group * layout.lanes + lane
    columns = (group * taps + tap) * layout.reduction + index
    inside = (lane < layout.lanes) & (index < layout.reduction)
    picked = [np.broadcast_to(part, inside.shape)[inside] for part in (rows, columns)]
    order = np.lexsort((picked[1], picked[0]))
    values = tensor.decoded_values()[inside]
    return _by_slot(picked[0][order], picked[1][order], values[order], packed)


def _walk_rows(packed: Any) -> Entries:
    layout = packed.layout
    rows = packed.entry_rows()
    starts = rows // max(1, layout.lanes) * layout.taps * layout.reduction
    return _by_slot(rows, starts + packed.entry_columns(), packed.decoded_values(), packed)


def _by_slot(rows: Array, columns: Array, values: Array, packed: PackedTensor) -> Entries:
    """Coordinates sorted by (row, column) to slots."""
    count = packed.layout.conv_groups * packed.layout.lanes
    lengths = np.bincount(rows, minlength=count)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shape = (int(lengths.max(initial=0)), count)
    by_slot = Entries(np.zeros(shape, np.intp), np.zeros(shape, np.float32), np.zeros(shape, bool))
    by_slot.columns[slots, rows] = columns
    by_slot.values[slots, rows] = values
    by_slot.present[slots, rows] = True
    return by_slot


_WALKS: dict[str, Callable[[Any], Entries]] = {
    "nm": _walk_nm,
    "vnm": _walk_nm,
    "block": _walk_block,
    "csr": _walk_rows,
    "bitmap": _walk_rows,
}
