"""Random weights in the GPU's layouts, made on the device: what benchmarks and tuning multiply."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from .layouts import (
    BitmapRows,
    BlockRows,
    GpuWeight,
    NMRows,
    SparseRows,
    VectorWise,
    pack_bitmap_rows,
    pack_block_rows,
    pack_nm_rows,
    pack_sparse_rows,
    pack_vector_wise,
)

Shape = tuple[int, int]


def random_nm(shape: Shape, n: int, m: int, device: str, dtype: torch.dtype) -> NMRows:
    rows, columns = shape
    scores = torch.rand(rows, -(-columns // m), m, device=device)
    positions = scores.topk(n, -1).indices.sort(-1).values
    values = torch.randn(positions.shape, device=device).to(dtype)
    inside = torch.arange(scores.shape[1], device=device)[:, None] * m + positions < columns
    return pack_nm_rows(torch.where(inside, values, 0), positions, m, columns)


def random_rows(shape: Shape, density: float, device: str, dtype: torch.dtype) -> SparseRows:
    dense = torch.randn(shape, device=device).to(dtype)
    return pack_sparse_rows(dense, torch.rand(shape, device=device) < density)


def random_bitmap(shape: Shape, density: float, device: str, dtype: torch.dtype) -> BitmapRows:
    dense = torch.randn(shape, device=device).to(dtype)
    return pack_bitmap_rows(dense, torch.rand(shape, device=device) < density)


def random_vector_wise(
    shape: Shape, v: int, n: int, m: int, device: str, dtype: torch.dtype
) -> VectorWise:
    """Columns must be a multiple of m."""
    rows, columns = shape
    scores = torch.rand(-(-rows // v), columns // m, m, device=device)
    kept = torch.zeros(scores.shape, dtype=torch.bool, device=device)
    kept.scatter_(2, scores.topk(n, -1).indices, True)
    dense = torch.randn(shape, device=device).to(dtype)
    return pack_vector_wise(dense, kept.reshape(len(kept), columns), v)


def random_blocks(
    shape: Shape, side: int, density: float, device: str, dtype: torch.dtype
) -> BlockRows:
    """Blocks are ranked over the whole weight, so block rows differ in length."""
    rows, columns = shape
    grid = torch.rand(-(-rows // side), -(-columns // side), device=device)
    count = max(1, round(density * grid.numel()))
    kept = grid >= grid.flatten().topk(count).values[-1]
    return pack_block_rows(torch.randn(shape, device=device).to(dtype), kept, side)


SAMPLES: dict[str, Callable[[Shape, str, torch.dtype], GpuWeight]] = {
    "2:4": lambda shape, device, dtype: random_nm(shape, 2, 4, device, dtype),
    "2:8": lambda shape, device, dtype: random_nm(shape, 2, 8, device, dtype),
    "1:8": lambda shape, device, dtype: random_nm(shape, 1, 8, device, dtype),
    "2:16": lambda shape, device, dtype: random_nm(shape, 2, 16, device, dtype),
    "unstructured 80%": lambda shape, device, dtype: random_rows(shape, 0.2, device, dtype),
    "unstructured 90%": lambda shape, device, dtype: random_rows(shape, 0.1, device, dtype),
    "bitmap 80%": lambda shape, device, dtype: random_bitmap(shape, 0.2, device, dtype),
    "vector 64 87.5%": lambda s, device, dtype: random_vector_wise(s, 64, 1, 8, device, dtype),
    "vector 128 87.5%": lambda s, device, dtype: random_vector_wise(s, 128, 1, 8, device, dtype),
    "block 32 87.5%": lambda s, device, dtype: random_blocks(s, 32, 0.125, device, dtype),
    "block 64 87.5%": lambda s, device, dtype: random_blocks(s, 64, 0.125, device, dtype),
    "block 128 87.5%": lambda s, device, dtype: random_blocks(s, 128, 0.125, device, dtype),
}
"""name of a pattern -> a random weight (shape, device, dtype)."""


def copy_weight(weight: GpuWeight) -> GpuWeight:
    """The same weight at other addresses."""
    named = {entry.name: getattr(weight, entry.name) for entry in fields(weight)}
    planes: Any = {name: part.clone() for name, part in named.items() if isinstance(part, Tensor)}
    return replace(weight, **planes)
