"""Products with factorised weights: sparse kernels and the vendor's dense products, one after the other.

    dense x sparse (DSFormer)           W = S D          y = (x D^T) S^T
    low rank + sparse (SLTrain)         W = B A + S      y = (x A^T) B^T + x S^T
    block-diagonal (StructuredFFN)      W = L diag(R_i)  y = concat(x_i R_i^T) L^T

Nothing is fused: every product is a launch of its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosparse.spec import ShapeError

from . import ops
from .layouts import GpuWeight


def dense_sparse(x: Tensor, dense: Tensor, sparse: GpuWeight) -> Tensor:
    """x: (..., in); dense: (inner, in); sparse: (out, inner). Returns (..., out)."""
    _check("dense factor", dense.shape, (sparse.shape[1], x.shape[-1]))
    return ops.linear(F.linear(x, dense), sparse)


def low_rank_plus_sparse(x: Tensor, down: Tensor, up: Tensor, sparse: GpuWeight) -> Tensor:
    """x: (..., in); down: (rank, in); up: (out, rank); sparse: (out, in). Returns (..., out)."""
    _check("sparse weight", sparse.shape, (up.shape[0], down.shape[1]))
    _check("activations", x.shape[-1:], (down.shape[1],))
    return F.linear(F.linear(x, down), up) + ops.linear(x, sparse)


def block_diagonal(x: Tensor, blocks: Tensor, up: Tensor) -> Tensor:
    """x: (..., parts * in); blocks: (parts, mid, in); up: (out, parts * mid). Returns (..., out)."""
    parts, mid, width = blocks.shape
    _check("activations", x.shape[-1:], (parts * width,))
    _check("up factor", up.shape[1:], (parts * mid,))
    rows = x.reshape(-1, parts, width).transpose(0, 1)
    inner = torch.bmm(rows, blocks.transpose(1, 2)).transpose(0, 1).reshape(-1, parts * mid)
    return F.linear(inner, up).reshape(*x.shape[:-1], len(up))


def _check(name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(got) != tuple(expected):
        raise ShapeError(f"{name}: expected {tuple(expected)}, got {tuple(got)}")
