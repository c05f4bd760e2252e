"""A GEMM of the workload as nests: its walk over pixels, taps and channels, and its operands in DRAM.

Tensors are channels last, FP16, a pixel's channels padded to 8. Weights are packed images
[conv group][tap][entry][lane], lanes padded to 32 (`cosparse.spec.formats`). Gradients of weights
are FP32, [conv group][tap][input channel][output channel], outputs padded to 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, gcd

import numpy as np

from cosparse.spec import NM, VNM, Block, ConvGeometry, Dense, Gemm, Phase, UnsupportedError
from hwsim.config import AcceleratorConfig
from hwsim.constants import (
    ACCUMULATOR_BYTES,
    BLOCK_INDEX_BYTES,
    DRAM_ALIGNMENT_BYTES,
    PACKED_LANES,
    VALUE_BYTES,
)
from hwsim.isa import Lhs

from .nest import NEST, NEST_FIELDS, Nests
from .residues import Residue, residues

CHANNEL_ALIGNMENT = 8
TENSOR_ALIGNMENT = 4096

Fields = dict[str, int]
"""Some fields of a nest; those that are left out are 0."""


def gemm_nests(gemm: Gemm, config: AcceleratorConfig, *, flat: bool = False) -> Nests:
    """Uncut nests of one GEMM, at the addresses of a program of its own.

    flat: a convolution whose im2col matrix lies in memory. Raises UnsupportedError with the reason.
    """
    rows = [part for row in _rows(gemm, config, flat) for part in _present_groups(gemm, row)]
    nests = np.zeros(len(rows), NEST)
    for nest, row in zip(nests, rows, strict=True):
        for name in NEST_FIELDS:
            nest[name] = row.get(name, 0)
    return nests


def _rows(gemm: Gemm, config: AcceleratorConfig, flat: bool) -> Iterator[Fields]:
    if gemm.conv is None or flat or _is_matrix(gemm.conv):
        yield _matrix_gradient(gemm) if gemm.phase is Phase.WU else _matrix(gemm, config)
    elif gemm.phase is Phase.BP and not isinstance(gemm.lhs.pattern, Dense):
        yield _matrix(gemm, config)
    elif gemm.phase is Phase.BP:
        yield from _input_gradient(gemm, gemm.conv, config)
    elif gemm.phase is Phase.WU:
        yield _weight_gradient(gemm, gemm.conv)
    else:
        yield _forward(gemm, gemm.conv, config)


def _is_matrix(conv: ConvGeometry) -> bool:
    """A convolution whose tokens are its pixels: they may be cut anywhere, not only between rows."""
    return conv.taps == 1 and conv.stride == (1, 1) and conv.padding == (0, 0)


def padded(value: int, multiple: int) -> int:
    """Value rounded up to a multiple."""
    return -(-value // multiple) * multiple


def dense_group(config: AcceleratorConfig) -> int:
    """Channels of a group of a dense product: the most that a PE holds, a power of two."""
    return min(config.group_max, 1 << (config.n_max.bit_length() - 1))


def pixel_bytes(channels: int) -> int:
    """Bytes from pixel to pixel of an FP16 tensor."""
    return padded(channels, CHANNEL_ALIGNMENT) * VALUE_BYTES


@dataclass(frozen=True)
class Sharing:
    """Conv groups as the array runs them: `merged` of them form one product of `channels` x `columns`.

    A column of a merged product selects its own group's channels, as if pruned to them, or has
    zeros for the others (`_groups_of`).
    """

    merged: int
    groups: int
    channels: int
    columns: int

    @property
    def own_channels(self) -> int:
        """Channels that one column reads."""
        return self.channels // self.merged


def share_groups(groups: int, channels: int, columns: int) -> Sharing:
    """Fewest groups that fill whole 16-byte pieces of a pixel, for input and output."""
    merged = 1
    while groups > 1 and (merged * channels % 8 or merged * columns % 8):
        merged *= 2
    return Sharing(merged, -(-groups // merged), merged * channels, merged * columns)


def _present_groups(gemm: Gemm, row: Fields) -> Iterator[Fields]:
    """A row of merged conv groups as one of full products and one with the groups that are left."""
    merged = row["columns"] // gemm.n if gemm.groups > 1 else 1
    full, left = divmod(gemm.groups, merged)
    if left == 0:
        yield row
        return
    if full:
        yield {**row, "groups": full}
    sizes = {name: row[name] // merged * left for name in ("channels", "columns")}
    moved = {name: row[name] + full * row[f"{name}_group"] for name in ("act", "wgt", "out")}
    indices = row["idx"] + full * row["wgt_group"] // 4
    yield {**row, **sizes, **moved, "idx": indices, "groups": 1}


def _shared(gemm: Gemm, channels: int, config: AcceleratorConfig) -> Sharing:
    """Raises UnsupportedError where merged groups would have to be packed twice."""
    sharing = share_groups(gemm.groups, channels, gemm.n)
    if sharing.merged > 1 and gemm.sparse_operand is not None:
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}' on {config.name}: {gemm.sparse_operand.pattern} needs "
            f"groups whose input and output channels are multiples of {CHANNEL_ALIGNMENT} each, "
            f"got {channels} and {gemm.n}"
        )
    return sharing


def _groups_of(gemm: Gemm, sharing: Sharing, config: AcceleratorConfig) -> Fields:
    """Groups of the right operand: n and m, and whether it has indices.

    Merged conv groups that no array group holds form a dense product with zeros between them.
    """
    pattern = gemm.rhs.pattern
    if isinstance(pattern, NM | VNM):
        return {"packed": 1, "n": pattern.n, "m": pattern.m}
    if sharing.merged > 1 and _selectable(sharing, config):
        return {"packed": 1, "n": sharing.own_channels, "m": sharing.channels}
    group = dense_group(config)
    return {"packed": 0, "n": group, "m": group}


def _selectable(sharing: Sharing, config: AcceleratorConfig) -> bool:
    """Whether one group of the array holds the channels of a merged product."""
    fits = sharing.own_channels <= config.n_max
    return fits and config.group_max % sharing.channels == 0


def _entries(channels: int, fields: Fields) -> int:
    """Entries of one tap."""
    return -(-channels // fields["m"]) * fields["n"] if fields["packed"] else channels


def _tokens(count: int, pixel: int) -> Fields:
    """The walk over a plain matrix: every token is a pixel row of one pixel."""
    sizes = dict.fromkeys(("images", "out_w", "in_w", "stride_y", "stride_x"), 1)
    taps = dict.fromkeys(("taps_y", "taps_x", "step_y", "step_x"), 1)
    left = {"act_pixel": pixel, "act_row": pixel, "act_image": count * pixel}
    return {**sizes, **taps, **left, "out_h": count, "in_h": count}


def _pixels(conv: ConvGeometry, channels: int) -> Fields:
    """The walk of a forward convolution over its input, and that tensor's strides."""
    pixel = pixel_bytes(channels)
    (height, width), (out_h, out_w) = conv.in_hw, conv.out_hw
    return {
        "images": conv.batch,
        "out_h": out_h,
        "out_w": out_w,
        "in_h": height,
        "in_w": width,
        "stride_y": conv.stride[0],
        "stride_x": conv.stride[1],
        "origin_y": -conv.padding[0],
        "origin_x": -conv.padding[1],
        "taps_y": conv.kernel[0],
        "taps_x": conv.kernel[1],
        "step_y": conv.dilation[0],
        "step_x": conv.dilation[1],
        "act_pixel": pixel,
        "act_row": width * pixel,
        "act_image": height * width * pixel,
    }


def _image_of(
    gemm: Gemm,
    sharing: Sharing,
    fields: Fields,
    kernel: tuple[int, int],
    config: AcceleratorConfig,
) -> tuple[Fields, int]:
    """The packed image of a weight: its strides and the bytes of its values."""
    pattern = gemm.rhs.pattern
    if isinstance(pattern, Block):
        return _blocks_of(gemm, pattern, config)
    lane_bytes = padded(sharing.columns, PACKED_LANES) * VALUE_BYTES
    tap = _entries(sharing.channels, fields) * lane_bytes
    strides = {
        "wgt_entry": lane_bytes,
        "wgt_align": PACKED_LANES * VALUE_BYTES,
        "wgt_tap_x": tap,
        "wgt_tap_y": kernel[1] * tap,
        "wgt_group": kernel[0] * kernel[1] * tap,
    }
    return strides, sharing.groups * strides["wgt_group"]


def block_segment(gemm: Gemm, pattern: Block, config: AcceleratorConfig) -> int:
    """Channels of a segment: a block's, or a part that no activation word or last channel cuts."""
    lanes = config.activation_lanes
    part = pattern.cols if pattern.cols % lanes == 0 else gcd(pattern.cols, lanes)
    return part if gemm.channels % pattern.cols == 0 else gcd(part, CHANNEL_ALIGNMENT)


def _blocks_of(gemm: Gemm, pattern: Block, config: AcceleratorConfig) -> tuple[Fields, int]:
    """Block-sparse image [block row][segment][channel][lane] and its segment tables.

    Every block row has the mean number of present blocks, rounded up, and at least one.
    """
    if pattern.rows % CHANNEL_ALIGNMENT and pattern.rows < gemm.n:
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}': the rows of {pattern} must be a multiple of "
            f"{CHANNEL_ALIGNMENT}, since a block row is stored by itself in pieces of 16 bytes"
        )
    positions = gemm.taps * -(-gemm.channels // pattern.cols)
    # Nine digits: a density such as 0.1 must not round 10 positions up to 2 blocks.
    blocks = max(1, ceil(round(pattern.density * positions, 9)))
    channels = block_segment(gemm, pattern, config)
    segments = blocks * pattern.cols // channels
    lane_bytes = pixel_bytes(min(pattern.rows, gemm.n))
    block_rows = -(-gemm.n // pattern.rows)
    row = segments * channels * lane_bytes
    strides = {
        "segments": segments,
        "segment_channels": channels,
        "wgt_entry": lane_bytes,
        "wgt_align": DRAM_ALIGNMENT_BYTES,
        "wgt_group": block_rows * row,
        "block_columns": pattern.rows,
    }
    return strides, gemm.groups * block_rows * row


def _matrix_image(gemm: Gemm) -> tuple[Fields, int]:
    """The right operand of a batched product: activations [k][n]."""
    entry = pixel_bytes(gemm.n)
    strides = {"wgt_entry": entry, "wgt_align": DRAM_ALIGNMENT_BYTES, "wgt_group": gemm.k * entry}
    return strides, gemm.batch * gemm.k * entry


def _placed(fields: Fields, act_bytes: int, wgt_bytes: int) -> Fields:
    """Addresses: operands one after the other, each on a page of its own."""
    tables = fields.get("segments", 0) * BLOCK_INDEX_BYTES
    tables = padded(tables, DRAM_ALIGNMENT_BYTES) * max(fields["columns"], 1) * fields["groups"]
    sizes = {"act": act_bytes, "wgt": wgt_bytes, "idx": wgt_bytes // 4, "table": tables, "out": 0}
    placed, position = {}, 0
    for name, size in sizes.items():
        placed[name] = position
        position = padded(position + size, TENSOR_ALIGNMENT)
    return {**fields, **placed}


def _matrix(gemm: Gemm, config: AcceleratorConfig) -> Fields:
    """FF or BP of a plain product; a pruned left operand changes places with the right one."""
    if not isinstance(gemm.lhs.pattern, Dense):
        return _pruned_gradient(gemm)
    sharing = _shared(gemm, gemm.k, config)
    fields = _groups_of(gemm, sharing, config)
    left, right = pixel_bytes(gemm.groups * gemm.k), pixel_bytes(gemm.groups * gemm.n)
    batched = gemm.batch > 1
    if batched and gemm.sparse_operand is not None:
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}': batched products multiply activations and are dense, "
            f"got {gemm.sparse_operand.pattern}"
        )
    image, wgt_bytes = (
        _matrix_image(gemm) if batched else _image_of(gemm, sharing, fields, (1, 1), config)
    )
    row = {
        **_tokens(gemm.m, left),
        **fields,
        **image,
        "groups": gemm.batch * sharing.groups,
        "channels": sharing.channels,
        "columns": sharing.columns,
        "act_group": gemm.m * left if batched else sharing.channels * VALUE_BYTES,
        "out_pixel": right,
        "out_row": right,
        "out_image": gemm.m * right,
        "out_group": gemm.m * right if batched else sharing.columns * VALUE_BYTES,
    }
    return _placed(row, gemm.batch * gemm.m * left, wgt_bytes)


def _pruned_gradient(gemm: Gemm) -> Fields:
    """dX^T = W^T dY^T with dY packed by SORE: input channels on the rows, tokens on the columns.

    A tap is a pixel of the row that holds an input channel's weights.
    """
    pattern = gemm.lhs.pattern
    if not isinstance(pattern, NM) or gemm.batch * gemm.groups > 1:
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}': gradients are pruned online to N:M, one conv group, "
            f"got {pattern} and {gemm.batch * gemm.groups} groups"
        )
    fields = {"packed": 1, "n": pattern.n, "m": pattern.m}
    left, right = pixel_bytes(gemm.channels), pixel_bytes(gemm.m)
    lanes = padded(gemm.m, PACKED_LANES) * VALUE_BYTES
    tap = _entries(gemm.channels, fields) * lanes
    row = {
        **_tokens(gemm.n, gemm.taps * left),
        **fields,
        "groups": 1,
        "channels": gemm.channels,
        "columns": gemm.m,
        "in_w": gemm.taps,
        "taps_x": gemm.taps,
        "act_pixel": left,
        "wgt_entry": lanes,
        "wgt_align": PACKED_LANES * VALUE_BYTES,
        "wgt_tap_x": tap,
        "wgt_tap_y": gemm.taps * tap,
        "out_pixel": right,
        "out_row": right,
        "out_image": gemm.n * right,
    }
    return _placed(row, gemm.n * gemm.taps * left, gemm.taps * tap)


def _matrix_gradient(gemm: Gemm) -> Fields:
    """WU of a plain product: dW = X^T dY."""
    sharing = share_groups(gemm.groups, gemm.m, gemm.n)
    batched = gemm.batch > 1
    left, entry = pixel_bytes(gemm.groups * gemm.m), pixel_bytes(gemm.groups * gemm.n)
    row = {
        **_tokens(gemm.k, left),
        **_gradient_of(sharing, (1, 1)),
        "groups": gemm.batch * sharing.groups,
        "act_group": gemm.k * left if batched else sharing.channels * VALUE_BYTES,
        "wgt_entry": entry,
        "wgt_align": DRAM_ALIGNMENT_BYTES,
        "wgt_group": gemm.k * entry if batched else sharing.columns * VALUE_BYTES,
    }
    return _placed(row, gemm.batch * gemm.k * left, gemm.batch * gemm.k * entry)


def _gradient_of(sharing: Sharing, kernel: tuple[int, int]) -> Fields:
    """Sizes and strides of a weight gradient."""
    channel = padded(sharing.columns, CHANNEL_ALIGNMENT) * ACCUMULATOR_BYTES
    tap = sharing.channels * channel
    return {
        "lhs": Lhs.COLUMN,
        "n": 1,
        "m": 1,
        "channels": sharing.channels,
        "columns": sharing.columns,
        "out_pixel": channel,
        "out_row": tap,
        "out_image": kernel[1] * tap,
        "out_group": kernel[0] * kernel[1] * tap,
    }


def _forward(gemm: Gemm, conv: ConvGeometry, config: AcceleratorConfig) -> Fields:
    sharing = _shared(gemm, gemm.channels, config)
    fields = _groups_of(gemm, sharing, config)
    walk = _pixels(conv, gemm.groups * gemm.channels)
    image, wgt_bytes = _image_of(gemm, sharing, fields, conv.kernel, config)
    pixel = pixel_bytes(gemm.groups * gemm.n)
    row = {
        **walk,
        **fields,
        **image,
        "groups": sharing.groups,
        "channels": sharing.channels,
        "columns": sharing.columns,
        "act_group": sharing.channels * VALUE_BYTES,
        "out_pixel": pixel,
        "out_row": conv.out_hw[1] * pixel,
        "out_image": conv.out_hw[0] * conv.out_hw[1] * pixel,
        "out_group": sharing.columns * VALUE_BYTES,
    }
    return _placed(row, conv.batch * walk["act_image"], wgt_bytes)


def _weight_gradient(gemm: Gemm, conv: ConvGeometry) -> Fields:
    channels = gemm.m // conv.taps
    sharing = share_groups(gemm.groups, channels, gemm.n)
    walk = _pixels(conv, gemm.groups * channels)
    entry = pixel_bytes(gemm.groups * gemm.n)
    row = {
        **walk,
        **_gradient_of(sharing, conv.kernel),
        "groups": sharing.groups,
        "act_group": sharing.channels * VALUE_BYTES,
        "wgt_entry": entry,
        "wgt_align": DRAM_ALIGNMENT_BYTES,
        "wgt_group": sharing.columns * VALUE_BYTES,
    }
    return _placed(row, conv.batch * walk["act_image"], gemm.k * entry)


def _input_gradient(gemm: Gemm, conv: ConvGeometry, config: AcceleratorConfig) -> Iterator[Fields]:
    """BP with stride s: s^2 sub-convolutions over the taps that match, with strided results."""
    sharing = _shared(gemm, gemm.channels, config)
    fields = _groups_of(gemm, sharing, config)
    image, wgt_bytes = _image_of(gemm, sharing, fields, conv.kernel, config)
    left = pixel_bytes(gemm.groups * gemm.channels)
    (height, width), (out_h, out_w) = conv.in_hw, conv.out_hw
    axes = (conv.in_hw, conv.kernel, conv.stride, conv.padding, conv.dilation)
    along_y, along_x = (residues(*(pair[axis] for pair in axes)) for axis in (0, 1))
    pixel = pixel_bytes(gemm.groups * gemm.n)
    for y in along_y:
        for x in along_x:
            row = {
                **fields,
                **image,
                **_sub_walk(y, x, conv),
                "groups": sharing.groups,
                "channels": sharing.channels,
                "columns": sharing.columns,
                "act_group": sharing.channels * VALUE_BYTES,
                "act_pixel": left,
                "act_row": out_w * left,
                "act_image": out_h * out_w * left,
                "out_pixel": conv.stride[1] * pixel,
                "out_row": conv.stride[0] * width * pixel,
                "out_image": height * width * pixel,
                "out_group": sharing.columns * VALUE_BYTES,
            }
            if not isinstance(gemm.rhs.pattern, Block):
                row["wgt_tap_y"] = y.tap_step * image["wgt_tap_y"]
                row["wgt_tap_x"] = x.tap_step * image["wgt_tap_x"]
            if sharing.merged == 1 and (y.taps == 0 or x.taps == 0):
                # One group of weights is enough to multiply zeros.
                row["channels"] = min(sharing.channels, fields["m"])
            row = _placed(row, conv.batch * row["act_image"], wgt_bytes)
            row["wgt"] += y.first * image.get("wgt_tap_y", 0) + x.first * image.get("wgt_tap_x", 0)
            row["idx"] += (
                row["wgt"] - padded(conv.batch * row["act_image"], TENSOR_ALIGNMENT)
            ) // 4
            row["out"] += (y.phase * width + x.phase) * pixel
            yield row


def _sub_walk(y: Residue, x: Residue, conv: ConvGeometry) -> Fields:
    """The walk of one sub-convolution over the output gradient.

    Where no tap matches, one tap that lies outside the gradient gives the zeros.
    """
    (out_h, out_w), empty = conv.out_hw, y.taps == 0 or x.taps == 0
    return {
        "images": conv.batch,
        "out_h": y.count,
        "out_w": x.count,
        "in_h": out_h,
        "in_w": out_w,
        "stride_y": 1,
        "stride_x": 1,
        "origin_y": out_h if empty else y.origin,
        "origin_x": x.origin if x.taps else 0,
        "taps_y": 1 if empty else y.taps,
        "taps_x": 1 if empty else x.taps,
        "step_y": y.step,
        "step_x": x.step,
    }
