"""Operands of a GEMM as a DRAM image, where its nests read them, and the result read back.

Arrays have the shapes of the framework, all FP16 but the result of WU, which is FP32:

                   left                              right                        result
    linear  FF     x (tokens, in)                    weight                       (tokens, out)
            BP     dy (tokens, out)                  weight                       (tokens, in)
            WU     x (tokens, in)                    dy (tokens, out)             (out, in / groups)
    conv    FF     x (images, in, height, width)     weight                       (images, out, ...)
            BP     dy (images, out, ...)             weight                       (images, in, ...)
            WU     x                                 dy                           like the weight
    batched FF BP  (batch, m, k)                     (batch, k, n)                (batch, m, n)
            WU     (batch, k, m)                     (batch, k, n)                (batch, m, n)

A weight is (out, in / groups, *kernel), dense or as the packed tensor of the phase. Where the left
operand has a pattern (SDGP) dy is given dense and packed here as SORE packs it, the weight is dense.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cosparse.spec import (
    BlockTensor,
    ConvGeometry,
    Dense,
    Gemm,
    NMTensor,
    PackedTensor,
    Phase,
    ShapeError,
    UnsupportedError,
    pack,
)
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout
from cosparse.spec.patterns import pad_axis
from hwsim.constants import BLOCK_INDEX_BYTES, DRAM_ALIGNMENT_BYTES, PACKED_LANES
from hwsim.machine import Memory

from .block_rows import block_runs
from .lower import CHANNEL_ALIGNMENT, TENSOR_ALIGNMENT, padded, share_groups
from .nest import Nests
from .residues import residues

Operand = Array | PackedTensor

Planes = dict[int, Array]
"""What lies in DRAM, by its byte address."""


def build(gemm: Gemm, nests: Nests, left: Operand, right: Operand, *, flat: bool = False) -> Memory:
    """DRAM with both operands where `nests` read them, zeros elsewhere, and room for the result.

    nests: of `gemm_nests`, or of `block_nests` for a block-sparse weight; cut or not, but not yet
    split into strips. flat: of an im2col matrix. Raises ShapeError for an operand of another shape,
    dtype or pattern.
    """
    if flat:
        return build(_flat_gemm(gemm), nests, *_flat_operands(gemm, left, right))
    planes = _left_planes(gemm, nests, left, right) | _right_planes(gemm, nests, left, right)
    return Memory.build(padded(result_span(gemm, nests).stop, TENSOR_ALIGNMENT), planes)


def result_span(gemm: Gemm, nests: Nests, *, flat: bool = False) -> range:
    """Byte addresses of the result; a program of `nests` stores nowhere else."""
    shape, dtype = _stored_result(_flat_gemm(gemm) if flat else gemm)
    first = int(nests["out"].min())
    return range(first, first + int(np.prod(shape)) * np.dtype(dtype).itemsize)


def result(gemm: Gemm, nests: Nests, memory: Memory, *, flat: bool = False) -> Array:
    """The result that a program of `nests` left in `memory`, in the shape of the module's text."""
    if flat:
        return _from_flat(gemm, result(_flat_gemm(gemm), nests, memory))
    shape, dtype = _stored_result(gemm)
    stored = memory.array(int(nests["out"].min()), shape, dtype)
    if gemm.phase is Phase.WU:
        return _weight_gradient(gemm, stored)
    rows = stored[:, : gemm.m].T if _is_pruned(gemm) else stored[:, : gemm.groups * gemm.n]
    if gemm.conv is not None:
        return _to_images(rows, gemm.conv.batch, _result_hw(gemm, gemm.conv))
    return rows.reshape(gemm.batch, gemm.m, gemm.n) if gemm.batch > 1 else rows


def operand_shapes(gemm: Gemm) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the left and of the right operand, dense."""
    return _left_shape(gemm), _right_shape(gemm)


def _is_pruned(gemm: Gemm) -> bool:
    """Whether the left operand is pruned: the product runs transposed."""
    return not isinstance(gemm.lhs.pattern, Dense)


def _is_weight(gemm: Gemm) -> bool:
    """Whether the right operand is a weight."""
    return gemm.phase is not Phase.WU and gemm.batch == 1


def _stored_result(gemm: Gemm) -> tuple[tuple[int, ...], npt.DTypeLike]:
    """Shape and dtype of the result in DRAM."""
    if gemm.phase is Phase.WU:
        taps = gemm.conv.taps if gemm.conv is not None else 1
        sharing = share_groups(gemm.groups, gemm.m // taps, gemm.n)
        columns = padded(sharing.columns, CHANNEL_ALIGNMENT)
        return (gemm.batch * sharing.groups, taps, sharing.channels, columns), np.float32
    if _is_pruned(gemm):
        return (gemm.n, padded(gemm.m, CHANNEL_ALIGNMENT)), np.float16
    return (gemm.batch * gemm.m, padded(gemm.groups * gemm.n, CHANNEL_ALIGNMENT)), np.float16


def _weight_gradient(gemm: Gemm, stored: Array) -> Array:
    """The blocks of the stored gradient that lie on the diagonal of merged conv groups."""
    if gemm.batch > 1:
        return stored[:, 0, :, : gemm.n]
    products, taps, rows, _ = stored.shape
    merged = rows * taps // gemm.m
    blocks = (products, taps, merged, rows // merged, merged, gemm.n)
    split = stored[..., : merged * gemm.n].reshape(blocks)
    own = np.stack([split[:, :, group, :, group] for group in range(merged)], axis=1)
    gradient = own.reshape(products * merged, *own.shape[2:])[: gemm.groups]
    kernel = gemm.conv.kernel if gemm.conv is not None else ()
    return gradient.transpose(0, 3, 2, 1).reshape(gemm.groups * gemm.n, -1, *kernel)


def _left_planes(gemm: Gemm, nests: Nests, left: Operand, right: Operand) -> Planes:
    """The tensor on the rows: activations, or the weight of a pruned gradient."""
    address = int(nests["act"].min())
    if not _is_pruned(gemm):
        return {address: _channels_last(_checked(gemm, "left", left, _left_shape(gemm)))}
    weight = _checked(gemm, "right", right, _right_shape(gemm))
    return {address: _padded_channels(_matrices(weight, gemm).transpose(0, 2, 1, 3))}


def _right_planes(gemm: Gemm, nests: Nests, left: Operand, right: Operand) -> Planes:
    """The operand on the columns: a weight, activations, or a pruned gradient."""
    if _is_pruned(gemm):
        gradient = _checked(gemm, "left", left, _left_shape(gemm))
        return _entry_planes(gemm, nests, *_pruned_entries(gemm, gradient))
    if not _is_weight(gemm):
        tensor = _checked(gemm, "right", right, _right_shape(gemm))
        return {int(nests["wgt"].min()): _channels_last(tensor)}
    if isinstance(right, BlockTensor):
        return _block_planes(gemm, nests, right)
    return _entry_planes(gemm, nests, *_weight_entries(gemm, nests, right))


def _left_shape(gemm: Gemm) -> tuple[int, ...]:
    if gemm.conv is not None:
        gradient = gemm.phase is Phase.BP
        channels = gemm.m // gemm.conv.taps if gemm.phase is Phase.WU else gemm.channels
        hw = gemm.conv.out_hw if gradient else gemm.conv.in_hw
        return (gemm.conv.batch, gemm.groups * channels, *hw)
    rows, columns = (gemm.k, gemm.m) if gemm.phase is Phase.WU else (gemm.m, gemm.k)
    return (*_batch_axis(gemm), rows, gemm.groups * columns)


def _right_shape(gemm: Gemm) -> tuple[int, ...]:
    if _is_weight(gemm):
        kernel = gemm.conv.kernel if gemm.conv is not None else ()
        if gemm.phase is Phase.BP:
            return (gemm.groups * gemm.channels, gemm.n, *kernel)
        return (gemm.groups * gemm.n, gemm.channels, *kernel)
    if gemm.conv is not None:
        return (gemm.conv.batch, gemm.groups * gemm.n, *gemm.conv.out_hw)
    return (*_batch_axis(gemm), gemm.k, gemm.groups * gemm.n)


def _batch_axis(gemm: Gemm) -> tuple[int, ...]:
    return (gemm.batch,) if gemm.batch > 1 else ()


def _checked(gemm: Gemm, side: str, array: Operand, shape: tuple[int, ...]) -> Array:
    """A dense operand. Raises ShapeError unless it has this shape and is FP16."""
    if isinstance(array, np.ndarray) and array.shape == shape and array.dtype == np.float16:
        return array
    dtype = array.dtype if isinstance(array, np.ndarray) else repr(array)
    raise ShapeError(
        f"{gemm.phase} of '{gemm.name}', {side} operand: expected a dense float16 array of shape "
        f"{shape}, got {dtype} of shape {array.shape}"
    )


def _channels_last(tensor: Array) -> Array:
    """(images, channels, height, width), or channels last already, with padded channels."""
    return _padded_channels(np.moveaxis(tensor, 1, -1) if tensor.ndim == 4 else tensor)


def _padded_channels(tensor: Array) -> Array:
    return pad_axis(tensor, -1, CHANNEL_ALIGNMENT)


def _matrices(weight: Array, gemm: Gemm) -> Array:
    """A dense weight as (conv groups, taps, lanes, reduction)."""
    axis = 0 if gemm.phase is Phase.BP else 1
    return Layout(weight.shape, axis, gemm.groups).to_matrices(weight)


def _entry_planes(gemm: Gemm, nests: Nests, values: Array, indices: Array | None) -> Planes:
    """A packed image. values, indices: (groups, taps, entries, lanes)."""
    before = _bytes_before(gemm, nests)
    planes = {int(nests[0]["wgt"]) - before: pad_axis(values, -1, PACKED_LANES)}
    if indices is not None:
        even = pad_axis(indices, -1, PACKED_LANES).astype(np.uint8)
        planes[int(nests[0]["idx"]) - before // 4] = even[..., 0::2] | even[..., 1::2] << 4
    return planes


def _bytes_before(gemm: Gemm, nests: Nests) -> int:
    """Bytes of values before the tap at which the first sub-convolution begins."""
    conv = gemm.conv
    if conv is None or gemm.phase is not Phase.BP or _is_pruned(gemm):
        return 0
    axes = (conv.in_hw, conv.kernel, conv.stride, conv.padding, conv.dilation)
    y, x = (residues(*(pair[axis] for pair in axes))[0] for axis in (0, 1))
    rows = y.first * int(nests[0]["wgt_tap_y"]) // y.tap_step
    return rows + x.first * int(nests[0]["wgt_tap_x"]) // x.tap_step


def _weight_entries(gemm: Gemm, nests: Nests, weight: Operand) -> tuple[Array, Array | None]:
    """Values (groups, taps, entries, lanes) of a dense or N:M weight, and indices where it has any."""
    if not isinstance(gemm.rhs.pattern, Dense):
        return _packed_entries(_checked_tensor(gemm, weight), gemm.n)
    matrices = _matrices(_checked(gemm, "right", weight, _right_shape(gemm)), gemm)
    entries = np.ascontiguousarray(matrices.swapaxes(2, 3))
    sharing = share_groups(gemm.groups, gemm.channels, gemm.n)
    if sharing.merged == 1:
        return entries, None
    if nests[0]["packed"]:
        return _merged_entries(entries, sharing.merged)
    return _diagonal_entries(entries, sharing.merged), None


def _checked_tensor(gemm: Gemm, weight: Operand) -> NMTensor:
    """A packed weight. Raises ShapeError unless it is the FP16 tensor of this GEMM and phase."""
    shape, axis = _right_shape(gemm), 0 if gemm.phase is Phase.BP else 1
    expected = (gemm.rhs.pattern, shape, axis, gemm.groups, "float16")
    if isinstance(weight, NMTensor):
        got = (weight.pattern, weight.shape, weight.axis, weight.conv_groups, weight.dtype)
        if got == expected:
            return weight
    raise ShapeError(
        f"{gemm.phase} of '{gemm.name}', right operand: expected an N:M tensor of (pattern, shape, "
        f"axis, conv groups, dtype) = {expected}, got {weight!r}"
    )


def _packed_entries(tensor: NMTensor, lanes: int) -> tuple[Array, Array]:
    """The planes of an N:M image with padded `lanes`; V:N:M has one index a lane here."""
    groups, taps, count, n, _ = tensor.values.shape
    shape = (groups, taps, count * n, padded(lanes, PACKED_LANES))
    values, indices = tensor.values, tensor.lane_indices()
    return values[..., : shape[3]].reshape(shape), indices[..., : shape[3]].reshape(shape)


def _merged_entries(entries: Array, merged: int) -> tuple[Array, Array]:
    """Merged conv groups: each lane selects its own group's channels.

    entries: (conv groups, taps, channels, lanes); returns (products, taps, channels, merged lanes).
    """
    taps, channels, lanes = entries.shape[1:]
    split = pad_axis(entries, 0, merged).reshape(-1, merged, taps, channels, lanes)
    values = split.transpose(0, 2, 3, 1, 4).reshape(-1, taps, channels, merged * lanes)
    first = np.repeat(np.arange(merged) * channels, lanes)
    indices = first + np.arange(channels)[:, None]
    return values, np.broadcast_to(indices, values.shape)


def _diagonal_entries(entries: Array, merged: int) -> Array:
    """Merged conv groups as a dense product: zeros wherever a lane meets another group's channels.

    entries: (conv groups, taps, channels, lanes); returns (products, taps, merged channels, merged lanes).
    """
    taps, channels, lanes = entries.shape[1:]
    split = pad_axis(entries, 0, merged).reshape(-1, merged, taps, channels, lanes)
    products = np.zeros((len(split), taps, merged, channels, merged, lanes), entries.dtype)
    for group in range(merged):
        products[:, :, group, :, group] = split[:, group]
    return products.reshape(len(split), taps, merged * channels, merged * lanes)


def _pruned_entries(gemm: Gemm, gradient: Array) -> tuple[Array, Array]:
    """The output gradients that each tap brings to each input pixel, packed with pixels as lanes."""
    lanes = gradient if gemm.conv is None else _gathered_gradient(gradient, gemm.conv)
    return _packed_entries(_as_nm(lanes, gemm), gemm.m)


def _as_nm(lanes: Array, gemm: Gemm) -> NMTensor:
    packed = pack(lanes, gemm.lhs.pattern, axis=1)
    assert isinstance(packed, NMTensor)
    return packed


def _block_planes(gemm: Gemm, nests: Nests, tensor: BlockTensor) -> Planes:
    """Values and segment tables of each nest's block rows."""
    channels = max(int(nests["segment_channels"].max()), 1)
    runs = list(block_runs(gemm, tensor, channels))
    if len(runs) != len(nests):
        raise ShapeError(
            f"'{gemm.name}': expected the {len(runs)} nests of `block_nests` for this tensor, "
            f"got {len(nests)}"
        )
    planes: Planes = {}
    for nest, run in zip(nests, runs, strict=True):
        if run.table.size:
            lanes = run.values[..., : min(gemm.n, tensor.pattern.rows)]
            planes[int(nest["wgt"])] = _padded_channels(lanes)
            planes[int(nest["table"])] = pad_axis(
                run.table, 1, DRAM_ALIGNMENT_BYTES // BLOCK_INDEX_BYTES
            )
    return planes


def _to_images(rows: Array, images: int, hw: tuple[int, int]) -> Array:
    """(pixels, channels) to (images, channels, height, width)."""
    return np.moveaxis(rows.reshape(images, *hw, rows.shape[1]), -1, 1)


def _result_hw(gemm: Gemm, conv: ConvGeometry) -> tuple[int, int]:
    return conv.in_hw if gemm.phase is Phase.BP else conv.out_hw


def _meetings(conv: ConvGeometry, ky: int, kx: int) -> tuple[tuple[Array, Array], ...]:
    """Index arrays of the output pixels of a tap, and of the input pixels that they read."""
    outputs, inputs = [], []
    for axis, tap in enumerate((ky, kx)):
        read = np.arange(conv.out_hw[axis]) * conv.stride[axis]
        read += tap * conv.dilation[axis] - conv.padding[axis]
        inside = (read >= 0) & (read < conv.in_hw[axis])
        outputs.append(np.flatnonzero(inside))
        inputs.append(read[inside])
    return tuple((y[:, None], x) for y, x in (outputs, inputs))


def _gathered_gradient(gradient: Array, conv: ConvGeometry) -> Array:
    """(input pixels, output channels, *kernel): what each tap brings; +0 where nothing."""
    pixels = np.moveaxis(gradient, 1, -1)
    shape = (conv.batch, *conv.in_hw, *conv.kernel, pixels.shape[-1])
    gathered = np.zeros(shape, gradient.dtype)
    for ky, kx in np.ndindex(conv.kernel):
        (oy, ox), (iy, ix) = _meetings(conv, ky, kx)
        gathered[:, iy, ix, ky, kx] = pixels[:, oy, ox]
    return np.moveaxis(gathered.reshape(-1, *shape[3:]), -1, 1)


def _im2col(x: Array, conv: ConvGeometry, groups: int) -> Array:
    """(output pixels, groups * taps * channels): each conv group's columns together."""
    pixels = np.moveaxis(x, 1, -1).reshape(conv.batch, *conv.in_hw, groups, -1)
    shape = (conv.batch, *conv.out_hw, *conv.kernel, *pixels.shape[3:])
    columns = np.zeros(shape, x.dtype)
    for ky, kx in np.ndindex(conv.kernel):
        (oy, ox), (iy, ix) = _meetings(conv, ky, kx)
        columns[:, oy, ox, ky, kx] = pixels[:, iy, ix]
    by_group = columns.reshape(-1, conv.taps, *shape[5:]).swapaxes(1, 2)
    return by_group.reshape(len(by_group), -1)


def _flat_gemm(gemm: Gemm) -> Gemm:
    """The plain product with the im2col matrix. Raises UnsupportedError where there is none."""
    if gemm.conv is None or gemm.phase is Phase.BP or gemm.sparse_operand is not None:
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}': expected FF or WU of a dense convolution for im2col"
        )
    return replace(gemm, conv=None)


def _flat_operands(gemm: Gemm, left: Operand, right: Operand) -> tuple[Array, Array]:
    """Operands of `_flat_gemm`."""
    conv = gemm.conv
    assert conv is not None
    x = _checked(gemm, "left", left, _left_shape(gemm))
    other = np.moveaxis(_checked(gemm, "right", right, _right_shape(gemm)), 1, -1)
    rows = gemm.groups * gemm.n if gemm.phase is Phase.FF else gemm.k
    return _im2col(x, conv, gemm.groups), other.reshape(rows, -1)


def _from_flat(gemm: Gemm, matrix: Array) -> Array:
    """The convolution's result from that of `_flat_gemm`."""
    conv = gemm.conv
    assert conv is not None
    if gemm.phase is Phase.FF:
        return _to_images(matrix, conv.batch, conv.out_hw)
    return np.moveaxis(matrix.reshape(len(matrix), *conv.kernel, -1), -1, 1)
