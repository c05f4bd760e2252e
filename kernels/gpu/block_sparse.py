"""Products with square blocks (BSR): y = x W^T, dx = dy W from the same blocks, and dW sampled."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import check_pair, check_product, empty_output, grid_size, launch_on
from .configs import TileConfig
from .device import store_sum
from .layouts import BlockRows
from .vector_wise import split_partials


@triton.jit
def block_rows_kernel(
    x_ptr, values_ptr, starts_ptr, others_ptr, ids_ptr, y_ptr, partial_ptr, tickets_ptr,
    outputs, inputs, tokens,
    SIDE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_TOKENS: tl.constexpr,
    SPLITS: tl.constexpr, TRANSPOSED: tl.constexpr, TOKENS_FIRST: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """A tile of y: SIDE outputs of one block row by BLOCK_TOKENS tokens.

    TRANSPOSED: a block row of W^T, whose blocks are values[ids[j]]^T (then outputs are W's columns).
    TOKENS_FIRST: the tile is (tokens, outputs), for many tokens; else (outputs, tokens).
    EVEN: tokens and inputs fill their tiles, so activations need no mask.
    """
    block_row = tl.program_id(0)
    token_block = tl.program_id(1)
    split = tl.program_id(2)
    output = block_row * SIDE + tl.arange(0, SIDE)
    token = token_block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    inner = tl.arange(0, BLOCK_K)
    lane = tl.arange(0, SIDE)
    PARTS: tl.constexpr = SIDE // BLOCK_K
    begin = tl.load(starts_ptr + block_row) * PARTS
    steps = tl.load(starts_ptr + block_row + 1) * PARTS - begin
    first = begin + steps * split // SPLITS
    last = begin + steps * (split + 1) // SPLITS
    if TOKENS_FIRST:
        acc = tl.zeros((BLOCK_TOKENS, SIDE), tl.float32)
    else:
        acc = tl.zeros((SIDE, BLOCK_TOKENS), tl.float32)
    for step in range(first.to(tl.int64), last.to(tl.int64)):
        block = step // PARTS
        k = (step % PARTS) * BLOCK_K + inner
        other = tl.load(others_ptr + block)
        if TRANSPOSED:
            stored = tl.load(ids_ptr + block).to(tl.int64)
            w = tl.load(values_ptr + stored * (SIDE * SIDE) + k[:, None] * SIDE + lane[None, :])
        else:
            w = tl.load(values_ptr + block * (SIDE * SIDE) + lane[:, None] * SIDE + k[None, :])
        column = other * SIDE + k
        at = x_ptr + token[:, None].to(tl.int64) * inputs + column[None, :]
        if EVEN:
            x = tl.load(at)
        else:
            x = tl.load(at, mask=(token[:, None] < tokens) & (column[None, :] < inputs), other=0.0)
        if TOKENS_FIRST:
            wk = w if TRANSPOSED else tl.trans(w)
            acc = tl.dot(x, wk, acc, input_precision="ieee")
        else:
            wn = tl.trans(w) if TRANSPOSED else w
            acc = tl.dot(wn, tl.trans(x), acc, input_precision="ieee")
    tile = block_row * tl.num_programs(1) + token_block
    if TOKENS_FIRST:
        at = y_ptr + token[:, None].to(tl.int64) * outputs + output[None, :]
        inside = (token[:, None] < tokens) & (output[None, :] < outputs)
        store_sum(
            acc, at, inside, partial_ptr, tickets_ptr, tile, split, SPLITS, BLOCK_TOKENS, SIDE
        )
    else:
        at = y_ptr + token[None, :].to(tl.int64) * outputs + output[:, None]
        inside = (token[None, :] < tokens) & (output[:, None] < outputs)
        store_sum(
            acc, at, inside, partial_ptr, tickets_ptr, tile, split, SPLITS, SIDE, BLOCK_TOKENS
        )


@triton.jit
def block_gradient_kernel(
    dy_ptr, x_ptr, owners_ptr, columns_ptr, dw_ptr, rows, columns, tokens,
    SIDE: tl.constexpr, BLOCK_TOKENS: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """DW of one stored block, (SIDE, SIDE): dy^T x over all tokens; no other block is computed."""
    block = tl.program_id(0)
    lane = tl.arange(0, SIDE)
    row = tl.load(owners_ptr + block) * SIDE + lane
    column = tl.load(columns_ptr + block) * SIDE + lane
    acc = tl.zeros((SIDE, SIDE), tl.float32)
    for start in range(0, tokens, BLOCK_TOKENS):
        token = (start + tl.arange(0, BLOCK_TOKENS)).to(tl.int64)
        dy_at = dy_ptr + token[:, None] * rows + row[None, :]
        x_at = x_ptr + token[:, None] * columns + column[None, :]
        if EVEN:
            dy = tl.load(dy_at)
            x = tl.load(x_at)
        else:
            live = (token < tokens)[:, None]
            dy = tl.load(dy_at, mask=live & (row < rows)[None, :], other=0.0)
            x = tl.load(x_at, mask=live & (column < columns)[None, :], other=0.0)
        acc = tl.dot(tl.trans(dy), x, acc, input_precision="ieee")
    at = dw_ptr + block.to(tl.int64) * SIDE * SIDE + lane[:, None] * SIDE + lane[None, :]
    tl.store(at, acc.to(dw_ptr.dtype.element_ty))


def block_rows(
    weight: BlockRows, x: Tensor, config: TileConfig, *, transposed: bool = False
) -> Tensor:
    """Y = x W^T, or with `transposed` dx = dy W from the same blocks.

    x: (tokens, columns), or (tokens, rows) if transposed; returns (tokens, rows) or (tokens,
    columns). Sums in float32, in a fixed order. Raises ShapeError for another device, dtype or shape.
    """
    x = check_product(weight, x, transposed=transposed)
    outputs, inputs = weight.shape[::-1] if transposed else weight.shape
    starts = weight.column_starts if transposed else weight.row_starts
    others = weight.block_rows if transposed else weight.block_columns
    tokens, side = len(x), weight.side
    token_blocks = grid_size(tokens, config.block_tokens)
    y = empty_output(x, outputs)
    partial = split_partials(y, config, (len(starts) - 1) * token_blocks, side)
    even = tokens % config.block_tokens == 0 and inputs % side == 0
    with launch_on(x):
        block_rows_kernel[(len(starts) - 1, token_blocks, config.splits)](
            x, weight.values, starts, others, weight.block_ids, y, partial, weight.tickets,
            outputs, inputs, tokens,
            SIDE=side, BLOCK_K=min(config.block_k, side), BLOCK_TOKENS=config.block_tokens,
            SPLITS=config.splits, TRANSPOSED=transposed, TOKENS_FIRST=config.tokens_first,
            EVEN=even, num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return y


def block_rows_transposed(weight: BlockRows, dy: Tensor, config: TileConfig) -> Tensor:
    """Dx = dy W. dy: (tokens, rows); returns (tokens, columns)."""
    return block_rows(weight, dy, config, transposed=True)


def block_gradient(weight: BlockRows, dy: Tensor, x: Tensor, config: TileConfig) -> Tensor:
    """DW of the stored blocks. dy: (tokens, rows), x: (tokens, columns); returns like `values`.

    Sums in float32. Raises ShapeError for another device, dtype or shape.
    """
    dy, x = check_pair(weight, dy, x)
    rows, columns = weight.shape
    side, tokens = weight.side, len(x)
    even = tokens % config.block_tokens == 0 and rows % side == 0 and columns % side == 0
    dw = torch.empty_like(weight.values)
    with launch_on(x):
        block_gradient_kernel[(len(weight.values),)](
            dy, x, weight.owners, weight.block_columns, dw, rows, columns, tokens,
            SIDE=side, BLOCK_TOKENS=config.block_tokens, EVEN=even,
            num_warps=config.warps, num_stages=config.stages,
        )  # fmt: skip
    return dw
