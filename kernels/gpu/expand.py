"""N:M rows to a dense weight: for many tokens, one pass over the weight and then a dense product."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import check_device, grid_size, launch_on
from .layouts import NMRows


@triton.jit
def nm_expand_kernel(
    values_ptr, positions_ptr, dense_ptr, rows, columns, words,
    N: tl.constexpr, M: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr,
):  # fmt: skip
    """Pointers are to integers as wide as a value: bits are moved, never rounded.

    Entries of a group have different positions, so that their sum is a union.
    """
    GROUPS: tl.constexpr = 8 // N
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    word = tl.program_id(1) * BLOCK_WORDS + tl.arange(0, BLOCK_WORDS)
    entry = tl.arange(0, 8)
    place = row[:, None].to(tl.int64) * words + word[None, :]
    inside = (row[:, None] < rows) & (word[None, :] < words)
    packed = tl.load(positions_ptr + place, mask=inside, other=0)
    at = values_ptr + place[:, :, None] * 8 + entry[None, None, :]
    value = tl.load(at, mask=inside[:, :, None] & (entry >= 0)[None, None, :], other=0)
    position = (packed[:, :, None] >> (entry * 4)[None, None, :]) & 15
    spot = tl.arange(0, M)
    bits = tl.where(position[:, :, :, None] == spot[None, None, None, :], value[:, :, :, None], 0)
    if N > 1:
        split = tl.reshape(bits, (BLOCK_ROWS, BLOCK_WORDS, GROUPS, N, M))
        bits = tl.sum(split, axis=3)
    group = ((word // 8) * (64 // N) + word % 8)[:, None] + (tl.arange(0, GROUPS) * 8)[None, :]
    column = group[None, :, :, None] * M + spot[None, None, None, :]
    out = dense_ptr + row[:, None, None, None].to(tl.int64) * columns + column
    mask = inside[:, :, None, None] & (column < columns)
    tl.store(out, bits.to(dense_ptr.dtype.element_ty), mask=mask)


def expand_nm(
    weight: NMRows, out: Tensor | None = None, *, block_rows: int = 4, warps: int = 4
) -> Tensor:
    """The dense weight (rows, columns), absent entries +0; `out`: where to write it."""
    check_device(weight.values)
    rows, columns = weight.shape
    if out is None:
        out = torch.empty(weight.shape, dtype=weight.values.dtype, device=weight.values.device)
    block_words = 32
    integer = torch.int16 if out.element_size() == 2 else torch.int32
    grid = (grid_size(rows, block_rows), grid_size(weight.words, block_words))
    with launch_on(out):
        nm_expand_kernel[grid](
            weight.values.view(integer), weight.positions, out.view(integer),
            rows, columns, weight.words, N=weight.n, M=weight.m,
            BLOCK_ROWS=block_rows, BLOCK_WORDS=block_words, num_warps=warps,
        )  # fmt: skip
    return out
