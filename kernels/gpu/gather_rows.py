"""Products with unstructured rows for few tokens: one gathered activation an entry."""

import triton
import triton.language as tl
from torch import Tensor

from .checks import check_product, empty_output, grid_size, launch_on
from .configs import GatherConfig
from .device import gather_tokens, store_rows
from .k_major import packed_tokens
from .layouts import SparseRows


@triton.jit
def rows_gather_kernel(
    x_ptr, values_ptr, columns_ptr, starts_ptr, counts_ptr, y_ptr, rows, columns, tokens,
    LOADS: tl.constexpr, PACK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """y[t, r] for BLOCK_ROWS rows and LOADS * PACK tokens; a thread owns one word a step.

    x_ptr: (token blocks, columns, LOADS) words. A padding entry never meets an activation.
    """
    TOKENS: tl.constexpr = LOADS * PACK
    first_row = tl.program_id(0) * BLOCK_ROWS
    token_block = tl.program_id(1)
    thread = tl.arange(0, BLOCK_ROWS * BLOCK_WORDS)
    row, lane = first_row + thread // BLOCK_WORDS, thread % BLOCK_WORDS
    entry = tl.arange(0, 8)
    begin = tl.load(starts_ptr + row, mask=row < rows, other=0)
    words = tl.load(starts_ptr + row + 1, mask=row < rows, other=0) - begin
    count = tl.load(counts_ptr + row, mask=row < rows, other=0)
    place = ((begin + lane).to(tl.int64) * 8)[:, None] + entry[None, :]
    rank = ((lane // 8) * 64 + lane % 8)[:, None] + (entry * 8)[None, :]
    x_at = x_ptr + token_block.to(tl.int64) * columns * LOADS
    if TOKENS == 1:
        acc = tl.zeros((BLOCK_ROWS * BLOCK_WORDS,), tl.float32)
    else:
        acc = tl.zeros((BLOCK_ROWS * BLOCK_WORDS, TOKENS), tl.float32)
    longest = tl.max(words, axis=0)
    for start in range(0, longest, BLOCK_WORDS * UNROLL):
        for u in tl.static_range(UNROLL):
            word = start + u * BLOCK_WORDS
            inside = (word + lane < words)[:, None] & (entry >= 0)[None, :]
            at = place + word * 8
            value = tl.load(values_ptr + at, mask=inside, other=0.0, eviction_policy="evict_first")
            index = tl.load(columns_ptr + at, mask=inside, other=0, eviction_policy="evict_first")
            met = rank + word * 8 < count[:, None]
            column = index.to(tl.uint16, bitcast=True).to(tl.int64)
            x = gather_tokens(x_at + column * LOADS, met, LOADS, PACK, values_ptr.dtype.element_ty)
            value = value.to(tl.float32)
            if TOKENS == 1:
                acc += tl.sum(value * x, axis=1)
            else:
                acc += tl.sum(value[:, :, None] * x, axis=1)
    store_rows(acc, y_ptr, first_row, token_block, rows, tokens, TOKENS, BLOCK_ROWS, BLOCK_WORDS)


def gather_rows(weight: SparseRows, x: Tensor, config: GatherConfig) -> Tensor:
    """Y = x W^T. x: (tokens, columns) in the values' dtype; returns (tokens, rows).

    Sums in float32. Raises ShapeError for another device, dtype or shape.
    """
    x = check_product(weight, x)
    rows, columns = weight.shape
    packed = packed_tokens(x, config.tokens)
    y = empty_output(x, rows)
    with launch_on(x):
        rows_gather_kernel[(grid_size(rows, config.block_rows), packed.blocks)](
            packed.words, weight.values, weight.columns, weight.starts, weight.counts, y,
            rows, columns, len(x), LOADS=packed.loads, PACK=packed.pack,
            BLOCK_ROWS=config.block_rows, BLOCK_WORDS=config.block_words, UNROLL=config.unroll,
            num_warps=config.warps,
        )  # fmt: skip
    return y
