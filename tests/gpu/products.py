"""Weights and bounds that the GPU tests share."""

import numpy as np
import torch

from cosparse.spec import pack, parse_pattern
from kernels.gpu.prepare import prepare

ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
NAMES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def packed_weight(pattern, shape, dtype, axis=1, seed=0):
    weight = np.random.default_rng(seed).standard_normal(shape)
    return pack(weight, parse_pattern(pattern), axis=axis, dtype=NAMES[dtype])


def prepared_weight(packed, device, dtype):
    return prepare(packed, device, dtype)


def activations(shape, dtype, device, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).to(device)


def assert_product(got, exact, magnitudes, terms):
    """Float32 sums in any order, then one rounding to the result's dtype (Higham 2002, section 3.1).

    exact, magnitudes: float64, sum w x and sum |w x|.
    """
    unit = ROUNDOFF[torch.float32]
    gamma = (terms + 1) * unit / (1 - (terms + 1) * unit)
    bound = gamma * magnitudes + ROUNDOFF[got.dtype] * (exact.abs() + gamma * magnitudes) + 1e-30
    excess = (got.double().cpu() - exact.cpu()).abs() - bound.cpu()
    assert got.shape == exact.shape
    assert torch.isfinite(got).all() and excess.max() <= 0


def assert_matches_dense(got, weight, x):
    """got = x W^T for a dense weight (rows, columns)."""
    w, wide = weight.double(), x.double()
    assert_product(got, wide @ w.t(), wide.abs() @ w.abs().t(), w.shape[1])
