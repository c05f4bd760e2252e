"""Device functions that bring a tile of a compact weight into dense form, in registers.

A tile is (BLOCK_ROWS, BLOCK_COLUMNS) of W, its columns in the order of `tile_columns`. N:M rows put the
columns of LANES position words side by side (`tile_places`); bitmaps keep their order.
"""

import triton
import triton.language as tl

from .prune_nm import tile_places


@triton.jit
def tile_columns(tile, N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr):
    """Columns of W in the tile's order. N = 0: a bitmap of LANES words of 32 columns."""
    if N == 0:
        column = tile * (LANES * 32) + tl.arange(0, LANES * 32)
    else:
        column = tile_places(tile * LANES, N, M, LANES)
    return column


@triton.jit
def decode_tile(
    values_ptr, positions_ptr, offsets_ptr, starts_ptr, row, tile, rows, words,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, NATIVE: tl.constexpr,
):  # fmt: skip
    """The dense tile of these rows, absent entries +0."""
    at, met = entry_places(
        positions_ptr, offsets_ptr, starts_ptr, row, tile, rows, words, N, M, LANES, NATIVE
    )
    return tl.load(values_ptr + at, mask=met, other=0.0)


@triton.jit
def entry_places(
    positions_ptr, offsets_ptr, starts_ptr, row, tile, rows, words,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr, NATIVE: tl.constexpr,
):  # fmt: skip
    """Where the value of every place of the tile is stored, and whether it is present."""
    inside = row < rows
    base = row.to(tl.int64) * words
    if N == 0:
        place = tl.arange(0, LANES * 32)
        word = tile * LANES + place // 32
        live = inside[:, None] & (word < words)[None, :]
        bits = tl.load(positions_ptr + base[:, None] + word[None, :], mask=live, other=0)
        before = bits & ((1 << (place % 32)) - 1)[None, :]
        offset = tl.load(offsets_ptr + base[:, None] + word[None, :], mask=live, other=0)
        start = tl.load(starts_ptr + row, mask=inside, other=0)
        at = start[:, None] + (offset.to(tl.int32) & 0xFFFF) + popcount(before, NATIVE)
        met = ((bits >> (place % 32)[None, :]) & 1) != 0
    else:
        place = tl.arange(0, 8 // N * LANES * M)
        word = tile * LANES + (place // M) % LANES
        entry = (place // (LANES * M)) * N
        at = base[:, None] + word[None, :]
        packed = tl.load(positions_ptr + at, mask=inside[:, None] & (place >= 0)[None, :], other=0)
        nibbles = packed >> (entry * 4)[None, :]
        slot = tl.zeros_like(packed) - 1
        for s in tl.static_range(N):
            slot = tl.where(((nibbles >> (4 * s)) & 15) == (place % M)[None, :], s, slot)
        at = at * 8 + (entry[None, :] + slot)
        met = inside[:, None] & (slot >= 0)
    return at, met


@triton.jit
def popcount(bits, NATIVE: tl.constexpr):
    """Ones of int32 words. NATIVE: the GPU's instruction, which the interpreter lacks."""
    if NATIVE:
        count = tl.inline_asm_elementwise(
            "popc.b32 $0, $1;", "=r,r", [bits], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        pairs = bits - ((bits >> 1) & 0x55555555)
        nibbles = (pairs & 0x33333333) + ((pairs >> 2) & 0x33333333)
        octets = (nibbles + (nibbles >> 4)) & 0x0F0F0F0F
        sixteens = octets + (octets >> 8)
        count = (sixteens + (sixteens >> 16)) & 0x3F
    return count
