"""Products with N:M rows for few tokens: one gathered activation an entry, no tensor core.

Work is proportional to entries, not to the dense size: expanding a compact tile costs more
instructions a dense element than a GPU with this much bandwidth has time for.
"""

import triton
import triton.language as tl
from torch import Tensor

from .checks import check_product, empty_output, grid_size, launch_on
from .configs import GatherConfig
from .device import gather_tokens, store_rows
from .k_major import packed_tokens
from .layouts import WORD_ENTRIES, NMRows


@triton.jit
def nm_gather_kernel(
    x_ptr, values_ptr, positions_ptr, y_ptr, rows, columns, words, tokens,
    N: tl.constexpr, M: tl.constexpr, LOADS: tl.constexpr, PACK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr, UNROLL: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """y[t, r] for BLOCK_ROWS rows and LOADS * PACK tokens; a thread owns one word a step.

    x_ptr: (token blocks, columns, LOADS) words; EVEN: blocks cover rows and words exactly and no
    group is cut or padded, so nothing is masked. Tensors are flat over (row, word), so that words
    and their entries have the same threads.
    """
    TOKENS: tl.constexpr = LOADS * PACK
    STEP_COLUMNS: tl.constexpr = 8 // N * M
    first_row = tl.program_id(0) * BLOCK_ROWS
    token_block = tl.program_id(1)
    thread = tl.arange(0, BLOCK_ROWS * BLOCK_WORDS)
    row, lane = first_row + thread // BLOCK_WORDS, thread % BLOCK_WORDS
    entry = tl.arange(0, 8)
    shift = (entry * 4)[None, :]
    lane_column = ((lane // 8) * (64 // N) + lane % 8) * M
    entry_column = ((entry // N) * (8 * M))[None, :]
    place = row.to(tl.int64) * words + lane
    positions_at = positions_ptr + place
    values_at = values_ptr + (place * 8)[:, None] + entry[None, :]
    x_at = x_ptr + (token_block.to(tl.int64) * columns + lane_column)[:, None] * LOADS
    if TOKENS == 1:
        acc = tl.zeros((BLOCK_ROWS * BLOCK_WORDS,), tl.float32)
    else:
        acc = tl.zeros((BLOCK_ROWS * BLOCK_WORDS, TOKENS), tl.float32)
    for start in range(0, words, BLOCK_WORDS * UNROLL):
        for u in tl.static_range(UNROLL):
            word = start + u * BLOCK_WORDS
            if EVEN:
                packed = tl.load(positions_at + word, eviction_policy="evict_first")
                value = tl.load(values_at + word * 8, eviction_policy="evict_first")
                met = None
            else:
                inside = (row < rows) & (word + lane < words)
                packed = tl.load(positions_at + word, mask=inside, other=0)
                whole = inside[:, None] & (entry >= 0)[None, :]
                value = tl.load(values_at + word * 8, mask=whole, other=0.0)
            position = (packed[:, None].to(tl.uint32) >> shift) & 15
            if not EVEN:
                column = lane_column[:, None] + word * STEP_COLUMNS + entry_column
                met = inside[:, None] & (column + position.to(tl.int32) < columns)
            at = x_at + word * (STEP_COLUMNS * LOADS)
            at = at + position.to(tl.int64) * LOADS + entry_column * LOADS
            x = gather_tokens(at, met, LOADS, PACK, values_ptr.dtype.element_ty)
            value = value.to(tl.float32)
            if TOKENS == 1:
                acc += tl.sum(value * x, axis=1)
            else:
                acc += tl.sum(value[:, :, None] * x, axis=1)
    store_rows(acc, y_ptr, first_row, token_block, rows, tokens, TOKENS, BLOCK_ROWS, BLOCK_WORDS)


def gather_nm(weight: NMRows, x: Tensor, config: GatherConfig) -> Tensor:
    """Y = x W^T. x: (tokens, columns) in the values' dtype; returns (tokens, rows).

    Sums in float32. Raises ShapeError for another device, dtype or shape.
    """
    x = check_product(weight, x)
    rows, columns = weight.shape
    packed = packed_tokens(x, config.tokens)
    y = empty_output(x, rows)
    step = config.block_words * config.unroll
    even = (
        rows % config.block_rows == 0
        and weight.words % step == 0
        and weight.words * WORD_ENTRIES * weight.m == columns * weight.n
    )

    with launch_on(x):
        nm_gather_kernel[(grid_size(rows, config.block_rows), packed.blocks)](
            packed.words, weight.values, weight.positions, y, rows, columns, weight.words, len(x),
            N=weight.n, M=weight.m, LOADS=packed.loads, PACK=packed.pack,
            BLOCK_ROWS=config.block_rows, BLOCK_WORDS=config.block_words, UNROLL=config.unroll,
            EVEN=even, num_warps=config.warps,
        )  # fmt: skip
    return y
