"""Products with vector-wise N:M rows: V rows share their columns, so nothing is expanded.

FLOPs and bytes fall by N/M at every batch: a tile of V rows is a dense matrix over gathered
activations. Many tokens are first brought into K-major order, where a gathered column is contiguous.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import check_pair, check_product, empty_output, grid_size, launch_on
from .configs import TileConfig
from .device import store_sum
from .k_major import k_major
from .layouts import KEPT_ALIGNMENT, MAX_TILES, VectorWise


@triton.jit
def vector_wise_kernel(
    x_ptr, values_ptr, columns_ptr, y_ptr, partial_ptr, tickets_ptr,
    rows, columns, kept, width, tokens,
    V: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_KEPT: tl.constexpr,
    SPLITS: tl.constexpr, K_MAJOR: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """A tile (V, BLOCK_TOKENS) of y^T. x_ptr: (token blocks, columns, BLOCK_TOKENS) if K_MAJOR."""
    row_block = tl.program_id(0)
    token_block = tl.program_id(1)
    split = tl.program_id(2)
    row = row_block * V + tl.arange(0, V)
    lane = tl.arange(0, BLOCK_TOKENS)
    token = token_block * BLOCK_TOKENS + lane
    steps = tl.cdiv(width, BLOCK_KEPT)
    first = steps * split // SPLITS
    last = steps * (split + 1) // SPLITS
    if K_MAJOR:
        x_at = x_ptr + token_block.to(tl.int64) * columns * BLOCK_TOKENS
    else:
        x_at = x_ptr
    acc = tl.zeros((V, BLOCK_TOKENS), tl.float32)
    for step in range(first, last):
        place = step * BLOCK_KEPT + tl.arange(0, BLOCK_KEPT)
        column = tl.load(columns_ptr + row_block * width + place)
        w = tl.load(values_ptr + row[:, None].to(tl.int64) * width + place[None, :])
        if K_MAJOR:
            at = x_at + column[:, None] * BLOCK_TOKENS + lane[None, :]
            if EVEN:
                x = tl.load(at)
            else:
                x = tl.load(at, mask=(place < kept)[:, None], other=0.0)
        else:
            at = x_at + token[None, :] * columns + column[:, None]
            x = tl.load(at, mask=(place < kept)[:, None] & (token < tokens)[None, :], other=0.0)
        acc = tl.dot(w, x, acc, input_precision="ieee")
    at = y_ptr + token[None, :].to(tl.int64) * rows + row[:, None]
    inside = (row[:, None] < rows) & (token[None, :] < tokens)
    tile = row_block * tl.num_programs(1) + token_block
    store_sum(acc, at, inside, partial_ptr, tickets_ptr, tile, split, SPLITS, V, BLOCK_TOKENS)


@triton.jit
def vector_gradient_kernel(
    dy_ptr, x_ptr, columns_ptr, dw_ptr, rows, columns, kept, width, tokens,
    V: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_KEPT: tl.constexpr,
):  # fmt: skip
    """DW of a tile (V, BLOCK_KEPT) of stored entries. x_ptr: (token blocks, columns, BLOCK_TOKENS)."""
    row = tl.program_id(1) * V + tl.arange(0, V)
    place = tl.program_id(0) * BLOCK_KEPT + tl.arange(0, BLOCK_KEPT)
    lane = tl.arange(0, BLOCK_TOKENS)
    column = tl.load(columns_ptr + tl.program_id(1) * width + place)
    acc = tl.zeros((V, BLOCK_KEPT), tl.float32)
    for block in range(tl.cdiv(tokens, BLOCK_TOKENS)):
        token = block * BLOCK_TOKENS + lane
        dy_at = dy_ptr + token[:, None].to(tl.int64) * rows + row[None, :]
        dy = tl.load(dy_at, mask=(token < tokens)[:, None] & (row < rows)[None, :], other=0.0)
        x_at = x_ptr + (tl.cast(block, tl.int64) * columns + column[:, None]) * BLOCK_TOKENS
        x = tl.load(x_at + lane[None, :], mask=(place < kept)[:, None], other=0.0)
        acc = tl.dot(tl.trans(dy), tl.trans(x), acc, input_precision="ieee")
    at = dw_ptr + row[:, None].to(tl.int64) * width + place[None, :]
    tl.store(at, acc.to(dw_ptr.dtype.element_ty))


def vector_wise(weight: VectorWise, x: Tensor, config: TileConfig) -> Tensor:
    """Y = x W^T. x: (tokens, columns) in the values' dtype; returns (tokens, rows).

    Sums in float32, in a fixed order. Raises ShapeError for another device, dtype or shape.
    """
    x = check_product(weight, x)
    rows, columns = weight.shape
    tokens, blocks = len(x), len(weight.columns)
    token_blocks = grid_size(tokens, config.block_tokens)
    width = weight.columns.shape[1]
    block_k = config.block_k if width % config.block_k == 0 else KEPT_ALIGNMENT
    source = k_major(x, config.block_tokens) if config.k_major else x
    y = empty_output(x, rows)
    partial = split_partials(y, config, blocks * token_blocks, weight.v)
    with launch_on(x):
        vector_wise_kernel[(blocks, token_blocks, config.splits)](
            source, weight.values, weight.columns, y, partial, weight.tickets,
            rows, columns, weight.kept, width, tokens,
            V=weight.v, BLOCK_TOKENS=config.block_tokens, BLOCK_KEPT=block_k,
            SPLITS=config.splits, K_MAJOR=config.k_major, EVEN=weight.kept == width,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return y


def vector_gradient(weight: VectorWise, dy: Tensor, x: Tensor, config: TileConfig) -> Tensor:
    """DW of the stored entries. dy: (tokens, rows), x: (tokens, columns); returns like `values`.

    Padding gets +0. Sums in float32. Raises ShapeError for another device, dtype or shape.
    """
    dy, x = check_pair(weight, dy, x)
    rows, columns = weight.shape
    blocks, width = weight.columns.shape
    dw = torch.empty_like(weight.values)
    source = k_major(x, config.block_tokens)
    with launch_on(x):
        vector_gradient_kernel[(width // KEPT_ALIGNMENT, blocks)](
            dy, source, weight.columns, dw, rows, columns, weight.kept, width, len(x),
            V=weight.v, BLOCK_TOKENS=config.block_tokens, BLOCK_KEPT=KEPT_ALIGNMENT,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return dw


def split_partials(y: Tensor, config: TileConfig, tiles: int, height: int) -> Tensor:
    """Room for the partial sums of a split product; y itself when nothing is split."""
    if config.splits == 1:
        return y
    assert tiles <= MAX_TILES
    size = tiles * config.splits * height * config.block_tokens
    return torch.empty(size, dtype=torch.float32, device=y.device)
