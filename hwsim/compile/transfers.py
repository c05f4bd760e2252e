"""Transfers and MATMUL registers of a nest's blocks: integer functions shared by emission and timing.

A transfer is (dram, run_bytes, count0, stride0, count1, stride1, count2, stride2, row_bytes,
row_words). An indexed block is named by its position along each blocked axis: g group, ib images,
yb token rows, ty and tx taps, cb channels, b columns.
"""

from typing import Any

from hwsim.constants import BLOCK_INDEX_BYTES, DRAM_ALIGNMENT_BYTES
from hwsim.isa import Lhs
from hwsim.jit import compiled

from .state import (
    ROLE_B,
    ROLE_CB,
    ROLE_G,
    ROLE_IB,
    ROLE_TX,
    ROLE_TY,
    ROLE_YB,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
)

COLUMN = int(Lhs.COLUMN)


@compiled
def ceil_div(a: int, b: int) -> int:
    """Quotient rounded up."""
    return -(-a // b)


@compiled
def round_up(a: int, b: int) -> int:
    """Smallest multiple of b that is at least a."""
    return -(-a // b) * b


@compiled
def block_size(position: int, block: int, total: int) -> int:
    """Entries of the block at `position`; the last one may be shorter."""
    return min(block, total - position * block)


@compiled
def resident(first: int, tokens: int, stride: int, taps: int, step: int, size: int) -> Any:
    """Pixel rows (or columns) that a block's tokens read: (low, count, origin, stride) in them.

    With one tap and a stride only the rows that are read are loaded, as rows of stride 1. At least
    one row is resident, also where a block reads nothing but padding.
    """
    if taps == 1 and stride > 1:
        low = max(0, ceil_div(-first, stride))
        high = min(tokens, (size - 1 - first) // stride + 1)
        if high <= low:
            return 0, 1, size, stride
        return first + low * stride, high - low, -low, 1
    reach = (taps - 1) * step
    low = min(max(first + min(reach, 0), 0), size - 1)
    high = min(max(first + (tokens - 1) * stride + max(reach, 0) + 1, low + 1), size)
    return low, high - low, first - low, stride


@compiled
def patch(nest: Any, yb: int, ty: int, tx: int) -> Any:
    """((low, rows, origin, stride) along y, the same along x) of a block's resident pixels.

    Whole pixel rows are resident unless the kernel is one pixel wide.
    """
    rows = block_size(yb, nest.block_h, nest.out_h)
    taps = block_size(ty, nest.block_taps_y, nest.taps_y)
    first = nest.origin_y + yb * nest.block_h * nest.stride_y
    first += ty * nest.block_taps_y * nest.step_y
    along_y = resident(first, rows, nest.stride_y, taps, nest.step_y, nest.in_h)
    origin_x = nest.origin_x + tx * nest.block_taps_x * nest.step_x
    if nest.taps_x == 1 and nest.stride_x > 1:
        along_x = resident(origin_x, nest.out_w, nest.stride_x, 1, 0, nest.in_w)
    else:
        along_x = (0, nest.in_w, origin_x, nest.stride_x)
    return along_y, along_x


@compiled
def slice_bytes(nest: Any, cb: int) -> int:
    """DRAM bytes of a pixel's channel block."""
    return round_up(2 * block_size(cb, nest.block_channels, nest.channels), 16)


@compiled
def _one_tap_row(nest: Any, ty: int) -> bool:
    return bool(block_size(ty, nest.block_taps_y, nest.taps_y) == 1)


@compiled
def act_transfer(nest: Any, g: int, ib: int, yb: int, ty: int, tx: int, cb: int, lanes: int) -> Any:
    """LOAD of the pixels and channels of one block. lanes: of an activation word."""
    (y, rows, _, _), (x, width, _, _) = patch(nest, yb, ty, tx)
    images = block_size(ib, nest.block_images, nest.images)
    sub_y = nest.stride_y if _one_tap_row(nest, ty) else 1
    sub_x = nest.stride_x if nest.taps_x == 1 and nest.stride_x > 1 else 1
    size = slice_bytes(nest, cb)
    dram = nest.act + g * nest.act_group + ib * nest.block_images * nest.act_image
    dram += y * nest.act_row + x * nest.act_pixel + 2 * cb * nest.block_channels
    row_words = ceil_div(size, 2 * lanes)
    if size == nest.act_pixel and sub_x == 1:
        line = width * nest.act_pixel
        if sub_y == 1 and line == nest.act_row:
            if rows * line == nest.act_image:
                return dram, images * nest.act_image, 1, 0, 1, 0, 1, 0, size, row_words
            run = rows * line
            return dram, run, images, nest.act_image, 1, 0, 1, 0, size, row_words
        stride = sub_y * nest.act_row
        return dram, line, rows, stride, images, nest.act_image, 1, 0, size, row_words
    step = sub_x * nest.act_pixel
    return (
        dram,
        size,
        width,
        step,
        rows,
        sub_y * nest.act_row,
        images,
        nest.act_image,
        size,
        row_words,
    )


@compiled
def entries_of(nest: Any, channels: int) -> int:
    """Entries of the right operand for a run of channels of one tap."""
    return ceil_div(channels, nest.m) * nest.n if nest.packed else channels


@compiled
def column_bytes(nest: Any, b: int) -> int:
    """DRAM bytes of one entry's columns in block b."""
    if nest.segments > 0:
        return nest.wgt_entry
    columns = block_size(b, nest.block_columns, nest.columns)
    return round_up(2 * columns, nest.wgt_align)


@compiled
def wgt_transfer(
    nest: Any, g: int, ib: int, yb: int, ty: int, tx: int, cb: int, b: int, lanes: int
) -> Any:
    """LOAD of the right operand's values. lanes: of a weight word, C."""
    size = column_bytes(nest, b)
    row_words = ceil_div(size, 2 * lanes)
    dram = nest.wgt + g * nest.wgt_group + 2 * b * nest.block_columns
    if nest.segments > 0:
        run = nest.segments * nest.segment_channels * nest.wgt_entry
        dram = nest.wgt + g * nest.wgt_group + b * run
        return dram, run, 1, 0, 1, 0, 1, 0, nest.wgt_entry, ceil_div(nest.wgt_entry, 2 * lanes)
    if nest.lhs == COLUMN:
        images = block_size(ib, nest.block_images, nest.images)
        rows = block_size(yb, nest.block_h, nest.out_h)
        token = (ib * nest.block_images * nest.out_h + yb * nest.block_h) * nest.out_w
        dram += token * nest.wgt_entry
        tokens = images * rows * nest.out_w
        if size == nest.wgt_entry:
            return dram, tokens * size, 1, 0, 1, 0, 1, 0, size, row_words
        return dram, size, tokens, nest.wgt_entry, 1, 0, 1, 0, size, row_words
    taps_y = block_size(ty, nest.block_taps_y, nest.taps_y)
    taps_x = block_size(tx, nest.block_taps_x, nest.taps_x)
    entries = entries_of(nest, block_size(cb, nest.block_channels, nest.channels))
    dram += ty * nest.block_taps_y * nest.wgt_tap_y + tx * nest.block_taps_x * nest.wgt_tap_x
    dram += entries_of(nest, cb * nest.block_channels) * nest.wgt_entry
    if size == nest.wgt_entry:
        run = entries * size
        return dram, run, taps_x, nest.wgt_tap_x, taps_y, nest.wgt_tap_y, 1, 0, size, row_words
    return (
        dram,
        size,
        entries,
        nest.wgt_entry,
        taps_x,
        nest.wgt_tap_x,
        taps_y,
        nest.wgt_tap_y,
        size,
        row_words,
    )


@compiled
def table_offset(nest: Any, lanes: int) -> int:
    """Words from the first value of a block row to its segment table."""
    return nest.segments * nest.segment_channels * ceil_div(nest.wgt_entry, 2 * lanes)


@compiled
def table_bytes(nest: Any) -> int:
    """DRAM bytes of a block row's segment table."""
    return round_up(nest.segments * BLOCK_INDEX_BYTES, DRAM_ALIGNMENT_BYTES)


@compiled
def table_transfer(nest: Any, g: int, b: int) -> Any:
    """LOAD of a block row's segment table."""
    size = table_bytes(nest)
    dram = nest.table + (g * ceil_div(nest.columns, nest.block_columns) + b) * size
    return dram, size, 1, 0, 1, 0, 1, 0, size, 1


@compiled
def idx_transfer(nest: Any, values: Any) -> Any:
    """LOAD of the indices that belong to a transfer of values: a quarter of its bytes."""
    return (
        nest.idx + (values[0] - nest.wgt) // 4,
        values[1] // 4,
        values[2],
        values[3] // 4,
        values[4],
        values[5] // 4,
        values[6],
        values[7] // 4,
        values[8] // 4,
        values[9],
    )


@compiled
def result_columns(nest: Any, b: int, lanes: int) -> int:
    """Columns that a MATMUL computes: the block's, up to whole 16-byte pieces of what is stored.

    lanes: of an accumulator word, C. A word that holds a whole piece has its idle banks at +0.
    """
    columns = block_size(b, nest.block_columns, nest.columns)
    piece = 4 if nest.lhs == COLUMN else 8
    return columns if lanes >= piece else round_up(columns, piece)


@compiled
def out_transfer(
    nest: Any, g: int, ib: int, yb: int, ty: int, tx: int, cb: int, b: int, lanes: int
) -> Any:
    """STORE of one block of the result. lanes: of an accumulator word, C."""
    columns = block_size(b, nest.block_columns, nest.columns)
    row_words = ceil_div(result_columns(nest, b, lanes), lanes)
    dram = nest.out + g * nest.out_group
    if nest.lhs == COLUMN:
        size = round_up(4 * columns, 16)
        dram += ty * nest.block_taps_y * nest.out_image + tx * nest.block_taps_x * nest.out_row
        dram += cb * nest.block_channels * nest.out_pixel + 4 * b * nest.block_columns
        inner = block_size(cb, nest.block_channels, nest.channels)
        middle = block_size(tx, nest.block_taps_x, nest.taps_x)
        outer = block_size(ty, nest.block_taps_y, nest.taps_y)
    else:
        size = round_up(2 * columns, 16)
        dram += ib * nest.block_images * nest.out_image + yb * nest.block_h * nest.out_row
        dram += 2 * b * nest.block_columns
        inner = nest.out_w
        middle = block_size(yb, nest.block_h, nest.out_h)
        outer = block_size(ib, nest.block_images, nest.images)
    if size != nest.out_pixel:
        return (
            dram,
            size,
            inner,
            nest.out_pixel,
            middle,
            nest.out_row,
            outer,
            nest.out_image,
            size,
            row_words,
        )
    line = inner * size
    if line != nest.out_row:
        return dram, line, middle, nest.out_row, outer, nest.out_image, 1, 0, size, row_words
    if middle * line != nest.out_image:
        return dram, middle * line, outer, nest.out_image, 1, 0, 1, 0, size, row_words
    return dram, outer * nest.out_image, 1, 0, 1, 0, 1, 0, size, row_words


@compiled
def transfer_of(nest: Any, stream: int, at: Any, act_lanes: int, lanes: int) -> Any:
    """The transfer of a stream's block. at: blocks along each role."""
    cb, tx, ty, b = at[ROLE_CB], at[ROLE_TX], at[ROLE_TY], at[ROLE_B]
    yb, ib, g = at[ROLE_YB], at[ROLE_IB], at[ROLE_G]
    if stream == STREAM_ACT:
        return act_transfer(nest, g, ib, yb, ty, tx, cb, act_lanes)
    if stream == STREAM_OUT:
        return out_transfer(nest, g, ib, yb, ty, tx, cb, b, lanes)
    if stream == STREAM_TABLE:
        return table_transfer(nest, g, b)
    values = wgt_transfer(nest, g, ib, yb, ty, tx, cb, b, lanes)
    return idx_transfer(nest, values) if stream == STREAM_IDX else values


@compiled
def matmul_registers(nest: Any, at: Any, act_lanes: int, lanes: int, registers: Any) -> None:
    """Fill `registers`, in the order of isa.REGISTERS[Unit.STCE]. at: blocks along each role."""
    cb, tx, ty, b = at[ROLE_CB], at[ROLE_TX], at[ROLE_TY], at[ROLE_B]
    yb, ib = at[ROLE_YB], at[ROLE_IB]
    (_, rows, origin_y, stride_y), (_, width, origin_x, stride_x) = patch(nest, yb, ty, tx)
    channels = block_size(cb, nest.block_channels, nest.channels)
    columns = result_columns(nest, b, lanes)
    pixel_words = ceil_div(slice_bytes(nest, cb), 2 * act_lanes)
    registers[0] = nest.flow
    registers[1] = nest.lhs
    registers[2] = nest.packed
    registers[3] = nest.segments > 0
    registers[4] = nest.n
    registers[5] = nest.m
    registers[6] = nest.ic
    registers[7] = nest.ir
    registers[8] = block_size(ib, nest.block_images, nest.images)
    registers[9] = block_size(yb, nest.block_h, nest.out_h)
    registers[10] = nest.out_w
    registers[11] = rows
    registers[12] = width
    registers[13] = stride_y
    registers[14] = stride_x
    registers[15] = origin_y
    registers[16] = origin_x
    registers[17] = block_size(ty, nest.block_taps_y, nest.taps_y)
    registers[18] = block_size(tx, nest.block_taps_x, nest.taps_x)
    registers[19] = nest.step_y
    registers[20] = nest.step_x
    registers[21] = nest.segment_channels if nest.segments > 0 else channels
    registers[22] = pixel_words
    registers[23] = width * pixel_words
    registers[24] = rows * width * pixel_words
    registers[25] = columns
    registers[26] = ceil_div(column_bytes(nest, b), 2 * lanes)
    registers[27] = ceil_div(columns, lanes)
    registers[28] = nest.segments
