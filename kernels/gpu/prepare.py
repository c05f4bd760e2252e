"""Packed tensors of cosparse.spec to the GPU's layouts: once, at load."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosparse.spec import NM, VNM, Block, PackedTensor, UnsupportedError
from cosparse.spec.dtypes import CANONICAL_NAN, Array

from .layouts import (
    GpuWeight,
    gathers_nm,
    pack_bitmap_rows,
    pack_block_rows,
    pack_nm_rows,
    pack_sparse_rows,
    pack_vector_wise,
)

TILE_SIDES = (16, 32, 64, 128)
"""Sides of blocks, and V of vector-wise N:M, that have a tiled kernel."""
MAX_COLUMNS = 1 << 16
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def prepare(
    packed: PackedTensor, device: str | torch.device = "cuda", dtype: torch.dtype | None = None
) -> GpuWeight:
    """The weight of one linear layer in a GPU layout; BP copies become W^T, (in, out).

    dtype: of values and activations; by default float16 and bfloat16 stay, others become float32.
    Patterns without a kernel of their own run as unstructured rows. Raises UnsupportedError for
    convolutions and for more than 65536 columns.
    """
    layout = packed.layout
    if layout.taps != 1 or layout.conv_groups != 1:
        raise UnsupportedError(
            f"GPU kernels multiply linear layers: expected a weight (out, in), got {packed.shape}"
        )
    if layout.reduction > MAX_COLUMNS:
        raise UnsupportedError(f"expected at most {MAX_COLUMNS} columns, got {layout.reduction}")
    target = dtype or _DTYPES.get(packed.dtype, torch.float32)
    return _packer(packed)(packed, lambda array: torch.from_numpy(array).to(device), target)


ToDevice = Callable[[Array], Tensor]


def _packer(packed: PackedTensor) -> Callable[[Any, ToDevice, torch.dtype], GpuWeight]:
    pattern = packed.pattern
    if packed.format_name == "bitmap":
        return _pack_bitmap
    if isinstance(pattern, NM) and gathers_nm(pattern.n, pattern.m):
        return _pack_nm
    if isinstance(pattern, VNM) and pattern.v in TILE_SIDES:
        return _pack_vnm
    if isinstance(pattern, Block) and pattern.rows == pattern.cols and pattern.rows in TILE_SIDES:
        return _pack_blocks
    return _pack_rows


def _pack_nm(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> GpuWeight:
    layout = packed.layout

    def by_row(plane: Array) -> Tensor:
        return to_device(np.ascontiguousarray(plane[0, 0, :, :, : layout.lanes].transpose(2, 0, 1)))

    values = canonical(by_row(packed.decoded_values()).to(dtype))
    return pack_nm_rows(values, by_row(packed.lane_indices()), packed.pattern.m, layout.reduction)


def _pack_vnm(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> GpuWeight:
    dense, mask = _matrices(packed, to_device, dtype)
    return pack_vector_wise(dense, mask[:: packed.pattern.v], packed.pattern.v)


def _pack_blocks(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> GpuWeight:
    dense, mask = _matrices(packed, to_device, dtype)
    side = packed.pattern.rows
    return pack_block_rows(dense, mask[::side, ::side], side)


def _pack_rows(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> GpuWeight:
    return pack_sparse_rows(*_matrices(packed, to_device, dtype))


def _pack_bitmap(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> GpuWeight:
    return pack_bitmap_rows(*_matrices(packed, to_device, dtype))


def _matrices(packed: Any, to_device: ToDevice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(values, mask), both (lanes, K)."""
    values, mask = (np.ascontiguousarray(part[0, 0]) for part in packed.to_matrices())
    return canonical(to_device(values).to(dtype)), to_device(mask)


def canonical(values: Tensor) -> Tensor:
    """The same values, every NaN with the bits that cosparse.spec stores."""
    integer = torch.int16 if values.element_size() == 2 else torch.int32
    bits = CANONICAL_NAN[str(values.dtype).removeprefix("torch.")]
    return values.view(integer).masked_fill(values.isnan(), bits).view(values.dtype)
