"""Activations with tokens innermost: what gathers of columns read with one access."""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import grid_size, launch_on

_MAX_LOADS = 4
_WORD_BYTES = 8


@triton.jit
def k_major_kernel(
    x_ptr, out_ptr, tokens, columns,
    WIDTH: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """out[b, k, t] = x[b * WIDTH + t, k], +0 beyond `tokens`."""
    token = tl.program_id(1) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    column = tl.program_id(0) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    source = token[:, None].to(tl.int64) * columns + column[None, :]
    inside = (token[:, None] < tokens) & (column[None, :] < columns)
    x = tl.load(x_ptr + source, mask=inside, other=0.0)
    block, place = token // WIDTH, token % WIDTH
    target = (
        block[None, :].to(tl.int64) * columns * WIDTH + column[:, None] * WIDTH + place[None, :]
    )
    tl.store(out_ptr + target, tl.trans(x), mask=(column[:, None] < columns))


@dataclass(frozen=True)
class PackedTokens:
    """words: (blocks, columns, loads) integers of `pack` tokens each, or x itself for one token."""

    words: Tensor
    blocks: int
    loads: int
    pack: int


def k_major(x: Tensor, width: int) -> Tensor:
    """x: (tokens, columns). Returns (ceil(tokens / width), columns, width), +0 beyond the tokens."""
    tokens, columns = x.shape
    blocks = grid_size(tokens, width)
    out = torch.empty((blocks, columns, width), dtype=x.dtype, device=x.device)
    block_tokens = min(width, 64)
    block_columns = 64
    with launch_on(x):
        k_major_kernel[(grid_size(columns, block_columns), blocks * (width // block_tokens))](
            x, out, tokens, columns,
            WIDTH=width, BLOCK_TOKENS=block_tokens, BLOCK_COLUMNS=block_columns, num_warps=4,
        )  # fmt: skip
    return out


def packed_tokens(x: Tensor, tokens: int) -> PackedTokens:
    """Pack blocks of `tokens` (1, 2, 4, 8 or 16) tokens into words of at most 64 bits."""
    if tokens == 1 and len(x) == 1:
        return PackedTokens(x, 1, 1, 1)
    pack = min(tokens, _WORD_BYTES // x.element_size())
    loads = tokens // pack
    assert pack > 1 and loads <= _MAX_LOADS
    integer = torch.int64 if pack * x.element_size() == _WORD_BYTES else torch.int32
    blocks = k_major(x, tokens)
    return PackedTokens(blocks.view(integer), len(blocks), loads, pack)
