"""INT8 x INT8 products of weights whose rows share their columns in fours: layout, panels, threads.

    values       [quad][4 rows][4 columns]  int8, as packed; 0 fills up the last quad of a tile
    indices      [quad][4 columns]          uint16, lines of the panel
    pointers     [tile]                     int64, first quad of four rows, and the end
    corrections  [row]                      int32, -128 times the row's sum

Blocks of 4x1 are one tile's column each; V:N:M and larger blocks are cut into the same. The rule of the
activations is that of `kernels.quantise`; results are the same on every vector unit, bit for bit.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numba import njit

from cosparse.spec import UnsupportedError
from cosparse.spec.dtypes import INT8_MAX, Array

from ..quantise import Per, scales_of
from .int8_assembly import (
    GROUP_ROWS,
    QUAD,
    SQUARE,
    TILE_ROWS,
    PanelShape,
    multiply_kernel,
    pack_kernel,
)
from .isa import AVX2, AVX512, PORTABLE, Isa, has_dot_instruction
from .linear import filled
from .panels import address, aligned_empty
from .recycled import borrowed
from .rows import OPTIONS
from .tiled import TileShape, tile
from .workers import bounds, run_parts

MOST_COLUMNS = min((1 << 16) - 1, (1 << 31) // (INT8_MAX * 128))
"""K of which any sum fits into 32 bits, and any index into 16."""
_CHUNK_BYTES = 1 << 19
"""Weight that meets all panels while it stays in the second-level cache."""


@dataclass(frozen=True, eq=False)
class Int8Weight:
    """A linear weight in the layout of the INT8 kernels; see the module's text."""

    values: Array
    indices: Array
    pointers: Array
    corrections: Array
    row_scales: Array
    columns: int
    """K, of all convolution groups together."""

    @property
    def rows(self) -> int:
        """Rows of a product, with those that fill the last group."""
        return len(self.corrections)


def int8_weight(prepared: Any, prepare: Any) -> Int8Weight:
    """The layout of a `prepared.PreparedWeight`; prepare: `prepared.prepare`.

    Raises UnsupportedError for a weight that is not int8, whose rows share no columns, or that is too wide.
    """
    packed = prepared.packed
    if packed.dtype != "int8":
        raise UnsupportedError(
            f"INT8 product: expected a weight packed as int8, got {packed.dtype}"
        )
    if prepared.tile_rows != TILE_ROWS:
        raise UnsupportedError(
            f"INT8 product: expected rows that share their columns in fours (blocks of 4x1, 16x16, V:N:M "
            f"with V = 4, ...), got '{packed.pattern}'"
        )
    if prepared.panel_rows > MOST_COLUMNS:
        raise UnsupportedError(
            f"INT8 product: expected at most {MOST_COLUMNS} columns, got {prepared.panel_rows}"
        )
    whole = prepare(replace(packed, scales=np.ones_like(packed.scales)))
    shape = TileShape(TILE_ROWS, shared=True, k_tile=(1 << 16) - 1, unroll=QUAD)
    tiled = tile(shape, whole.tap_pointers, whole.columns, whole.values, whole.panel_rows)
    values = tiled.values.reshape(-1, QUAD, TILE_ROWS).swapaxes(1, 2).astype(np.int8)
    indices = np.where(tiled.indices == shape.k_tile, 0, tiled.indices).astype(np.uint16)
    pointers = tiled.pointers[0] // QUAD
    return Int8Weight(
        np.ascontiguousarray(values),
        np.ascontiguousarray(indices.reshape(-1, QUAD)),
        np.ascontiguousarray(pointers),
        -128 * _row_sums(values, pointers),
        _row_scales(prepared, tiled.rows),
        prepared.panel_rows,
    )


def _row_sums(values: Array, pointers: Array) -> Array:
    running = np.zeros((len(values) + 1, TILE_ROWS), np.int32)
    np.cumsum(values.sum(axis=2, dtype=np.int32), axis=0, dtype=np.int32, out=running[1:])
    return (running[pointers[1:]] - running[pointers[:-1]]).reshape(-1)


def _row_scales(prepared: Any, rows: int) -> Array:
    """Scales (conv_groups, lanes) by row of the product, where every group's last tile is filled up."""
    scales = prepared.packed.scales
    by_group = np.zeros((len(scales), prepared.rows // max(1, len(scales))), np.float32)
    by_group[:, : scales.shape[1]] = scales
    found = np.zeros(rows, np.float32)
    found[: prepared.rows] = by_group.reshape(-1)
    return found


def multiply_int8(weight: Int8Weight, x: Array, per: Per, isa: Isa, threads: int) -> Array:
    """x: (tokens, K) float32; returns (tokens, weight.rows) float32.

    Raises DataError for activations that are not finite.
    """
    scales, inverses = scales_of(_peaks(x.view(np.uint32)).view(np.float32), per)
    if not x.size or not weight.rows:
        return np.zeros((len(x), weight.rows), np.float32)
    if isa is PORTABLE:
        return _portable(weight, x, scales, inverses, threads)
    found = list(_runs(len(x), isa))
    tokens = sum(shape.tokens * count for shape, count in found)
    whole = filled(x, tokens, SQUARE)
    y = aligned_empty(tokens * weight.rows).reshape(tokens, weight.rows)
    by_token = np.zeros((2, tokens), np.float32)
    by_token[:, : len(x)] = scales, inverses
    first = 0
    for shape, count in found:
        last = first + shape.tokens * count
        _multiply_run(
            weight, whole[first:last], by_token[:, first:last], y[first:last], shape, threads
        )
        first = last
    return y[: len(x)]


@lru_cache
def _runs(tokens: int, isa: Isa) -> tuple[tuple[PanelShape, int], ...]:
    """Panels of every width that a batch is cut into: wide ones, then what is left."""
    wide, middle, narrow = panel_shapes(isa)
    panels, left = divmod(tokens, wide.tokens)
    if left > wide.tokens // 2:
        panels, left = panels + 1, 0
    few = left <= narrow.tokens
    rest = (narrow, int(left > 0)) if few else (middle, -(-left // middle.tokens))
    return tuple((shape, count) for shape, count in ((wide, panels), rest) if count)


def panel_shapes(isa: Isa, *, instruction: bool | None = None) -> tuple[PanelShape, ...]:
    """Wide, middle and narrow; instruction: whether vpdpbusd may be used, None where the processor has it."""
    lanes, rows = {AVX512: (16, 4), AVX2: (8, 2)}[isa]
    if instruction is None:
        instruction = has_dot_instruction(isa)
    shapes = ((lanes, 4, rows), (lanes, 1, 4), (4, 1, 4))
    return tuple(PanelShape(*one, instruction=instruction) for one in shapes)


def _multiply_run(
    weight: Int8Weight, x: Array, by_token: Array, y: Array, shape: PanelShape, threads: int
) -> None:
    """Panels of one shape. x, y: whole panels of tokens; by_token: scales and inverses.

    Threads share the panels where they come out even, else the rows, and then each packs all panels.
    """
    panels, groups = len(x) // shape.tokens, weight.rows // GROUP_ROWS
    size = x.shape[1] * shape.tokens
    x_bytes, y_bytes = (shape.tokens * side.strides[0] for side in (x, y))
    x_at, y_at = address(x), address(y)
    scales_at, inverses_at = (address(row) for row in by_token)
    chunk = max(1, _CHUNK_BYTES * groups // max(1, weight.values.nbytes))
    planes = weight.values, weight.indices, weight.pointers, weight.corrections, weight.row_scales
    values, indices, pointers, corrections, row_scales = map(address, planes)
    pack, multiply = pack_kernel(shape), multiply_kernel(shape)

    def run(part: tuple[int, int, int, int]) -> None:
        first, last, group, end = part
        token, row = 4 * shape.tokens * first, 4 * GROUP_ROWS * group
        words = -(-(last - first) * size // 4)
        with borrowed(words, max(SQUARE, GROUP_ROWS) * shape.tokens) as (panel, scratch):
            pack(
                last - first, x_at + first * x_bytes, x.strides[0], x.shape[1] // SQUARE,
                inverses_at + token, address(scratch), address(panel),
            )  # fmt: skip
            multiply(
                end - group, chunk, last - first, address(panel), size, values, indices,
                pointers + 8 * GROUP_ROWS // TILE_ROWS * group, corrections + row, row_scales + row,
                scales_at + token, address(scratch), y_at + first * y_bytes + row, y.strides[0],
            )  # fmt: skip

    if panels % threads == 0:
        run_parts(run, [(*part, 0, groups) for part in bounds(panels, threads)])
    else:
        run_parts(run, [(0, panels, *part) for part in bounds(groups, threads)])


@njit(**OPTIONS)
def _peaks(bits):  # type: ignore[no-untyped-def]
    """Largest magnitude of every token as bits of float32, of which NaN and infinity are the largest."""
    found = np.zeros(len(bits), np.uint32)
    for token in range(len(bits)):
        peak = np.uint32(0)
        for i in range(bits.shape[1]):
            peak = max(peak, bits[token, i] & np.uint32(0x7FFFFFFF))
        found[token] = peak
    return found


def _portable(weight: Int8Weight, x: Array, scales: Array, inverses: Array, threads: int) -> Array:
    """The same by Numba's loops."""
    panel = np.ascontiguousarray(np.rint(x * inverses[:, None]).astype(np.int8).T)
    sums = np.zeros((weight.rows, len(x)), np.int32)
    on_tiles = partial(_add_tiles, weight.pointers, weight.indices, weight.values, panel, sums)
    tiles = bounds(len(weight.pointers) - 1, threads)
    run_parts(lambda part: on_tiles(*part), tiles)
    results: Array = sums.T.astype(np.float32) * weight.row_scales * scales[:, None]
    return results


@njit(**OPTIONS)
def _add_tiles(pointers, indices, values, panel, sums, first, last):  # type: ignore[no-untyped-def]
    """Tiles [first, last). panel: (K, tokens) int8, sums: (rows, tokens) int32, zeros."""
    for tile_ in range(first, last):
        for quad in range(pointers[tile_], pointers[tile_ + 1]):
            for k in range(4):
                line = panel[indices[quad, k]]
                for row in range(4):
                    weight = np.int32(values[quad, row, k])
                    total = sums[4 * tile_ + row]
                    for token in range(len(total)):
                        total[token] += weight * np.int32(line[token])
