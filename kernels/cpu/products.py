"""Products on the CPU: check, fill a panel, run the Numba kernel, bring the results out.

Weights may be packed tensors, which are then repacked in the call, or the result of `prepare`.
Products run in float32 with the error bound of `rows`. WU is dense, by `dense`.
"""

from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from cosparse.spec import PackedTensor
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout

from ..geometry import (
    Pair,
    check_forward,
    check_input_gradient,
    check_linear,
    check_token_pair,
    check_weight_gradient,
)
from ..quantise import Per
from .convolution import Channels, convolve
from .copies import StepCopy
from .dense import dense_matmul
from .im2col import im2col
from .images import channels_first, lent_images
from .int8 import multiply_int8
from .isa import AVX512, PORTABLE, current
from .linear import multiply
from .panels import Panel, aligned_empty, from_strips, to_panel
from .permute import MOST_TOKENS, multiply_permuted
from .planes import ConvPlan, Window, forward_window, gradient_windows, tap_windows
from .prepared import SHARED_ROWS, PreparedWeight, prepare
from .rows import dot_rows, multiply_rows, multiply_shared_rows
from .workers import check_threads, run_parts

Weight = PackedTensor | PreparedWeight | StepCopy

_PANEL_KERNELS = {1: multiply_rows, SHARED_ROWS: multiply_shared_rows}
_DOT_TOKENS = 2
"""Most tokens that run as dot products: panels pad them to a cache line."""


def matmul(weight: Weight, x: Array, *, threads: int = 1) -> Array:
    """FF: y = x W^T with the FF copy, BP: dx = dy W with the BP copy, in float32.

    x: (tokens, in) for FF, (tokens, out) for BP; returns (tokens, out) or (tokens, in).
    """
    if isinstance(weight, StepCopy):
        return _matmul_tiles(weight, x, threads)
    prepared = as_prepared(weight)
    x = check_linear(prepared.layout, x)
    check_threads(threads)
    isa = current()
    few = prepared.permuted if isa is AVX512 and len(x) <= MOST_TOKENS else None
    if few is not None:
        y = multiply_permuted(few, x, threads)[:, : prepared.rows]
    elif len(x) <= _DOT_TOKENS:
        y = np.empty((len(x), prepared.rows), np.float32)
        _run(dot_rows, prepared, (x,), y, threads)
    elif isa is PORTABLE:
        y = from_strips(_multiply_panel(prepared, to_panel(x), threads), len(x))
    else:
        y = multiply(prepared.register_tiles(isa), x, isa, threads)[:, : prepared.rows]
    return y if prepared.rows == _lanes(prepared.layout) else _without_padding(prepared, y)


def matmul_int8(
    weight: PackedTensor | PreparedWeight, x: Array, *, per: Per = "token", threads: int = 1
) -> Array:
    """`matmul` with activations in INT8 as well, by the rule of `kernels.quantise`; sums are exact.

    weight: int8, its rows share their columns in fours. Returns float32.
    """
    prepared = as_prepared(weight)
    x = check_linear(prepared.layout, x)
    check_threads(threads)
    y = multiply_int8(prepared.int8, x, per, current(), threads)[:, : prepared.rows]
    return y if prepared.rows == _lanes(prepared.layout) else _without_padding(prepared, y)


def _matmul_tiles(weight: StepCopy, x: Array, threads: int) -> Array:
    x = check_linear(weight.layout, x)
    check_threads(threads)
    isa = current()
    return multiply(weight.tiles, x, isa, threads)[:, : weight.layout.lanes]


def weight_gradient(dy: Array, x: Array, *, threads: int = 1) -> Array:
    """WU: dW = dy^T x, dense. dy: (tokens, out), x: (tokens, in); returns (out, in)."""
    dy, x = check_token_pair(dy, x)
    return dense_matmul(dy.T, x, threads=threads)


def conv2d(
    weight: Weight,
    x: Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    threads: int = 1,
) -> Array:
    """Forward convolution. x: (batch, in, height, width); returns (batch, out, height', width').

    Images may have any order in memory; results are contiguous.
    """
    weight = _repacked(weight)
    x, geometry = check_forward(weight.layout, channels_first(x), stride, padding, dilation)
    y = lent_images(len(x), _lanes(weight.layout), geometry.out_hw)
    _convolve(weight, forward_window(geometry), x, y, threads)
    return y


def conv2d_input_gradient(
    weight: Weight,
    dy: Array,
    in_hw: tuple[int, int],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    threads: int = 1,
) -> Array:
    """Gradient of the input of `conv2d`. dy: (batch, out, height', width'); returns (batch, in, *in_hw).

    A step's copy for a stride is made with `taps_apart`.
    """
    weight = _repacked(weight)
    steps = (stride, padding, dilation)
    dy, geometry = check_input_gradient(weight.layout, channels_first(dy), in_hw, *steps)
    lanes = _lanes(weight.layout)
    dx = lent_images(len(dy), lanes, in_hw)
    if weight.finite:
        windows = gradient_windows(geometry)
        if sum(prod(window.out_hw) for _, window in windows) < prod(in_hw):
            dx[...] = 0
        for inputs, window in windows:
            _convolve(weight, window, dy, dx[:, :, *inputs], threads)
        return dx
    dx[...] = 0
    part = np.empty((len(dy), lanes, *geometry.out_hw), np.float32)
    for inputs, outputs, window in tap_windows(geometry):  # padding times infinity is NaN
        _convolve(weight, window, dy, part, threads)
        dx[:, :, *inputs] += part[:, :, *outputs]
    return dx


def conv2d_weight_gradient(
    dy: Array,
    x: Array,
    kernel: tuple[int, int],
    *,
    conv_groups: int = 1,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Array:
    """Dense gradient of the weight of `conv2d`, (out, in / conv_groups, *kernel)."""
    dy, x, geometry = check_weight_gradient(dy, x, kernel, conv_groups, stride, padding, dilation)
    columns = im2col(x, geometry, conv_groups)
    rows = dy.swapaxes(0, 1).reshape(conv_groups, -1, columns.shape[2])
    products = [dense_matmul(*pair) for pair in zip(rows, columns.swapaxes(1, 2), strict=True)]
    gradient = np.stack(products)
    depth = x.shape[1] // conv_groups
    return gradient.reshape(dy.shape[1], *kernel, depth).transpose(0, 3, 1, 2)


def as_prepared(weight: PackedTensor | PreparedWeight) -> PreparedWeight:
    return weight if isinstance(weight, PreparedWeight) else prepare(weight)


def _repacked(weight: Weight) -> PreparedWeight | StepCopy:
    return weight if isinstance(weight, StepCopy) else as_prepared(weight)


def _convolve(
    weight: PreparedWeight | StepCopy, window: Window, x: Array, images: Array, threads: int
) -> None:
    """Write the outputs of `window` over `x` into `images`."""
    check_threads(threads)
    isa = current()
    if isa is not PORTABLE:
        tiles, layout = weight.conv_tiles(isa, window.taps), weight.layout
        channels = Channels(layout.conv_groups, layout.reduction, layout.lanes, weight.group_rows)
        convolve(tiles, channels, window, x, images, isa, threads)
        return
    assert isinstance(weight, PreparedWeight)  # there is no other copy without a vector unit
    plan = ConvPlan(window, x.shape[1], weight.layout.conv_groups)
    results = _multiply_panel(weight, plan.panel(x), threads, window.taps)
    plan.to_images(results, weight.layout.lanes, images)


def _multiply_panel(
    prepared: PreparedWeight, panel: Panel, threads: int, taps: tuple[int, ...] = (0,)
) -> Array:
    """Results (strips, rows of the weight, width) of the taps `taps`."""
    shape = (len(panel.strip_starts), prepared.rows, panel.width)
    out = aligned_empty(prod(shape)).reshape(shape)
    operands = (panel.values, panel.row_starts, panel.strip_starts)
    _run(_PANEL_KERNELS[prepared.tile_rows], prepared, operands, out, threads, taps)
    return out


def _run(
    kernel: Any,
    prepared: PreparedWeight,
    operands: tuple[Array, ...],
    out: Array,
    threads: int,
    taps: tuple[int, ...] = (0,),
) -> None:
    """Run the kernel over all tiles, split by entries among threads."""
    check_threads(threads)
    begins, ends = prepared.entry_ranges(taps)
    on_tiles = partial(kernel, begins, ends, prepared.columns, prepared.values, *operands, out)
    bounds = _tile_bounds((ends - begins).sum(axis=1), threads)
    run_parts(lambda part: on_tiles(*part), bounds)


def _tile_bounds(entries: Array, threads: int) -> list[tuple[int, int]]:
    """Runs of tiles with about equal numbers of entries, which cover all tiles."""
    before = np.cumsum(entries) - entries
    targets = np.linspace(0, int(entries.sum()), threads + 1)[1:-1]
    inner = np.searchsorted(before, targets).tolist()
    return list(pairwise([0, *inner, len(entries)]))


def _lanes(layout: Layout) -> int:
    return layout.conv_groups * layout.lanes


def _without_padding(prepared: PreparedWeight, y: Array) -> Array:
    """Drop the rows that fill the last tile of every convolution group. y: (tokens, rows)."""
    split = y.reshape(len(y), prepared.layout.conv_groups, -1)
    return split[:, :, : prepared.layout.lanes].reshape(len(y), -1)
