"""Products of a tiled weight with many tokens, panel by panel, by the broadcast kernels.

A panel has up to `_MOST_COLUMNS` vectors of tokens. Panels of different widths share a batch, so
that 13 vectors run as 4 + 3 + 3 + 3 and none is filled up. Threads share the panels, or the rows
where there are too few of them.
"""

from typing import Any

from cosparse.spec.dtypes import Array

from .broadcast import broadcast_kernel, chunk_rows
from .panels import aligned_empty
from .tiled import TiledWeight, TileShape
from .workers import bounds, run_parts

Part = tuple[int, int, int, int]
"""First token, vectors of tokens, first row, end of the rows."""


def multiply(weight: TiledWeight, x: Array, lanes: int, accumulators: int, threads: int) -> Array:
    """x: (tokens, K) float32; returns (tokens, weight.rows) on a 64-byte boundary."""
    tokens, rows = len(x), weight.rows
    vectors = -(-tokens // lanes)
    y = aligned_empty(vectors * lanes * rows).reshape(vectors * lanes, rows)
    if not y.size:
        return y[:tokens]
    x = _whole_vectors(x, lanes)
    parts = _parts(vectors, rows, lanes, threads)

    def run(part: Part) -> None:
        first, vectors, row, end = part
        at = first
        for columns in panel_widths(vectors, most_columns(weight.shape, accumulators)):
            _multiply_panel(weight, x[at:], y[at:, row:], columns, lanes, (row, end))
            at += columns * lanes

    run_parts(run, parts)
    return y[:tokens]


def most_columns(shape: TileShape, accumulators: int) -> int:
    """Widest panel, in vectors: the sums of a tile stay in registers."""
    limit = 4 if not shape.shared else 6
    return max(1, min(limit, accumulators // shape.rows))


def panel_widths(vectors: int, most: int) -> list[int]:
    """Vectors of every panel: as few panels as possible, as equal as possible, wide ones first."""
    panels = -(-vectors // most)
    narrow, wide = divmod(vectors, panels)
    return [narrow + 1] * wide + [narrow] * (panels - wide)


def _parts(vectors: int, rows: int, lanes: int, threads: int) -> list[Part]:
    if threads == 1 or vectors >= 2 * threads:
        return [(lanes * a, b - a, 0, rows) for a, b in bounds(vectors, threads)]
    return [(0, vectors, a, b) for a, b in bounds(rows, threads, 2 * lanes)]


def _multiply_panel(
    weight: TiledWeight, x: Array, y: Array, columns: int, lanes: int, rows: tuple[int, int]
) -> None:
    shape = weight.shape
    kernel = broadcast_kernel(shape, columns, lanes)
    panel = aligned_empty(weight.k_tiles * (shape.k_tile + 1) * columns * lanes)
    scratch = aligned_empty(chunk_rows(shape) * columns * lanes)
    first, last = (row // shape.rows for row in rows)
    kernel(
        _address(x), x.strides[0], x.shape[1] // lanes, _address(panel),
        _address(weight.values), _address(weight.indices),
        _address(weight.pointers) + 8 * first, weight.pointers.strides[0],
        last - first, weight.k_tiles, _address(scratch), _address(y), y.strides[0],
    )  # fmt: skip


def _whole_vectors(x: Array, lanes: int) -> Array:
    """`x`, filled up with zeros to multiples of `lanes` on both axes."""
    shape = tuple(_filled(size, lanes) for size in x.shape)
    if shape == x.shape:
        return x
    whole = aligned_empty(shape[0] * shape[1]).reshape(shape)
    whole[: len(x), : x.shape[1]] = x
    whole[len(x) :] = 0
    whole[:, x.shape[1] :] = 0
    return whole


def _filled(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
