"""Products that decode tiles of a compact weight: N:M rows and bitmaps, any number of tokens.

Forward, input gradient from the same forward copy, and the weight gradient of stored entries. Decoding
costs instructions for every dense element, so that these win over dense only where memory is short;
they never store a dense weight.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import check_pair, check_product, empty_output, grid_size, launch_on
from .configs import TileConfig
from .decode import decode_tile, entry_places, tile_columns
from .layouts import WORD_BITS, BitmapRows, NMRows
from .prune_nm import lanes_of

DecodedWeight = NMRows | BitmapRows
BITMAP_LANES = 2
"""Words of a bitmap in a tile: 64 columns."""


@triton.jit
def decoded_kernel(
    x_ptr, values_ptr, positions_ptr, offsets_ptr, starts_ptr, y_ptr,
    rows, columns, words, tokens,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, NATIVE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr,
):  # fmt: skip
    """A tile (BLOCK_ROWS, BLOCK_TOKENS) of y^T = W x^T."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    token = tl.program_id(1) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_TOKENS), tl.float32)
    for step in range(tl.cdiv(words, LANES)):
        w = decode_tile(
            values_ptr, positions_ptr, offsets_ptr, starts_ptr, row, step, rows, words,
            N, M, LANES, NATIVE,
        )  # fmt: skip
        column = tile_columns(step, N, M, LANES)
        at = x_ptr + token[:, None].to(tl.int64) * columns + column[None, :]
        x = tl.load(at, mask=(token < tokens)[:, None] & (column < columns)[None, :], other=0.0)
        acc = tl.dot(w, tl.trans(x), acc, input_precision="ieee")
    at = y_ptr + token[None, :].to(tl.int64) * rows + row[:, None]
    inside = (row < rows)[:, None] & (token < tokens)[None, :]
    tl.store(at, acc.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def decoded_transposed_kernel(
    dy_ptr, values_ptr, positions_ptr, offsets_ptr, starts_ptr, dx_ptr,
    rows, columns, words, tokens,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, NATIVE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """A tile (BLOCK_TOKENS, BLOCK_COLUMNS) of dx = dy W; every program reads all rows of W."""
    tile = tl.program_id(0)
    token = tl.program_id(1) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    acc = tl.zeros((BLOCK_TOKENS, BLOCK_COLUMNS), tl.float32)
    for start in range(0, rows, BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS)
        w = decode_tile(
            values_ptr, positions_ptr, offsets_ptr, starts_ptr, row, tile, rows, words,
            N, M, LANES, NATIVE,
        )  # fmt: skip
        at = dy_ptr + token[:, None].to(tl.int64) * rows + row[None, :]
        dy = tl.load(at, mask=(token < tokens)[:, None] & (row < rows)[None, :], other=0.0)
        acc = tl.dot(dy, w, acc, input_precision="ieee")
    column = tile_columns(tile, N, M, LANES)
    at = dx_ptr + token[:, None].to(tl.int64) * columns + column[None, :]
    inside = (token < tokens)[:, None] & (column < columns)[None, :]
    tl.store(at, acc.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def decoded_gradient_kernel(
    dy_ptr, x_ptr, positions_ptr, offsets_ptr, starts_ptr, dw_ptr,
    rows, columns, words, tokens,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, NATIVE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """DW of the stored entries of a tile (BLOCK_ROWS, BLOCK_COLUMNS); no dense gradient is stored."""
    tile = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tile_columns(tile, N, M, LANES)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for start in range(0, tokens, BLOCK_TOKENS):
        token = (start + tl.arange(0, BLOCK_TOKENS)).to(tl.int64)
        live = (token < tokens)[:, None]
        dy_at = dy_ptr + token[:, None] * rows + row[None, :]
        dy = tl.load(dy_at, mask=live & (row < rows)[None, :], other=0.0)
        x_at = x_ptr + token[:, None] * columns + column[None, :]
        x = tl.load(x_at, mask=live & (column < columns)[None, :], other=0.0)
        acc = tl.dot(tl.trans(dy), x, acc, input_precision="ieee")
    at, met = entry_places(
        positions_ptr, offsets_ptr, starts_ptr, row, tile, rows, words, N, M, LANES, NATIVE
    )
    met = met & (column < columns)[None, :]
    tl.store(dw_ptr + at, acc.to(dw_ptr.dtype.element_ty), mask=met)


def decoded(weight: DecodedWeight, x: Tensor, config: TileConfig) -> Tensor:
    """Y = x W^T. x: (tokens, columns) in the values' dtype; returns (tokens, rows).

    config.block_k: rows of a tile. Sums in float32. Raises ShapeError for another
    device, dtype or shape.
    """
    x = check_product(weight, x)
    rows, columns = weight.shape
    y = empty_output(x, rows)
    planes, shape = _arguments(weight)
    grid = (grid_size(rows, config.block_k), grid_size(len(x), config.block_tokens))
    with launch_on(x):
        decoded_kernel[grid](
            x, weight.values, *planes, y, rows, columns, weight.words, len(x),
            **shape, BLOCK_ROWS=config.block_k, BLOCK_TOKENS=config.block_tokens,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return y


def decoded_transposed(weight: DecodedWeight, dy: Tensor, config: TileConfig) -> Tensor:
    """Dx = dy W from the forward copy. dy: (tokens, rows); returns (tokens, columns).

    config.block_k: rows of a tile. Sums in float32. Raises ShapeError as `decoded`.
    """
    dy = check_product(weight, dy, transposed=True)
    rows, columns = weight.shape
    dx = empty_output(dy, columns)
    planes, shape = _arguments(weight)
    grid = (grid_size(weight.words, shape["LANES"]), grid_size(len(dy), config.block_tokens))
    with launch_on(dy):
        decoded_transposed_kernel[grid](
            dy, weight.values, *planes, dx, rows, columns, weight.words, len(dy),
            **shape, BLOCK_ROWS=config.block_k, BLOCK_TOKENS=config.block_tokens,
            BLOCK_COLUMNS=_tile_width(weight), num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return dx


def decoded_gradient(weight: DecodedWeight, dy: Tensor, x: Tensor, config: TileConfig) -> Tensor:
    """DW of the stored entries. dy: (tokens, rows), x: (tokens, columns); returns like `values`.

    Padding gets +0. config.block_k: rows of a tile. Sums in float32. Raises ShapeError as `decoded`.
    """
    dy, x = check_pair(weight, dy, x)
    rows, columns = weight.shape
    dw = torch.zeros_like(weight.values)
    planes, shape = _arguments(weight)
    grid = (grid_size(weight.words, shape["LANES"]), grid_size(rows, config.block_k))
    with launch_on(x):
        decoded_gradient_kernel[grid](
            dy, x, *planes, dw, rows, columns, weight.words, len(x),
            **shape, BLOCK_ROWS=config.block_k, BLOCK_TOKENS=config.block_tokens,
            BLOCK_COLUMNS=_tile_width(weight), num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return dw


def _tile_width(weight: DecodedWeight) -> int:
    if isinstance(weight, NMRows):
        return 8 // weight.n * weight.m * lanes_of(weight.n, weight.m)
    return BITMAP_LANES * WORD_BITS


def _arguments(weight: DecodedWeight) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, int]]:
    """(positions or bits, offsets, starts) and the constants of the layout."""
    native = not triton.knobs.runtime.interpret
    if isinstance(weight, NMRows):
        planes = (weight.positions, weight.positions, weight.positions)  # N:M reads no other plane
        n, m, lanes = weight.n, weight.m, lanes_of(weight.n, weight.m)
    else:
        planes = (weight.bits, weight.offsets, weight.starts)
        n, m, lanes = 0, 1, BITMAP_LANES
    return planes, {"N": n, "M": m, "LANES": lanes, "NATIVE": native}
