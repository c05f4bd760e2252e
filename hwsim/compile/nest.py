"""A tiled product as plain numbers: what the compiler emits and the timing model evaluates.

A nest is one record of NEST: a matrix product or (sub-)convolution, the blocks that it is cut into
and where its operands lie in DRAM. Its steps run g (conv groups or batch) outermost, then

    order 0   rows of the result, then its columns, then K
    order 1   columns of the result, then its rows, then K

With lhs = ROW the rows are spatial blocks (images, token rows) and K the taps and channels; with
lhs = COLUMN (WU) it is the other way round. A step is one MATMUL. K is innermost and walks blocks
in the canonical order, so that every blocking gives the same bits.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

NEST_FIELDS: dict[str, str] = {
    "flow": "isa.Flow",
    "lhs": "isa.Lhs",
    "packed": "1: the right operand has indices",
    "n": "entries of a group",
    "m": "channels of a group",
    "ic": "interleaved columns",
    "ir": "interleaved rows",
    "groups": "conv groups or batch: equal products with operands at fixed strides",
    "images": "images of the token walk",
    "out_h": "token rows",
    "out_w": "tokens of a token row",
    "in_h": "pixel rows of the left tensor",
    "in_w": "pixels of a row",
    "stride_y": "pixel rows from token row to token row",
    "stride_x": "pixels from token to token",
    "origin_y": "pixel row of token row 0 at tap row 0",
    "origin_x": "pixel of token 0 at tap column 0",
    "taps_y": "tap rows",
    "taps_x": "tap columns",
    "step_y": "pixel rows from tap row to tap row",
    "step_x": "pixels from tap column to tap column",
    "channels": "channels of the left tensor in one group",
    "columns": "columns of the result in one group",
    "segments": "block-sparse: present blocks of a block row; 0 otherwise",
    "segment_channels": "block-sparse: channels of a block",
    "block_images": "images of a spatial block; above 1 only with whole images",
    "block_h": "token rows of a spatial block",
    "block_taps_y": "tap rows of a K (WU: result) block; above 1 only with whole tap rows",
    "block_taps_x": "tap columns of such a block; above 1 only with all channels",
    "block_channels": "channels of such a block",
    "block_columns": "columns of a block",
    "order": "0: rows outer, 1: columns outer",
    "act": "byte address of the left tensor, channels last",
    "act_group": "bytes from group to group",
    "act_pixel": "bytes from pixel to pixel",
    "act_row": "bytes from pixel row to pixel row",
    "act_image": "bytes from image to image",
    "wgt": "byte address of the right operand's values",
    "wgt_group": "bytes from group to group",
    "wgt_entry": "bytes from entry to entry",
    "wgt_align": "bytes to which a block's columns are rounded: 64 where an image has 32 lanes, else 16",
    "wgt_tap_y": "bytes from tap row to tap row",
    "wgt_tap_x": "bytes from tap column to tap column",
    "idx": "byte address of the indices; their strides are a quarter of the values'",
    "table": "byte address of the segment tables",
    "out": "byte address of the result",
    "out_group": "bytes from group to group",
    "out_pixel": "bytes from token to token; WU: from channel to channel",
    "out_row": "bytes from token row to token row; WU: from tap column to tap column",
    "out_image": "bytes from image to image; WU: from tap row to tap row",
}

NEST = np.dtype([(name, np.int64) for name in NEST_FIELDS])

Nests = npt.NDArray[Any]
"""Array of NEST records."""
