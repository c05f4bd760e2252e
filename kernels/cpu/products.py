"""Products on the CPU: check, fill a panel, run the Numba kernel, bring the result out.

Weights may be packed tensors, which are then repacked in the call, or the result of `prepare`.
Products of weights run in float32 with the error bound of `rows`; WU is NumPy's dense product.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from cosparse.spec import PackedTensor, UnsupportedError
from cosparse.spec.dtypes import Array

from ..geometry import (
    Pair,
    check_conv_weight,
    check_group_channels,
    check_images,
    check_linear,
    check_token_pair,
    conv_geometry,
)
from . import panels
from .prepared import SHARED_ROWS, PreparedWeight, prepare
from .rows import dot_rows, multiply_rows, multiply_shared_rows

Weight = PackedTensor | PreparedWeight

_PANEL_KERNELS = {1: multiply_rows, SHARED_ROWS: multiply_shared_rows}
_DOT_TOKENS = 2
"""Most tokens for which dot products beat panels (docs/kernels.md has the measurement)."""


def matmul(weight: Weight, x: Array, *, threads: int = 1) -> Array:
    """FF: y = x W^T with the FF copy, BP: dx = dy W with the BP copy, in float32.

    x: (tokens, in) for FF, (tokens, out) for BP; returns (tokens, out) or (tokens, in).
    """
    prepared = as_prepared(weight)
    x = check_linear(prepared.layout, x)
    if len(x) <= _DOT_TOKENS:
        y = np.empty((len(x), prepared.tiles * prepared.tile_rows), np.float32)
        _run(dot_rows, prepared, x, y, threads)
    else:
        out = _multiply_panel(prepared, panels.to_panel(x), threads)
        y = panels.from_panel(out, len(x))
    return _without_padding(prepared, y)


def weight_gradient(dy: Array, x: Array) -> Array:
    """WU: dW = dy^T x, dense. dy: (tokens, out), x: (tokens, in); returns (out, in)."""
    dy, x = check_token_pair(dy, x)
    gradient: Array = dy.T @ x
    return gradient


def conv2d(
    weight: Weight,
    x: Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    threads: int = 1,
) -> Array:
    """Forward convolution. x: (batch, in, height, width); returns (batch, out, height', width')."""
    prepared = as_prepared(weight)
    layout = prepared.layout
    kernel = check_conv_weight("conv2d", layout, axis=1)
    x = check_images("conv2d", x, layout.conv_groups * layout.reduction)
    geometry = conv_geometry(len(x), (x.shape[2], x.shape[3]), kernel, stride, padding, dilation)
    rows = multiply_pixels(
        prepared, panels.im2col(x, geometry, layout.conv_groups), threads=threads
    )
    images = rows.reshape(len(rows), geometry.batch, *geometry.out_hw)
    return np.ascontiguousarray(images.swapaxes(0, 1))


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
    """Gradient of the input of `conv2d`. dy: (batch, out, height', width'); returns (batch, in, *in_hw)."""
    operation = "conv2d_input_gradient"
    prepared = as_prepared(weight)
    layout = prepared.layout
    kernel = check_conv_weight(operation, layout, axis=0)
    geometry = conv_geometry(len(dy), in_hw, kernel, stride, padding, dilation)
    dy = check_images(operation, dy, layout.conv_groups * layout.reduction, geometry.out_hw)
    rows = multiply_pixels(prepared, _by_channel(dy), threads=threads)
    taps = rows.reshape(layout.conv_groups, layout.taps, layout.lanes, rows.shape[1])
    return panels.col2im(taps, geometry)


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
    operation = "conv2d_weight_gradient"
    x = check_images(operation, x, x.shape[1])
    geometry = conv_geometry(len(x), (x.shape[2], x.shape[3]), kernel, stride, padding, dilation)
    dy = check_images(operation, dy, dy.shape[1], geometry.out_hw)
    check_group_channels(operation, conv_groups, dy.shape[1], x.shape[1])
    columns = panels.im2col(x, geometry, conv_groups)
    columns = columns.reshape(conv_groups, -1, columns.shape[1])
    rows = _by_channel(dy).reshape(conv_groups, -1, columns.shape[2])
    gradient: Array = rows @ columns.swapaxes(1, 2)
    depth = x.shape[1] // conv_groups
    return gradient.reshape(dy.shape[1], *kernel, depth).transpose(0, 3, 1, 2)


def multiply_pixels(weight: Weight, rows: Array, *, threads: int = 1) -> Array:
    """The product inside the convolutions. rows: (panel_rows, pixels).

    Returns (conv_groups * lanes, pixels) in FF, (conv_groups * taps * lanes, pixels) in BP.
    """
    prepared = as_prepared(weight)
    out = _multiply_panel(prepared, panels.pixels_to_panel(rows), threads)
    return _without_padding(prepared, panels.panel_to_pixels(out, rows.shape[1]).T).T


def as_prepared(weight: Weight) -> PreparedWeight:
    return weight if isinstance(weight, PreparedWeight) else prepare(weight)


def _multiply_panel(prepared: PreparedWeight, panel: Array, threads: int) -> Array:
    """(strips, panel_rows, width) to (strips, tiles * tile_rows, width)."""
    strips, _, width = panel.shape
    out = panels.aligned_zeros((strips, prepared.tiles * prepared.tile_rows, width))
    _run(_PANEL_KERNELS[prepared.tile_rows], prepared, panel, out, threads)
    return out


def _run(kernel: Any, prepared: PreparedWeight, x: Array, out: Array, threads: int) -> None:
    """Run the kernel over all tiles, split by entries among threads."""
    if threads < 1:
        raise UnsupportedError(f"expected threads >= 1, got {threads}")
    on_planes = partial(kernel, prepared.row_pointers, prepared.columns, prepared.values, x, out)
    if threads == 1:
        on_planes(0, prepared.tiles)
        return
    with ThreadPoolExecutor(threads) as pool:
        running = [
            pool.submit(on_planes, first, last) for first, last in _tile_bounds(prepared, threads)
        ]
        for part in running:
            part.result()


def _tile_bounds(prepared: PreparedWeight, threads: int) -> list[tuple[int, int]]:
    """Runs of tiles with about equal numbers of entries, which cover all tiles."""
    targets = np.linspace(0, int(prepared.row_pointers[-1]), threads + 1)[1:-1]
    inner = np.searchsorted(prepared.row_pointers[:-1], targets).tolist()
    return list(pairwise([0, *inner, prepared.tiles]))


def _without_padding(prepared: PreparedWeight, y: Array) -> Array:
    """Drop the rows that fill the last tile of every matrix. y: (tokens, matrices * tile rows)."""
    lanes, matrices = prepared.layout.lanes, prepared.matrices
    if y.shape[1] == matrices * lanes:
        return y
    split = y.reshape(len(y), matrices, y.shape[1] // matrices)
    return split[:, :, :lanes].reshape(len(y), matrices * lanes)


def _by_channel(images: Array) -> Array:
    """(batch, channels, h, w) to (channels, pixels)."""
    return images.swapaxes(0, 1).reshape(images.shape[1], -1)
