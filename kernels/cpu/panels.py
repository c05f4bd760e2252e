"""Activation panels: arrays (strip, row, token) with tokens innermost, and the ways in and out.

A strip is a run of tokens narrow enough for all of its rows to stay in the second-level cache, padded
with zeros to whole cache lines. Strips lie one after the other, so that rows never share a cache
set because of a power-of-two stride, and start on a 64-byte boundary: an unaligned vector load
crosses a cache line every second time.
"""

import numpy as np
from numba import njit

from cosparse.spec import ConvGeometry
from cosparse.spec.dtypes import Array

from .rows import OPTIONS

LINE = 16
"""float32 values in one cache line."""
_STRIP_BYTES = 1 << 19
_WIDEST_STRIP, _NARROWEST_STRIP = 128, 64


def strips_of(tokens: int, rows: int) -> tuple[int, int]:
    """(strips, tokens of one strip) for a panel of `rows` rows."""
    widest = int(np.clip(_STRIP_BYTES // (4 * max(1, rows)), _NARROWEST_STRIP, _WIDEST_STRIP))
    strips = -(-tokens // widest)
    return strips, LINE * -(-tokens // (LINE * max(1, strips)))


def aligned_zeros(shape: tuple[int, ...]) -> Array:
    """A float32 array that starts on a 64-byte boundary."""
    size = int(np.prod(shape))
    buffer = np.zeros(size + LINE, np.float32)
    start = -buffer.ctypes.data % 64 // 4
    return buffer[start : start + size].reshape(shape)


def to_panel(x: Array) -> Array:
    """(tokens, rows) to a panel."""
    tokens, rows = x.shape
    strips, width = strips_of(tokens, rows)
    panel = aligned_zeros((strips, rows, width))
    for strip in range(strips):
        _transpose(x[strip * width : (strip + 1) * width], panel[strip])
    return panel


def from_panel(panel: Array, tokens: int) -> Array:
    """A panel to (tokens, rows)."""
    strips, rows, width = panel.shape
    x = np.empty((strips * width, rows), np.float32)
    for strip in range(strips):
        _transpose(panel[strip], x[strip * width : (strip + 1) * width])
    return x[:tokens]


def pixels_to_panel(rows: Array) -> Array:
    """(rows, pixels) to a panel."""
    count, pixels = rows.shape
    strips, width = strips_of(pixels, count)
    panel = aligned_zeros((strips, count, width))
    for strip in range(strips):
        part = rows[:, strip * width : (strip + 1) * width]
        panel[strip, :, : part.shape[1]] = part
    return panel


def panel_to_pixels(panel: Array, pixels: int) -> Array:
    """A panel to contiguous (rows, pixels)."""
    strips, rows, width = panel.shape
    x = np.empty((rows, pixels), np.float32)
    for strip in range(strips):
        part = x[:, strip * width : (strip + 1) * width]
        part[...] = panel[strip, :, : part.shape[1]]
    return x


def im2col(x: Array, geometry: ConvGeometry, conv_groups: int) -> Array:
    """(batch, channels, h, w) to (conv_groups * taps * channels / conv_groups, output pixels)."""
    pixels = geometry.batch * geometry.out_hw[0] * geometry.out_hw[1]
    rows = np.zeros((x.shape[1] * geometry.taps, pixels), np.float32)
    _gather(x, *_steps(geometry), geometry.out_hw, conv_groups, rows)
    return rows


def col2im(rows: Array, geometry: ConvGeometry) -> Array:
    """(conv_groups, taps, channels / conv_groups, output pixels) summed into (batch, channels, h, w)."""
    channels = rows.shape[0] * rows.shape[2]
    x = np.zeros((geometry.batch, channels, *geometry.in_hw), np.float32)
    _scatter(rows, *_steps(geometry), geometry.out_hw, x)
    return x


def _steps(geometry: ConvGeometry) -> tuple[tuple[int, int], ...]:
    return geometry.kernel, geometry.stride, geometry.padding, geometry.dilation


@njit(**OPTIONS)
def _transpose(source, target):  # type: ignore[no-untyped-def]
    """target[j, i] = source[i, j], in squares whose lines stay in the first-level cache."""
    rows, columns = source.shape
    for i0 in range(0, rows, 32):
        for j0 in range(0, columns, 32):
            for j in range(j0, min(j0 + 32, columns)):
                for i in range(i0, min(i0 + 32, rows)):
                    target[j, i] = source[i, j]


@njit(**OPTIONS)
def _inside(size, outputs, offset, stride):  # type: ignore[no-untyped-def]
    """Outputs [first, last) for which output * stride + offset lies in [0, size)."""
    first = min(outputs, max(0, (-offset + stride - 1) // stride))
    last = max(first, min(outputs, (size - 1 - offset) // stride + 1))
    return first, last


@njit(**OPTIONS)
def _gather(x, kernel, stride, padding, dilation, out_hw, conv_groups, rows):  # type: ignore[no-untyped-def]
    batch, channels, height, width = x.shape
    taps, depth = kernel[0] * kernel[1], channels // conv_groups
    for row in range(channels * taps):
        group, tap, k = row // (taps * depth), row // depth % taps, row % depth
        y_offset = tap // kernel[1] * dilation[0] - padding[0]
        x_offset = tap % kernel[1] * dilation[1] - padding[1]
        first_y, last_y = _inside(height, out_hw[0], y_offset, stride[0])
        first_x, last_x = _inside(width, out_hw[1], x_offset, stride[1])
        for image in range(batch):
            for oy in range(first_y, last_y):
                source = x[image, group * depth + k, oy * stride[0] + y_offset]
                start = (image * out_hw[0] + oy) * out_hw[1]
                for ox in range(first_x, last_x):
                    rows[row, start + ox] = source[ox * stride[1] + x_offset]


@njit(**OPTIONS)
def _scatter(rows, kernel, stride, padding, dilation, out_hw, x):  # type: ignore[no-untyped-def]
    batch, _, height, width = x.shape
    conv_groups, taps, depth, _ = rows.shape
    for image in range(batch):
        for channel in range(conv_groups * depth):
            group, k = channel // depth, channel % depth
            for tap in range(taps):
                y_offset = tap // kernel[1] * dilation[0] - padding[0]
                x_offset = tap % kernel[1] * dilation[1] - padding[1]
                first_y, last_y = _inside(height, out_hw[0], y_offset, stride[0])
                first_x, last_x = _inside(width, out_hw[1], x_offset, stride[1])
                for oy in range(first_y, last_y):
                    target = x[image, channel, oy * stride[0] + y_offset]
                    start = (image * out_hw[0] + oy) * out_hw[1]
                    for ox in range(first_x, last_x):
                        target[ox * stride[1] + x_offset] += rows[group, tap, k, start + ox]
