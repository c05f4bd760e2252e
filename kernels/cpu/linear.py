"""Products of a weight with many tokens on register tiles: which kernel, panels, threads.

A panel is as wide as a kernel's sums fit into registers. Panels of different widths share a batch, so
that 13 vectors run as 4 + 3 + 3 + 3 and none is filled up. Threads share the panels, or the rows
where there are too few of them.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, product

from cosparse.spec.dtypes import Array

from .broadcast import Streams, broadcast_kernel
from .isa import Isa
from .panels import address, aligned_empty
from .recycled import borrowed, lent_results
from .row_lanes import SQUARE, TOKEN_STEP, multiply_kernel, pack_kernel
from .tiled import TiledWeight, TileShape
from .workers import bounds, run_parts

_SCRATCH_BYTES = 512 << 10
"""Sums of a chunk of rows that stay in the second-level cache between k tiles."""
_CHUNK_BYTES, _MOST_CHUNK_ROWS = 3 << 20, 1024
_STRETCH_BYTES = 1 << 20
"""Values of a weight that meet all panels while they stay in the second-level cache."""
_CACHED_BYTES = 4 << 20
"""Panels or results of more bytes leave the second-level cache before anything reads them."""
ROW_UNIT = 32
"""Threads share rows in multiples of this many: whole tiles of every shape."""


def multiply(weight: TiledWeight, x: Array, isa: Isa, threads: int) -> Array:
    """x: (tokens, K) float32; returns (tokens, weight.rows)."""
    run = _across if weight.shape.across else _broadcast
    return run(weight, x, isa, threads)[: len(x)]


def most_columns(shape: TileShape, isa: Isa) -> int:
    """Widest panel of a broadcast kernel, in vectors."""
    return max(1, min(6 if shape.shared else 4, isa.accumulators // shape.rows))


def panel_widths(units: int, most: int) -> list[int]:
    """Width of every panel: as few as possible, as equal as possible, wide ones first."""
    if not units:
        return []
    panels = -(-units // most)
    narrow, wide = divmod(units, panels)
    return [narrow + 1] * wide + [narrow] * (panels - wide)


@dataclass(frozen=True)
class Run:
    """Panels of one width, side by side."""

    first: int
    """First token."""
    tokens: int
    """Tokens of one panel."""
    panels: int


@dataclass(frozen=True)
class Part:
    """Work of one thread: which panels, which rows."""

    runs: tuple[Run, ...]
    first: int
    end: int


@lru_cache(maxsize=1024)
def parts_of(units: int, most: int, unit: int, rows: int, threads: int) -> tuple[Part, ...]:
    """Shares of `units` units of tokens, at most `most` a panel, and of the rows."""
    widths = panel_widths(units, most)
    if not rows:
        return ()
    if threads == 1 or len(widths) % threads == 0 or len(widths) >= 2 * threads or rows <= ROW_UNIT:
        cuts = bounds(len(widths), threads)
        starts = [0, *accumulate(width * unit for width in widths)]
        return tuple(Part(_runs(widths[a:b], unit, starts[a]), 0, rows) for a, b in cuts)
    runs = _runs(widths, unit, 0)
    return tuple(Part(runs, a, b) for a, b in bounds(rows, threads, ROW_UNIT))


def _runs(widths: list[int], unit: int, first: int) -> tuple[Run, ...]:
    runs = []
    for width, same in groupby(widths):
        run = Run(first, width * unit, len(list(same)))
        first += run.tokens * run.panels
        runs.append(run)
    return tuple(runs)


def _broadcast(weight: TiledWeight, x: Array, isa: Isa, threads: int) -> Array:
    """Tokens in the lanes: one call for all panels of a width packs, multiplies and unpacks."""
    shape, lanes = weight.shape, isa.lanes
    x = filled(x, lanes, lanes)
    y = lent_results(len(x), weight.rows)
    x_at, x_stride, y_at, y_stride = address(x), x.strides[0], address(y), y.strides[0]
    pointers, pointer_stride = address(weight.pointers), weight.pointers.strides[0]
    values, indices = address(weight.values), address(weight.indices)
    chunk = _chunk_rows(weight)

    def run(part: Part) -> None:
        tokens = max(one.tokens * one.panels for one in part.runs)
        widest = max(one.tokens for one in part.runs)
        group = max(1, _SCRATCH_BYTES // (4 * chunk * widest))
        sizes = weight.k_tiles * (shape.k_tile + 1) * tokens, chunk * widest * group
        streams = Streams(4 * sizes[0] > _CACHED_BYTES, y.nbytes > _CACHED_BYTES)
        with borrowed(*sizes) as (panel, scratch):
            panel_at, scratch_at = address(panel), address(scratch)
            for one in part.runs:
                kernel = broadcast_kernel(shape, one.tokens // lanes, lanes, streams)
                kernel(
                    one.panels, group, x_at + one.first * x_stride, x_stride, x.shape[1] // lanes, panel_at,
                    values, indices, pointers + 8 * (part.first // shape.rows), pointer_stride,
                    (part.end - part.first) // shape.rows, chunk // shape.rows, weight.k_tiles,
                    scratch_at, y_at + one.first * y_stride + 4 * part.first, y_stride,
                )  # fmt: skip

    run_parts(run, parts_of(len(x) // lanes, most_columns(shape, isa), lanes, weight.rows, threads))
    return y


def _across(weight: TiledWeight, x: Array, isa: Isa, threads: int) -> Array:
    """Rows in the lanes: pack all panels, then multiply a stretch of rows by each of them."""
    shape, vectors = weight.shape, weight.shape.rows // isa.lanes
    x = filled(x, TOKEN_STEP, SQUARE)
    y = lent_results(len(x), weight.rows)
    most = max(1, isa.accumulators // vectors // TOKEN_STEP)
    packed = aligned_empty(x.size)
    stretch = _stretch(weight)
    x_at, row_bytes, y_at, y_stride = address(x), x.strides[0], address(y), y.strides[0]
    panel_at, values, indices = address(packed), address(weight.values), address(weight.indices)
    pointers, pointer_stride = address(weight.pointers), weight.pointers.strides[0]

    def run(part: Part) -> None:
        for one in part.runs:
            pack_kernel(one.tokens)(
                one.panels, x_at + one.first * row_bytes, row_bytes, x.shape[1] // SQUARE,
                panel_at + one.first * row_bytes,
            )  # fmt: skip
        for first, one, k_tile in product(
            range(part.first, part.end, stretch), part.runs, range(weight.k_tiles)
        ):
            kernel = multiply_kernel(one.tokens, vectors, isa.lanes, shape.index_bits, k_tile > 0)
            kernel(
                one.panels, one.tokens * row_bytes,
                panel_at + one.first * row_bytes + k_tile * shape.k_tile * 4 * one.tokens,
                values, indices, pointers + k_tile * pointer_stride + 8 * (first // shape.rows),
                (min(part.end, first + stretch) - first) // shape.rows,
                y_at + one.first * y_stride + 4 * first, y_stride,
            )  # fmt: skip

    run_parts(run, parts_of(len(x) // TOKEN_STEP, most, TOKEN_STEP, weight.rows, threads))
    return y


def _chunk_rows(weight: TiledWeight) -> int:
    """Rows of a chunk, in multiples of ROW_UNIT: their values and indices fill _CHUNK_BYTES.

    More than a second-level cache holds: a k tile of them meets a group of panels at once, and the more rows
    meet a k tile of a panel, which is fetched out of order, the better.
    """
    row_bytes = (weight.values.nbytes + weight.indices.nbytes) // max(1, weight.rows)
    rows = _CHUNK_BYTES // max(1, row_bytes) // ROW_UNIT * ROW_UNIT
    return min(max(rows, ROW_UNIT), _MOST_CHUNK_ROWS)


def _stretch(weight: TiledWeight) -> int:
    """Rows of a weight whose values fill _STRETCH_BYTES, a multiple of a tile's rows."""
    row_bytes = max(1, weight.values.nbytes // max(1, weight.rows))
    tiles = max(1, _STRETCH_BYTES // row_bytes // weight.shape.rows)
    return tiles * weight.shape.rows


def filled(x: Array, token_unit: int, column_unit: int) -> Array:
    """`x`, filled up with zeros to multiples of the units."""
    rows, columns = (
        -(-size // unit) * unit
        for size, unit in zip(x.shape, (token_unit, column_unit), strict=True)
    )
    if (rows, columns) == x.shape:
        return x
    whole = aligned_empty(rows * columns).reshape(rows, columns)
    whole[: len(x), : x.shape[1]] = x
    whole[len(x) :] = 0
    whole[:, x.shape[1] :] = 0
    return whole
