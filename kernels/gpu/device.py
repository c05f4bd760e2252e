"""Device functions that several kernels share: packed activations and sums split among programs."""

import triton
import triton.language as tl


@triton.jit
def gather_tokens(at, mask, LOADS: tl.constexpr, PACK: tl.constexpr, dtype: tl.constexpr):
    """Activations of one column an element for LOADS * PACK tokens: float32 (*at.shape, tokens).

    at: pointers to a column's LOADS integer words of PACK tokens each; with PACK = 1 to plain
    activations, and then the result has no token axis. mask: like at, or None for all.
    """
    if LOADS == 1:
        words = _load(at, mask)
    elif LOADS == 2:
        words = tl.join(_load(at, mask), _load(at + 1, mask))
    else:
        even = tl.join(_load(at, mask), _load(at + 2, mask))
        odd = tl.join(_load(at + 1, mask), _load(at + 3, mask))
        words = tl.join(even, odd)
    if PACK == 1:
        x = words.to(tl.float32)
    else:
        x = tl.reshape(_widen(words, PACK, dtype), at.shape + [LOADS * PACK])
    return x


@triton.jit
def _load(at, mask):
    if mask is None:
        words = tl.load(at)
    else:
        words = tl.load(at, mask=mask, other=0)
    return words


@triton.jit
def _widen(words, PACK: tl.constexpr, dtype: tl.constexpr):
    """Integer words of PACK floats to float32, little-endian, along new last axes."""
    if PACK == 2 and dtype != tl.float32:
        x = _widen_pairs(words, dtype)
    else:
        halves = tl.join(words.to(tl.int32), (words >> 32).to(tl.int32))
        if dtype == tl.float32:
            x = halves.to(tl.float32, bitcast=True)
        else:
            x = _widen_pairs(halves, dtype)
    return x


@triton.jit
def _widen_pairs(pairs, dtype: tl.constexpr):
    """int32 words of two 16-bit floats; a bfloat16 is the upper half of a float32."""
    if dtype == tl.bfloat16:
        low = (pairs << 16).to(tl.float32, bitcast=True)
        high = (pairs & -65536).to(tl.float32, bitcast=True)
    else:
        low = pairs.to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
        high = (pairs >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    return tl.join(low, high)


@triton.jit
def store_rows(
    acc, y_ptr, first_row, token_block, rows, tokens,
    TOKENS: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_WORDS: tl.constexpr,
):  # fmt: skip
    """Add the threads of every row and store y[t, r]. acc: (BLOCK_ROWS * BLOCK_WORDS[, TOKENS])."""
    row = first_row + tl.arange(0, BLOCK_ROWS)
    if TOKENS == 1:
        total = tl.sum(tl.reshape(acc, (BLOCK_ROWS, BLOCK_WORDS)), axis=1)
        tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty), mask=row < rows)
    else:
        total = tl.sum(tl.reshape(acc, (BLOCK_ROWS, BLOCK_WORDS, TOKENS)), axis=1)
        token = token_block * TOKENS + tl.arange(0, TOKENS)
        at = y_ptr + token[None, :].to(tl.int64) * rows + row[:, None]
        inside = (token[None, :] < tokens) & (row[:, None] < rows)
        tl.store(at, total.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def store_sum(
    acc, out_at, mask, partial_ptr, tickets_ptr, tile, split,
    SPLITS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Store the sum over all splits of a tile; the program that arrives last adds, in fixed order.

    acc: (HEIGHT, WIDTH) float32; partial_ptr: (tiles, SPLITS, HEIGHT, WIDTH) float32; tickets_ptr:
    arrivals by tile, zero before and after a launch.
    """
    if SPLITS == 1:
        tl.store(out_at, acc.to(out_at.dtype.element_ty), mask=mask)
    else:
        place = tl.arange(0, HEIGHT)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
        base = partial_ptr + tile.to(tl.int64) * (SPLITS * HEIGHT * WIDTH)
        tl.store(base + split * (HEIGHT * WIDTH) + place, acc)
        tl.debug_barrier()  # every thread has stored before one of them takes the ticket
        arrived = tl.atomic_add(tickets_ptr + tile, 1, sem="acq_rel", scope="gpu")
        if arrived == SPLITS - 1:
            tl.store(tickets_ptr + tile, 0)
            total = tl.load(base + place, cache_modifier=".cg")
            for other in tl.static_range(1, SPLITS):
                total += tl.load(base + other * (HEIGHT * WIDTH) + place, cache_modifier=".cg")
            tl.store(out_at, total.to(out_at.dtype.element_ty), mask=mask)
