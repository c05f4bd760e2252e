"""Convolutions without im2col: padded images laid out so that every tap is a shifted panel row.

A plane is one channel as [row phase][column phase][row][column][image]: images innermost, pixels
split by stride, so that the pixels one tap meets lie in one run for neighbouring outputs. A tap is
then the plane from another start, and images are copied once in and once out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
from numba import njit

from cosparse.spec import ConvGeometry
from cosparse.spec.dtypes import Array

from .panels import LINE, Panel, aligned_empty, starts, strips_of
from .rows import OPTIONS

_IMAGES = 8
"""Images copied side by side: each is a stream, and one cache set holds no more of them."""
_STRIP_COST = 16
"""What starting a strip costs, in tokens of its width."""


@dataclass(frozen=True)
class Axis:
    """One image axis: output o reads input `o * stride + offset` for the offset of every tap."""

    outputs: int
    stride: int
    offsets: tuple[int, ...]

    @property
    def padding(self) -> int:
        """Zeros before the first input."""
        return max(0, -min(self.offsets))

    @property
    def phase_size(self) -> int:
        """Pixels of one phase: up to the last one that is read."""
        last = (self.outputs - 1) * self.stride + max(self.offsets) + self.padding
        return last // self.stride + 1

    def phase_and_place(self) -> tuple[Array, Array]:
        """Where output 0 of every tap reads."""
        place, phase = np.divmod(np.array(self.offsets) + self.padding, self.stride)
        return phase, place


@dataclass(frozen=True)
class Window:
    """A convolution as a gather: which input pixels every output pixel reads, for the taps in `taps`.

    `taps` has the numbers, of `all_taps`, of the pairs (offset of `rows`, offset of `columns`).
    """

    batch: int
    rows: Axis
    columns: Axis
    taps: tuple[int, ...]
    all_taps: int

    @property
    def out_hw(self) -> tuple[int, int]:
        return self.rows.outputs, self.columns.outputs

    @property
    def line(self) -> int:
        """Values from one row of a phase to the next."""
        return self.columns.phase_size * self.batch

    @property
    def phase(self) -> int:
        return self.rows.phase_size * self.line

    @property
    def plane(self) -> int:
        """Values from one channel to the next: an odd number of cache lines, to spread over sets."""
        phases = self.rows.stride * self.columns.stride
        lines: int = -(-phases * self.phase // LINE)
        return LINE * (lines | 1)

    def tap_starts(self) -> Array:
        """Where every tap begins in a plane; 0 for one that is not read."""
        (row_phase, row), (phase, column) = (
            axis.phase_and_place() for axis in (self.rows, self.columns)
        )
        tops = row_phase * self.columns.stride * self.phase + row * self.line
        tap_starts = np.zeros(self.all_taps, np.int64)
        tap_starts[list(self.taps)] = np.add.outer(
            tops, phase * self.phase + column * self.batch
        ).reshape(-1)
        return tap_starts


@dataclass(frozen=True)
class Strips:
    """How output pixels are cut into strips.

    Output (row, column, image) is number `row * line + column * batch + image` of the strips laid
    end to end.
    """

    first: Array
    width: int
    line: int

    @property
    def cost(self) -> int:
        return len(self.first) * (self.width + _STRIP_COST)


@lru_cache(maxsize=1024)
def forward_window(geometry: ConvGeometry) -> Window:
    """The forward convolution."""
    rows, columns = (
        Axis(
            geometry.out_hw[i],
            geometry.stride[i],
            tuple(_offset(geometry, i, tap) for tap in range(geometry.kernel[i])),
        )
        for i in (0, 1)
    )
    return Window(geometry.batch, rows, columns, tuple(range(geometry.taps)), geometry.taps)


@lru_cache(maxsize=1024)
def gradient_windows(
    geometry: ConvGeometry,
) -> tuple[tuple[tuple[slice, slice], Window], ...]:
    """The input gradient: which inputs, and the window of stride 1 that they are the outputs of.

    There is one for every row and column phase that a tap meets, `stride` of them along each axis;
    the taps are shared out among them. Inputs that no tap meets appear in none.
    """
    found = []
    phases = [_axis_phases(geometry, i) for i in (0, 1)]
    for (rows, row_taps, row_axis), (columns, column_taps, column_axis) in product(*phases):
        taps = tuple(y * geometry.kernel[1] + z for y in row_taps for z in column_taps)
        window = Window(geometry.batch, row_axis, column_axis, taps, geometry.taps)
        found.append(((rows, columns), window))
    return tuple(found)


def tap_windows(
    geometry: ConvGeometry,
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], Window]]:
    """The input gradient tap by tap: which inputs meet which outputs, and the window of all outputs."""
    axes = [Axis(size, 1, (0,)) for size in geometry.out_hw]
    for y, z in np.ndindex(*geometry.kernel):
        (rows, out_rows), (columns, out_columns) = _met(geometry, 0, y), _met(geometry, 1, z)
        tap = y * geometry.kernel[1] + z
        window = Window(geometry.batch, axes[0], axes[1], (tap,), geometry.taps)
        yield (rows, columns), (out_rows, out_columns), window


def _offset(geometry: ConvGeometry, axis: int, tap: int) -> int:
    return tap * geometry.dilation[axis] - geometry.padding[axis]


def _axis_phases(geometry: ConvGeometry, i: int) -> list[tuple[slice, list[int], Axis]]:
    """Inputs first, first + stride, ... of an axis, the taps that meet them, and what these read."""
    inputs, stride = geometry.in_hw[i], geometry.stride[i]
    phases = []
    for first in range(min(stride, inputs)):
        shifts = {tap: first - _offset(geometry, i, tap) for tap in range(geometry.kernel[i])}
        met = {tap: shift // stride for tap, shift in shifts.items() if shift % stride == 0}
        if met:
            axis = Axis(-(-(inputs - first) // stride), 1, tuple(met.values()))
            phases.append((slice(first, None, stride), list(met), axis))
    return phases


def _met(geometry: ConvGeometry, i: int, tap: int) -> tuple[slice, slice]:
    """The inputs and the outputs of one axis that meet at a tap."""
    offset, stride = _offset(geometry, i, tap), geometry.stride[i]
    first = min(geometry.out_hw[i], max(0, -(offset // stride)))
    last = max(first, min(geometry.out_hw[i], (geometry.in_hw[i] - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(start, start + (last - first) * stride, stride), slice(first, last)


@dataclass(frozen=True)
class ConvPlan:
    """Panel of one convolution over `channels` channels in `conv_groups` groups."""

    window: Window
    channels: int
    conv_groups: int

    @cached_property
    def strips(self) -> Strips:
        """Whole images at once, or each output row apart where that wastes less."""
        return min(self._joined(), self._by_row(), key=lambda strips: strips.cost)

    def panel(self, x: Array) -> Panel:
        """x: (batch, channels, h, w) to a panel with rows (conv_group, tap, channel)."""
        window, strips = self.window, self.strips
        values = aligned_empty(self.channels * window.plane + strips.width)
        values[...] = 0
        _fill(
            x, window.rows.padding, window.columns.padding, window.rows.stride,
            window.columns.stride, window.rows.phase_size, window.columns.phase_size,
            window.plane, values,
        )  # fmt: skip
        planes = np.arange(self.channels).reshape(self.conv_groups, 1, -1) * window.plane
        rows = planes + window.tap_starts()[:, None]
        return Panel(values, starts(rows.reshape(-1)), starts(strips.first), strips.width)

    def to_images(self, results: Array, lanes: int, images: Array) -> None:
        """Copy results (strips, rows, width) into `images`, (batch, conv_groups * lanes, h', w')."""
        _drain(results, self.strips.line, lanes, results.shape[1] // self.conv_groups, images)

    @property
    def _read_rows(self) -> int:
        """Runs of a strip's width that one strip reads: taps of one row share theirs."""
        return self.channels * len(self.window.rows.offsets)

    def _joined(self) -> Strips:
        window = self.window
        span = (window.out_hw[0] - 1) * window.line + window.out_hw[1] * window.batch
        count, width = strips_of(span, self._read_rows)
        return Strips(np.arange(count) * width, width, window.line)

    def _by_row(self) -> Strips:
        window = self.window
        count, width = strips_of(window.out_hw[1] * window.batch, self._read_rows)
        lines = np.arange(window.out_hw[0])[:, None] * window.line
        first = (lines + np.arange(count) * width).reshape(-1)
        return Strips(first, width, count * width)


@njit(**OPTIONS)
def _fill(  # type: ignore[no-untyped-def]
    x, top, left, row_stride, column_stride, phase_rows, phase_columns, plane, values
):
    """Copy images (batch, channels, h, w) into planes that are zero."""
    batch, channels, height, width = x.shape
    line = phase_columns * batch
    phase = phase_rows * line
    for channel in range(channels):
        for first in range(0, batch, _IMAGES):
            last = min(first + _IMAGES, batch)
            for y in range(min(height, phase_rows * row_stride - top)):
                row, row_phase = (y + top) // row_stride, (y + top) % row_stride
                start = channel * plane + row_phase * column_stride * phase + row * line
                if column_stride == 1 and batch == 1:
                    for z in range(min(width, phase_columns - left)):
                        values[start + left + z] = x[0, channel, y, z]
                    continue
                column, column_phase = left // column_stride, left % column_stride
                for z in range(min(width, phase_columns * column_stride - left)):
                    place = start + column_phase * phase + column * batch
                    for image in range(first, last):
                        values[place + image] = x[image, channel, y, z]
                    column_phase += 1
                    if column_phase == column_stride:
                        column, column_phase = column + 1, 0


@njit(**OPTIONS)
def _drain(results, line, lanes, group_rows, images):  # type: ignore[no-untyped-def]
    """Copy results (strips, rows, width) into images (batch, channels, h, w)."""
    batch, channels, height, columns = images.shape
    strips, _, width = results.shape
    plane = np.empty(strips * width, np.float32)
    for channel in range(channels):
        row = channel // lanes * group_rows + channel % lanes
        for strip in range(strips):
            plane[strip * width : (strip + 1) * width] = results[strip, row]
        for first in range(0, batch, _IMAGES):
            last = min(first + _IMAGES, batch)
            for y in range(height):
                if batch == 1:
                    for z in range(columns):
                        images[0, channel, y, z] = plane[y * line + z]
                    continue
                for z in range(columns):
                    place = y * line + z * batch
                    for image in range(first, last):
                        images[image, channel, y, z] = plane[place + image]
