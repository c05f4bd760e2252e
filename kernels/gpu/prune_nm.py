"""N:M selection and packing of a dense weight, both directions in one pass over it.

The result is bit for bit that of `cosparse.spec.pack` with axis 1 (rows of W) and axis 0 (rows of
W^T) followed by `prepare`. A tile is as wide as the groups of one or more position words, whose groups
lie eight apart, so that every word is written whole by one program.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from cosparse.spec import ShapeError, UnsupportedError
from cosparse.spec.errors import unknown_name

from .checks import check_device, check_dtype, launch_on
from .layouts import CHUNK_WORDS, WORD_ENTRIES, NMRows, gathers_nm, nm_words

TRITON_DTYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
}
SELECT_DTYPES = ("float16", "bfloat16", "float32")
MIN_TILE = 64


@triton.jit
def tile_places(first_word, N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr):
    """Positions along the grouped axis of a tile of LANES words from `first_word` on.

    Order of the tile: (8 // N groups of a word, LANES words, M places of a group).
    """
    place = tl.arange(0, 8 // N * LANES * M)
    word = first_word + (place // M) % LANES
    group = (word // 8) * (64 // N) + (place // (LANES * M)) * 8 + word % 8
    return group * M + place % M


@triton.jit
def magnitude_keys(value, SELECT: tl.constexpr):
    """Integer magnitudes of float32 values rounded to the selection dtype, NaN highest."""
    if SELECT == "float16":
        rounded = value.to(tl.float16)
        key = (rounded.to(tl.int16, bitcast=True) & 0x7FFF).to(tl.int32)
    elif SELECT == "bfloat16":
        bits = value.to(tl.int32, bitcast=True)
        key = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0x7FFF
    else:
        key = value.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return tl.where(value != value, 0x7FFFFFFF, key)


@triton.jit
def keep_in_groups(key, place, N: tl.constexpr):
    """Slot of every kept entry and -1 elsewhere. key, place: (before, M, after), place < M.

    N times the largest key, of equal ones the one of least place; kept entries are numbered by place.
    """
    M: tl.constexpr = key.shape[1]
    kept = key < 0
    for _ in tl.static_range(N):
        best = tl.max(tl.where(kept, -1, key), axis=1, keep_dims=True)
        first = tl.min(tl.where((key == best) & (kept == 0), place, M), axis=1, keep_dims=True)
        kept = kept | (place == first)
    slot = tl.zeros_like(key) - 1
    left = kept
    for s in tl.static_range(N):
        first = tl.min(tl.where(left, place, M), axis=1, keep_dims=True)
        slot = tl.where(place == first, s, slot)
        left = left & (place != first)
    return slot


@triton.jit
def prune_nm_kernel(
    dense_ptr, values_ptr, positions_ptr, t_values_ptr, t_positions_ptr,
    rows, columns, words, t_words,
    N: tl.constexpr, M: tl.constexpr, LANES: tl.constexpr,
    DTYPE: tl.constexpr, SELECT: tl.constexpr,
    FORWARD: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """A square tile of W: words of its rows (FORWARD) and of its columns (BACKWARD).

    Values are stored as their bits in DTYPE, NaN as cosparse.spec stores it.
    """
    PER_WORD: tl.constexpr = 8 // N
    GROUPS: tl.constexpr = PER_WORD * LANES
    SIDE: tl.constexpr = GROUPS * M
    row_word = tl.program_id(0) * LANES
    column_word = tl.program_id(1) * LANES
    row = tile_places(row_word, N, M, LANES)
    column = tile_places(column_word, N, M, LANES)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    at = dense_ptr + row[:, None].to(tl.int64) * columns + column[None, :]
    stored = tl.load(at, mask=inside, other=0.0)
    value = stored.to(tl.float32)
    key = magnitude_keys(value, SELECT)
    rounded = value.to(DTYPE)
    if tl.float32 == DTYPE:
        out = tl.where(value != value, 0x7FC00000, rounded.to(tl.int32, bitcast=True))
    else:
        canonical: tl.constexpr = 0x7E00 if tl.float16 == DTYPE else 0x7FC0
        out = tl.where(value != value, canonical, rounded.to(tl.int16, bitcast=True))
    out = out.to(values_ptr.dtype.element_ty)
    place = tl.arange(0, SIDE)
    spot = place % M
    entry = (place // (LANES * M)) * N
    lane = (place // M) % LANES
    lanes = tl.arange(0, LANES)
    zero = tl.zeros((SIDE, SIDE), tl.int32)
    if FORWARD:
        grouped = tl.reshape(key, (SIDE * GROUPS, M, 1))
        spots = tl.reshape(zero + spot[None, :], (SIDE * GROUPS, M, 1))
        slot = tl.reshape(keep_in_groups(grouped, spots, N), (SIDE, SIDE))
        live = (column // M * M < columns)[None, :] & (row < rows)[:, None]
        base = row[:, None].to(tl.int64) * words
        target = (base + column_word + lane[None, :]) * 8 + entry[None, :] + slot
        whole = (row < rows)[:, None] & (slot >= 0)
        tl.store(values_ptr + target, out, mask=whole)
        nibble = tl.where((slot >= 0) & live, spot[None, :] << ((entry[None, :] + slot) * 4), 0)
        word = tl.sum(tl.reshape(nibble, (SIDE, PER_WORD, LANES, M)), axis=3)
        word = tl.sum(word, axis=1)
        spread = positions_ptr + base + column_word + lanes[None, :]
        tl.store(spread, word, mask=(row < rows)[:, None] & (lanes >= 0)[None, :])
    if BACKWARD:
        grouped = tl.reshape(key, (GROUPS, M, SIDE))
        spots = tl.reshape(zero + spot[:, None], (GROUPS, M, SIDE))
        slot = tl.reshape(keep_in_groups(grouped, spots, N), (SIDE, SIDE))
        live = (row // M * M < rows)[:, None] & (column < columns)[None, :]
        base = column[None, :].to(tl.int64) * t_words
        target = (base + row_word + lane[:, None]) * 8 + entry[:, None] + slot
        whole = (column < columns)[None, :] & (slot >= 0)
        tl.store(t_values_ptr + target, out, mask=whole)
        nibble = tl.where((slot >= 0) & live, spot[:, None] << ((entry[:, None] + slot) * 4), 0)
        word = tl.sum(tl.reshape(nibble, (PER_WORD, LANES, M, SIDE)), axis=2)
        word = tl.sum(word, axis=0)
        spread = t_positions_ptr + base + row_word + lanes[:, None]
        tl.store(spread, word, mask=(column < columns)[None, :] & (lanes >= 0)[:, None])


@dataclass(frozen=True)
class NMCopies:
    """The packed copies of one weight (out, in). forward: rows of W; backward: rows of W^T."""

    forward: NMRows | None
    backward: NMRows | None


def prune_nm(
    weight: Tensor,
    n: int,
    m: int,
    *,
    dtype: torch.dtype | None = None,
    select_dtype: str = "float16",
    forward: bool = True,
    backward: bool = True,
) -> NMCopies:
    """Keep the n largest of every m entries along each asked direction; W is read once.

    weight: (rows, columns). dtype: of the kept values, by default the weight's. select_dtype: what
    magnitudes are rounded to before they compare (equal ones: the lower index). Raises ShapeError,
    UnsupportedError.
    """
    if weight.dim() != 2 or 0 in weight.shape:
        raise ShapeError(f"expected a weight (rows, columns), got {tuple(weight.shape)}")
    if not gathers_nm(n, m):
        raise UnsupportedError(
            f"expected N of 1, 2, 4, 8 and M of 2, 4, 8, 16 with N <= M, got {n}:{m}"
        )
    if select_dtype not in SELECT_DTYPES:
        raise UnsupportedError(unknown_name("selection dtype", select_dtype, SELECT_DTYPES))
    target = dtype or weight.dtype
    check_dtype(target)
    check_device(weight)
    weight = weight.detach().contiguous()
    rows, columns = weight.shape
    copies = [
        _empty_rows(shape, n, m, target, weight.device) if wanted else None
        for shape, wanted in (((rows, columns), forward), ((columns, rows), backward))
    ]
    ahead, back = (copy or next(filter(None, copies), None) for copy in copies)
    if ahead is None or back is None:
        return NMCopies(None, None)
    lanes = lanes_of(n, m)
    grid = (nm_words(rows, n, m) // lanes, nm_words(columns, n, m) // lanes)
    integer = torch.int16 if target.itemsize == 2 else torch.int32
    with launch_on(weight):
        prune_nm_kernel[grid](
            weight, ahead.values.view(integer), ahead.positions,
            back.values.view(integer), back.positions,
            rows, columns, nm_words(columns, n, m), nm_words(rows, n, m),
            N=n, M=m, LANES=lanes, DTYPE=TRITON_DTYPES[target], SELECT=select_dtype,
            FORWARD=forward, BACKWARD=backward, num_warps=8,
        )  # fmt: skip
    return NMCopies(*copies)


def lanes_of(n: int, m: int) -> int:
    """Position words side by side in a tile: enough for a side of MIN_TILE, at most a chunk."""
    width = WORD_ENTRIES // n * m
    return min(CHUNK_WORDS, max(1, MIN_TILE // width))


def _empty_rows(
    shape: tuple[int, int], n: int, m: int, dtype: torch.dtype, device: torch.device
) -> NMRows:
    words = nm_words(shape[1], n, m)
    values = torch.empty((shape[0], words * WORD_ENTRIES), dtype=dtype, device=device)
    positions = torch.empty((shape[0], words), dtype=torch.int32, device=device)
    return NMRows(values, positions, n, m, shape)
