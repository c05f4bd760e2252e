"""Which pixels every vector of a convolution takes, as the tables that `conv_assembly` reads.

Output pixels are numbered (image, row, column). Panels take runs of them, whole vectors but for the
last one; a vector that crosses the end of an image row takes several moves.
"""

from dataclasses import dataclass

import numpy as np

from cosparse.spec.dtypes import Array

from .planes import Window

_ITEM_BYTES = 4


@dataclass(frozen=True, eq=False)
class Moves:
    """Lists of moves: `table[pointers[i] : pointers[i + 1]]` is number i."""

    table: Array
    pointers: Array


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Runs of pixels that lie in one vector and in one line of the source or the target."""

    pixel: Array
    lane: Array
    """Of its first pixel, in its vector."""
    count: Array
    panel: Array
    place: Array
    """First byte of its vector in a row of its panel."""


def fill_moves(
    window: Window, in_hw: tuple[int, int], image: int, widths: tuple[int, ...], lanes: int
) -> Moves:
    """Moves of (panel, tap), in the order of `window.taps`: a list of single ones and one of pairs each.

    image: float32 from one image to the next; widths: vectors of every panel, filled up with zeros.
    """
    (rows, columns), (height, width) = (window.rows, window.columns), in_hw
    found = _pieces(window.batch * rows.outputs * columns.outputs, columns.outputs, widths, lanes)
    line, x = np.divmod(found.pixel, columns.outputs)
    which, y = np.divmod(line, rows.outputs)
    tops, lefts = (np.repeat(rows.offsets, len(columns.offsets)),
                   np.tile(columns.offsets, len(rows.offsets)))  # fmt: skip
    top = y * rows.stride + tops[:, None]
    left = x * columns.stride + lefts[:, None]
    first = np.clip(-(left // columns.stride), 0, found.count)
    last = np.clip((width - 1 - left) // columns.stride + 1, first, found.count)
    last = np.where((top >= 0) & (top < height) & (which < window.batch), last, first)
    start = which * image + top * width + left - found.lane * columns.stride
    source = np.where(last > first, start, 0) * _ITEM_BYTES
    read = _spread(found.lane + first, found.lane + last, columns.stride, lanes)
    paired = _paired(found)
    own = _spread(found.lane, found.lane + found.count, 1, lanes)
    both = np.where(paired, own | np.append(own[1:], 0), own)
    target, written = (np.broadcast_to(field, read.shape) for field in (found.place, both))
    taps = len(tops)
    list_of = 2 * (found.panel * taps + np.arange(taps)[:, None]) + paired
    return _listed(list_of, (source, target, read, written), 2 * len(widths) * taps)


@dataclass(frozen=True)
class Target:
    """Where results go: images (batch, channels, *hw), and float32 from one to the next along each axis."""

    batch: int
    hw: tuple[int, int]
    image: int
    channel: int
    row: int
    step: int

    @classmethod
    def of(cls, images: Array) -> "Target":
        strides = (stride // images.itemsize for stride in images.strides)
        return cls(len(images), images.shape[2:], *strides)

    @property
    def in_line(self) -> bool:
        """Whether all pixels of a channel lie side by side."""
        return self.step == 1 and (self.row == self.hw[1] or self.hw[0] == 1)


def drain_moves(target: Target, widths: tuple[int, ...], lanes: int) -> Moves:
    """Moves of every panel's results, of panel i in list 2 i + 1.

    List 2 i takes their place where all pixels of panel i lie side by side: its first move.
    """
    (height, width), size = target.hw, target.hw[0] * target.hw[1]
    line = size if target.in_line else width
    found = _pieces(target.batch * size, line, widths, lanes)
    rows, x = np.divmod(found.pixel, width)
    which, y = np.divmod(rows, height)
    inside = which < target.batch
    start = which * target.image + y * target.row + (x - found.lane) * target.step
    written = _spread(found.lane, found.lane + found.count, target.step, lanes)
    ends = np.cumsum(widths) * lanes
    image = (ends - np.array(widths) * lanes) // size, (ends - 1) // size
    whole = (image[0] == image[1]) & (ends <= target.batch * size) & target.in_line
    first = np.append(True, found.panel[1:] != found.panel[:-1])
    kept = inside & (~whole[found.panel] | first)
    fields = (found.place, start * _ITEM_BYTES, written, written)
    list_of = 2 * found.panel + 1 - whole[found.panel]
    return _listed(list_of[kept], tuple(field[kept] for field in fields), 2 * len(widths))


def channel_runs(
    conv_groups: int, taps: int, depth: int, k_tile: int, plane: int, row_bytes: int
) -> Moves:
    """Runs of neighbouring channels of one tap, by k tile. plane: float32 from one channel to the next."""
    rows = conv_groups * taps * depth
    first = np.union1d(np.arange(0, rows, max(1, depth)), np.arange(0, rows, k_tile))
    count = np.diff(first, append=rows)
    matrix, channel = np.divmod(first, max(1, depth))
    group, tap = np.divmod(matrix, max(1, taps))
    k_tiles, inside = np.divmod(first, k_tile)
    source = (group * depth + channel) * plane * _ITEM_BYTES
    fields = (tap, source, count, inside * row_bytes)
    return _listed(k_tiles, fields, max(1, -(-rows // k_tile)))


def _pieces(pixels: int, line: int, widths: tuple[int, ...], lanes: int) -> _Pieces:
    """All `pixels`, and those beyond that fill the last vector, cut at vectors and lines of `line` pixels."""
    every = sum(widths) * lanes
    cuts = [np.arange(0, every, lanes), np.arange(0, pixels, line), np.array([pixels])]
    first = np.unique(np.concatenate(cuts)).astype(np.int64)
    first = first[first < every]
    vector, lane = np.divmod(first, lanes)
    ends = np.cumsum(widths)
    panel = np.searchsorted(ends, vector, side="right")
    place = (vector - (ends - np.array(widths))[panel]) * lanes * _ITEM_BYTES
    return _Pieces(first, lane, np.diff(first, append=every), panel, place)


def _paired(found: _Pieces) -> Array:
    """Which pieces share a move: the first and the second of a vector, the third and the fourth."""
    place = np.arange(len(found.pixel))
    starts = found.lane == 0
    number = place - place[starts][np.cumsum(starts) - 1]
    last = np.append(starts[1:], True)
    return (number % 2 == 1) | ~last  # type: ignore[no-any-return]


def _spread(first: Array, last: Array, stride: int, lanes: int) -> Array:
    """Bits of the lanes [first, last), `stride` apart."""
    bits = (np.uint64(1) << (np.arange(lanes) * stride).astype(np.uint64)).astype(np.uint64)
    lane = np.arange(lanes)
    inside = (lane >= first[..., None]) & (lane < last[..., None])
    return (inside * bits).sum(axis=-1, dtype=np.uint64).view(np.int64)  # type: ignore[no-any-return]


def _listed(list_of: Array, fields: tuple[Array, ...], lists: int) -> Moves:
    """Rows of `fields`, sorted by the number of their list; their order inside of one stays."""
    order = np.argsort(list_of.reshape(-1), kind="stable")
    table = np.stack([field.reshape(-1)[order] for field in fields], axis=1).astype(np.int64)
    counts = np.bincount(list_of.reshape(-1), minlength=lists)
    pointers = np.zeros(lists + 1, np.int64)
    np.cumsum(counts, out=pointers[1:])
    return Moves(np.ascontiguousarray(table), pointers)
