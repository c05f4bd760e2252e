"""Factorised weights against the dense product of what they stand for."""

import pytest
import torch

from cosparse.spec import ShapeError
from kernels.gpu import layouts
from kernels.gpu.compositions import block_diagonal, dense_sparse, low_rank_plus_sparse

from .products import activations, packed_weight, prepared_weight


def sparse_of(shape, device):
    packed = packed_weight("2:8", shape, torch.float32)
    return prepared_weight(packed, device, torch.float32)


def close(got, x, weight):
    torch.testing.assert_close(got.double(), x.double() @ weight.t(), rtol=1e-4, atol=1e-4)


def test_factors_are_the_weight_that_they_stand_for(device):
    x = activations((2, 3, 24), torch.float32, device)
    down, up = (activations(s, torch.float32, device, s[0]) for s in ((8, 24), (16, 8)))
    sparse = sparse_of((16, 8), device)
    close(dense_sparse(x, down, sparse), x, layouts.to_dense(sparse).double() @ down.double())
    sparse = sparse_of((16, 24), device)
    weight = up.double() @ down.double() + layouts.to_dense(sparse).double()
    close(low_rank_plus_sparse(x, down, up, sparse), x, weight)
    blocks = activations((3, 5, 8), torch.float32, device, 3)
    up = activations((7, 15), torch.float32, device, 4)
    close(block_diagonal(x, blocks, up), x, up.double() @ torch.block_diag(*blocks.double()))


def test_factors_that_do_not_fit_are_told(device):
    x, down = torch.zeros(2, 24, device=device), torch.zeros(9, 24, device=device)
    with pytest.raises(ShapeError, match=r"dense factor: expected \(8, 24\), got \(9, 24\)"):
        dense_sparse(x, down, sparse_of((16, 8), device))
    with pytest.raises(ShapeError, match="sparse weight"):
        low_rank_plus_sparse(x, down, torch.zeros(4, 9, device=device), sparse_of((16, 8), device))
    with pytest.raises(ShapeError, match="up factor"):
        block_diagonal(x, torch.zeros(3, 5, 8, device=device), torch.zeros(7, 14, device=device))
