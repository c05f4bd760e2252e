"""How a nest is cut into blocks: one absolute list of tilings, and which of them a configuration holds.

A tiling is an interleave and a block size class. The blocks follow from the product, the array and
the class alone, so a larger scratchpad or interleave limit only adds tilings to those that run.
"""

from typing import Any

from hwsim.constants import BLOCK_INDEX_BYTES, DRAM_ALIGNMENT_BYTES, VALUE_BYTES
from hwsim.jit import compiled

from .state import ACT_LANES, LANES, ROWS
from .transfers import (
    COLUMN,
    ceil_div,
    column_bytes,
    entries_of,
    result_columns,
    round_up,
    slice_bytes,
    table_offset,
)

PE_BYTES = (32, 128, 256, 512, 1024, 2048, 8192)
"""Size classes: bytes of an operand's block for each PE of the array; a result's block has half of it."""

INTERLEAVES = ((1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (8, 1), (4, 2), (16, 1), (8, 2))
"""(Ic, Ir), powers of two: each column or row count of a power of two is met without idle slots."""

_TRIED_IMAGES = 32

TILINGS = len(PE_BYTES) * len(INTERLEAVES)
"""Tilings of one product and dataflow."""


PIECE_CHANNELS = DRAM_ALIGNMENT_BYTES // VALUE_BYTES
"""Channels of the smallest piece of a pixel that a transfer moves."""


@compiled
def act_words(nest: Any, lanes: int) -> int:
    """Activation words that the largest block occupies. lanes: of a word."""
    taps = min(nest.block_taps_y, nest.taps_y)
    reach = (taps - 1) * abs(nest.step_y)
    rows = min((min(nest.block_h, nest.out_h) - 1) * nest.stride_y + reach + 1, nest.in_h)
    if taps == 1 and nest.stride_y > 1:
        rows = min(nest.block_h, nest.out_h)
    width = nest.out_w if nest.taps_x == 1 and nest.stride_x > 1 else nest.in_w
    images = min(nest.block_images, nest.images)
    return images * rows * width * ceil_div(slice_bytes(nest, 0), 2 * lanes)


@compiled
def wgt_words(nest: Any, lanes: int) -> int:
    """Weight words that the largest block occupies."""
    row_words = ceil_div(column_bytes(nest, 0), 2 * lanes)
    if nest.segments > 0:
        table = ceil_div(round_up(nest.segments * BLOCK_INDEX_BYTES, 16), 2 * lanes)
        return table_offset(nest, lanes) + table
    if nest.lhs == COLUMN:
        return block_tokens(nest) * row_words
    taps = min(nest.block_taps_y, nest.taps_y) * min(nest.block_taps_x, nest.taps_x)
    return taps * entries_of(nest, min(nest.block_channels, nest.channels)) * row_words


@compiled
def acc_words(nest: Any, lanes: int) -> int:
    """Accumulator words of the largest block of the result."""
    rows = block_tokens(nest)
    if nest.lhs == COLUMN:
        taps = min(nest.block_taps_y, nest.taps_y) * min(nest.block_taps_x, nest.taps_x)
        rows = taps * min(nest.block_channels, nest.channels)
    return rows * ceil_div(result_columns(nest, 0, lanes), lanes)


@compiled
def block_tokens(nest: Any) -> int:
    """Tokens of the largest spatial block."""
    return min(nest.block_images, nest.images) * min(nest.block_h, nest.out_h) * nest.out_w


@compiled
def fits(nest: Any, shape: Any, interleave: int) -> bool:
    """Whether every block lies in half of its scratchpad and the interleave is within the limit."""
    return bool(
        nest.ic * nest.ir <= interleave
        and act_words(nest, shape[0]) <= shape[2]
        and wgt_words(nest, shape[1]) <= shape[3]
        and acc_words(nest, shape[1]) <= shape[4]
    )


@compiled
def set_blocks(nest: Any, ic: int, ir: int, limit: int, shape: Any) -> bool:
    """Cut `nest` for one tiling. False where even the smallest blocks exceed `limit` bytes."""
    nest.ic = ic
    nest.ir = ir
    act_limit = max(limit // (2 * shape[0]), 1)
    wgt_limit = max(limit // (2 * shape[1]), 1)
    acc_limit = max(limit // (8 * shape[1]), 1)
    if nest.lhs == COLUMN:
        done = _cut_weight_gradient(nest, act_limit, wgt_limit, acc_limit, shape)
    else:
        done = _cut_product(nest, act_limit, wgt_limit, acc_limit, shape)
    if done:
        _set_order(nest)
    return done


@compiled
def _column_unit(nest: Any, lanes: int) -> int:
    """Fewest columns of a block: one tile, in whole index bursts."""
    return min(
        round_up(max(nest.ic * lanes, nest.wgt_align // 2), nest.wgt_align // 2), nest.columns
    )


@compiled
def _smallest_spatial(nest: Any) -> None:
    nest.block_images = 1
    nest.block_h = 1


@compiled
def _whole_reduction(nest: Any) -> None:
    nest.block_taps_y = nest.taps_y
    nest.block_taps_x = nest.taps_x
    nest.block_channels = nest.channels


@compiled
def _cut_product(nest: Any, act_limit: int, wgt_limit: int, acc_limit: int, shape: Any) -> bool:
    """FF and BP: K whole if it can be, then columns up to a square block, then tokens."""
    unit = _column_unit(nest, shape[1])
    if nest.segments > 0:
        unit = nest.block_columns
    nest.block_columns = unit
    _smallest_spatial(nest)
    _whole_reduction(nest)
    if not _cut_reduction(nest, act_limit, wgt_limit, shape):
        return False
    if acc_words(nest, shape[1]) > acc_limit:
        return False
    if nest.segments == 0:
        _grow_columns(nest, wgt_limit, acc_limit, shape)
    _grow_spatial(nest, act_limit, wgt_limit, acc_limit, shape)
    return True


@compiled
def _cut_reduction(nest: Any, act_limit: int, wgt_limit: int, shape: Any) -> bool:
    """Split K in the canonical order until the smallest block fits: tap rows, taps, channels."""
    if _operands_fit(nest, act_limit, wgt_limit, shape):
        return True
    if nest.segments > 0:
        return False
    nest.block_taps_y = 1
    if _operands_fit(nest, act_limit, wgt_limit, shape):
        return True
    nest.block_taps_x = 1
    unit = max(nest.m, shape[0], PIECE_CHANNELS)
    while not _operands_fit(nest, act_limit, wgt_limit, shape):
        if nest.block_channels <= unit:
            return False
        nest.block_channels = round_up(ceil_div(nest.block_channels, 2), unit)
    return True


@compiled
def _operands_fit(nest: Any, act_limit: int, wgt_limit: int, shape: Any) -> bool:
    return bool(act_words(nest, shape[0]) <= act_limit and wgt_words(nest, shape[1]) <= wgt_limit)


@compiled
def _grow_columns(nest: Any, wgt_limit: int, acc_limit: int, shape: Any) -> None:
    """Double the columns while operand and result fit and the result's block stays wider than tall."""
    while nest.block_columns < nest.columns:
        before = nest.block_columns
        nest.block_columns = min(2 * before, nest.columns)
        square = nest.block_columns * nest.block_columns <= 2 * acc_limit * shape[1]
        held = wgt_words(nest, shape[1]) <= wgt_limit and acc_words(nest, shape[1]) <= acc_limit
        if not (square and held):
            nest.block_columns = before
            return


@compiled
def _grow_spatial(nest: Any, act_limit: int, wgt_limit: int, acc_limit: int, shape: Any) -> None:
    """Double the token rows while everything fits, then take as many images as do."""
    while nest.block_h < nest.out_h:
        before = nest.block_h
        nest.block_h = min(2 * before, nest.out_h)
        if not _all_fit(nest, act_limit, wgt_limit, acc_limit, shape):
            nest.block_h = before
            return
    if nest.lhs != COLUMN:
        _fill_tiles(nest, act_limit, acc_limit, shape)
        return
    while nest.block_images < nest.images:
        before = nest.block_images
        nest.block_images = min(2 * before, nest.images)
        if not _all_fit(nest, act_limit, wgt_limit, acc_limit, shape):
            nest.block_images = before
            return


@compiled
def _fill_tiles(nest: Any, act_limit: int, acc_limit: int, shape: Any) -> None:
    """Of the largest counts of images that fit, take the one that leaves the fewest rows empty."""
    nest.block_images = 1
    most = min(act_limit // act_words(nest, shape[ACT_LANES]), nest.images)
    most = min(most, acc_limit // acc_words(nest, shape[LANES]))
    span, fewest = nest.ir * shape[ROWS], -1
    for images in range(most, max(0, most // 2, most - _TRIED_IMAGES), -1):
        whole, rest = nest.images // images, nest.images % images
        tokens = nest.out_h * nest.out_w
        tiles = whole * ceil_div(images * tokens, span) + ceil_div(rest * tokens, span)
        if fewest < 0 or tiles < fewest:
            fewest = tiles
            nest.block_images = images


@compiled
def _all_fit(nest: Any, act_limit: int, wgt_limit: int, acc_limit: int, shape: Any) -> bool:
    operands = _operands_fit(nest, act_limit, wgt_limit, shape)
    return bool(operands and acc_words(nest, shape[1]) <= acc_limit)


@compiled
def _cut_weight_gradient(
    nest: Any, act_limit: int, wgt_limit: int, acc_limit: int, shape: Any
) -> bool:
    """WU: the result's block first (taps, channels, columns), then as many tokens as fit."""
    nest.block_columns = _column_unit(nest, shape[1])
    _smallest_spatial(nest)
    _whole_reduction(nest)
    unit = max(nest.ir * shape[0], PIECE_CHANNELS)
    while acc_words(nest, shape[1]) > acc_limit or act_words(nest, shape[0]) > act_limit:
        if nest.block_channels > unit:
            nest.block_channels = round_up(ceil_div(nest.block_channels, 2), unit)
        elif nest.block_taps_y > 1:
            nest.block_taps_y = 1
        elif nest.block_taps_x > 1:
            nest.block_taps_x = 1
        else:
            return False
    if wgt_words(nest, shape[1]) > wgt_limit:
        return False
    _grow_columns(nest, wgt_limit, acc_limit, shape)
    _grow_spatial(nest, act_limit, wgt_limit, acc_limit, shape)
    return True


@compiled
def _set_order(nest: Any) -> None:
    """Rows outer or columns outer: the one that reads less."""
    rows = ceil_div(nest.images, nest.block_images) * ceil_div(nest.out_h, nest.block_h)
    reduction = ceil_div(nest.taps_y, nest.block_taps_y) * ceil_div(nest.taps_x, nest.block_taps_x)
    reduction *= ceil_div(nest.channels, nest.block_channels)
    if nest.lhs == COLUMN:
        rows, reduction = reduction, rows
    columns = ceil_div(nest.columns, nest.block_columns)
    act = nest.images * nest.act_image
    wgt = nest.wgt_entry * _entries(nest)
    act_passes = columns if reduction > 1 or columns == 1 else 1
    nest.order = 0
    rows_outer = act * act_passes + wgt * (rows if columns > 1 or reduction > 1 else 1)
    wgt_passes = rows if reduction > 1 or rows == 1 else 1
    columns_outer = wgt * wgt_passes + act * (columns if rows > 1 or reduction > 1 else 1)
    if columns_outer < rows_outer:
        nest.order = 1


@compiled
def _entries(nest: Any) -> int:
    if nest.lhs == COLUMN:
        return nest.images * nest.out_h * nest.out_w
    return nest.taps_y * nest.taps_x * entries_of(nest, nest.channels)
