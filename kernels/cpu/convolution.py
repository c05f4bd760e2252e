"""Convolutions on register tiles: which kernel, panels, tables, threads.

Panels, widths and shares of threads are those of `linear`; pixels of the output take the place of tokens.
What a geometry needs (tables of moves) is made once and kept for the next call.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cosparse.spec.dtypes import Array

from .broadcast import LINE_BYTES
from .conv_assembly import MOST_STRIDE, conv_kernel
from .isa import Isa
from .linear import Part, Run, most_columns, panel_widths, parts_of
from .moves import Moves, Target, channel_runs, drain_moves, fill_moves
from .objects import Kernel
from .panels import address
from .planes import Axis, Window
from .recycled import borrowed
from .tiled import TiledWeight, TileShape
from .workers import run_parts

_SUMS_BYTES = 512 << 10
"""Sums of a group of panels, which stay in the second-level cache between k tiles."""
_CACHED_WEIGHT_BYTES = 1 << 20
"""A weight of fewer bytes stays there too, and meets one panel after the other: sums are then few."""
_PIXELS = 1 << 15
"""Output pixels for which tables are made at most: images of the same size use them one after the other."""
_PAST_BYTES = 1 << 20
"""Results of so many bytes leave the second-level cache before anything reads them."""


@dataclass(frozen=True)
class Channels:
    """Sizes of a weight: a group of the results has `lanes` channels in `rows` rows of a product."""

    conv_groups: int
    depth: int
    lanes: int
    rows: int


def convolve(
    weight: TiledWeight,
    channels: Channels,
    window: Window,
    x: Array,
    images: Array,
    isa: Isa,
    threads: int,
) -> None:
    """Write the outputs of `window` over `x` into `images`, (batch, channels, h', w').

    weight: its columns are (conv group, tap of the window, channel). x: contiguous.
    """
    if not images.size:
        return
    if window.columns.stride * isa.lanes > MOST_STRIDE:
        x, window = _with_columns_apart(x, window)
    y = images if _reaches(images, isa) else np.empty(images.shape, np.float32)
    together = _images_together(images.shape[2] * images.shape[3], isa)
    past = y.nbytes >= _PAST_BYTES and _can_pass(y)
    if len(x) <= together:
        _convolve_images(weight, channels, window, x, y, past, isa, threads)
    else:
        for first in range(0, len(x), together):
            some = slice(first, first + together)
            part = replace(window, batch=len(x[some]))
            _convolve_images(weight, channels, part, x[some], y[some], past, isa, threads)
    if y is not images:
        images[...] = y


def _convolve_images(
    weight: TiledWeight,
    channels: Channels,
    window: Window,
    x: Array,
    y: Array,
    past: bool,
    isa: Isa,
    threads: int,
) -> None:
    """Those that share tables."""
    target = Target.of(y)
    window, in_hw = _flattened(window, (x.shape[2], x.shape[3]))
    cached = weight.values.nbytes + weight.indices.nbytes < _CACHED_WEIGHT_BYTES
    sums = 0 if cached else _SUMS_BYTES
    plan = _plan(
        window, in_hw, target, channels, weight.shape, weight.rows, sums, past, isa, threads
    )
    values, indices = address(weight.values), address(weight.indices)
    pointers, pointer_stride = address(weight.pointers), weight.pointers.strides[0]
    x_at, x_plane, y_at, y_plane = address(x), x.strides[1], address(y), y.strides[1]
    taps, k_tiles = len(window.taps), weight.k_tiles

    def run(share: _Share) -> None:
        with borrowed(share.panel, share.scratch) as (panel, scratch):
            panel_at, scratch_at = address(panel), address(scratch)
            first, tiles = pointers + 8 * share.first_tile, share.tiles
            for step in share.steps:
                step.kernel(
                    step.panels, step.group, taps, x_at, x_plane, *step.fills, panel_at, values,
                    indices, first, pointer_stride, tiles, k_tiles, scratch_at, *step.drains, y_at, y_plane,
                )  # fmt: skip

    run_parts(run, plan)


def _images_together(pixels: int, isa: Isa) -> int:
    """Images of so many output pixels that share tables, if possible whole vectors."""
    most, whole = max(1, _PIXELS // pixels), isa.lanes // math.gcd(pixels, isa.lanes)
    return most // whole * whole or most


def _can_pass(images: Array) -> bool:
    """Whether every channel of every image is whole lines."""
    lines = all(offset % LINE_BYTES == 0 for offset in (address(images), images.strides[1]))
    return lines and Target.of(images).in_line


@dataclass(frozen=True, eq=False)
class _Step:
    """One call of a kernel: panels of one width."""

    kernel: Kernel
    panels: int
    group: int
    fills: tuple[int, ...]
    """Addresses of the tables, as the kernel takes them: moves that fill a panel, runs of channels."""
    drains: tuple[int, ...]
    """The same: segments with their number, moves that drain it."""
    tables: tuple[Array, ...]
    """What lies there."""


@dataclass(frozen=True, eq=False)
class _Share:
    """Work of one thread; panel, scratch: float32 that it needs."""

    first_tile: int
    tiles: int
    panel: int
    scratch: int
    steps: tuple[_Step, ...]


@lru_cache(maxsize=128)
def _plan(
    window: Window,
    in_hw: tuple[int, int],
    target: Target,
    channels: Channels,
    shape: TileShape,
    rows: int,
    sums: int,
    past: bool,
    isa: Isa,
    threads: int,
) -> tuple[_Share, ...]:
    """What each thread does.

    sums: bytes of those that may wait at a time; past: whether results are stored past the caches.
    """
    pixels = window.batch * window.rows.outputs * window.columns.outputs
    most, lanes = most_columns(shape, isa), isa.lanes
    widths = tuple(panel_widths(-(-pixels // lanes), most))
    plane = in_hw[0] * in_hw[1]
    image = channels.conv_groups * channels.depth * plane
    fills = fill_moves(window, in_hw, image, widths, lanes)
    drains = drain_moves(target, widths, lanes)

    def step(run: Run, first: int, end: int) -> _Step:
        panel, columns = _panel_at(widths, run.first // lanes), run.tokens // lanes
        taps, row_bytes = len(window.taps), 4 * run.tokens
        panels = slice(panel, panel + run.panels)
        fill, drain = _part(fills, panels, 2 * taps), _part(drains, panels, 2)
        runs = channel_runs(
            channels.conv_groups, taps, channels.depth, shape.k_tile, plane, row_bytes
        )
        rows = list(_segments(channels, first, end, row_bytes, 4 * target.channel))
        segments = np.array(rows, np.int64)
        filling = (fill.table, fill.pointers, runs.table, runs.pointers)
        draining = (segments, drain.table, drain.pointers)
        return _Step(
            kernel=conv_kernel(
                shape, columns, lanes, window.columns.stride, target.step, past=past
            ),
            panels=run.panels,
            group=max(1, sums // (row_bytes * (end - first))),
            fills=tuple(map(address, filling)),
            drains=(len(rows), *map(address, draining)),
            tables=(*filling, *draining),
        )

    def share(part: Part) -> _Share:
        steps = tuple(step(run, part.first, part.end) for run in part.runs)
        widest = max(run.tokens for run in part.runs)
        scratch = max(
            min(one.group, one.panels) * run.tokens
            for one, run in zip(steps, part.runs, strict=True)
        )
        rows = part.end - part.first
        return _Share(
            first_tile=part.first // shape.rows,
            tiles=rows // shape.rows,
            panel=(shape.k_tile + 1) * widest,
            scratch=scratch * rows,
            steps=steps,
        )

    return tuple(share(part) for part in parts_of(-(-pixels // lanes), most, lanes, rows, threads))


def _panel_at(widths: tuple[int, ...], unit: int) -> int:
    """Number of the panel that begins at a unit."""
    return int(np.searchsorted(np.cumsum((0, *widths)), unit))


def _part(moves: Moves, panels: slice, lists: int) -> Moves:
    """Those of some panels, which have `lists` lists each."""
    return Moves(
        moves.table, np.ascontiguousarray(moves.pointers[lists * panels.start : lists * panels.stop + 1])
    )  # fmt: skip


def _segments(
    channels: Channels, first: int, end: int, row_bytes: int, plane_bytes: int
) -> Iterator[tuple[int, int, int, int]]:
    """Rows [first, end) of a product that are results, by conv group: (0, source, channels, target)."""
    for group in range(channels.conv_groups):
        start = group * channels.rows
        low, high = max(first, start), min(end, start + channels.lanes)
        if low < high:
            channel = group * channels.lanes + low - start
            yield 0, (low - first) * row_bytes, high - low, channel * plane_bytes


def _reaches(images: Array, isa: Isa) -> bool:
    """Whether results can be written in place: pixels of a row are a few float32 apart."""
    return images.strides[3] * isa.lanes <= MOST_STRIDE * images.itemsize


def _with_columns_apart(x: Array, window: Window) -> tuple[Array, Window]:
    """Images with the pixels of every column offset side by side: strides beyond the tables of moves."""
    columns = window.columns
    split = np.zeros((*x.shape[:3], len(columns.offsets), columns.outputs), np.float32)
    for number, offset in enumerate(columns.offsets):
        first = max(0, -(offset // columns.stride))
        met = x[..., offset + first * columns.stride :: columns.stride]
        count = max(0, min(columns.outputs - first, met.shape[3]))
        split[:, :, :, number, first : first + count] = met[..., :count]
    offsets = tuple(range(0, len(columns.offsets) * columns.outputs, columns.outputs))
    apart = replace(window, columns=Axis(columns.outputs, 1, offsets))
    return split.reshape(*x.shape[:3], -1), apart


def _flattened(window: Window, in_hw: tuple[int, int]) -> tuple[Window, tuple[int, int]]:
    """Images as one row each, where output pixel i reads pixel i."""
    (rows, columns) = window.rows, window.columns
    same = (rows.outputs, columns.outputs) == in_hw and rows.stride == columns.stride == 1
    if not (same and rows.offsets == columns.offsets == (0,)):
        return window, in_hw
    pixels = in_hw[0] * in_hw[1]
    line = Axis(pixels, 1, (0,))
    return Window(window.batch, Axis(1, 1, (0,)), line, window.taps, window.all_taps), (1, pixels)
