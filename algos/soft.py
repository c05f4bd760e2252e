"""S-STE's weights: N:M by a threshold that moves continuously, so that no mask flips.

    S(w)_i = sign(w_i) max(|w_i| - t, 0)      t = the (N + 1)-th largest magnitude of the group
    W_FF   = beta S(W)                         beta = <W, S(W)> / <S(W), S(W)>, fixed when training begins

beta is the factor that brings S(W) closest to W. Source: Hu et al., NeurIPS 2024 (there 2:4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosparse.spec import NM


def soft_threshold(values: Tensor, pattern: NM, *, axis: int = 1) -> Tensor:
    """S(values) with groups of M along `axis`; a group cut by the edge is padded with zeros."""
    moved = values.movedim(axis, 0)
    flat = moved.reshape(moved.shape[0], -1)
    grouped = F.pad(flat, (0, 0, 0, -moved.shape[0] % pattern.m)).unflatten(0, (-1, pattern.m))
    magnitudes = grouped.abs()
    if pattern.n == pattern.m:
        return values
    threshold = magnitudes.topk(pattern.n + 1, dim=1).values[:, -1:]
    shrunk = grouped.sign() * (magnitudes - threshold).clamp(min=0)
    whole: Tensor = shrunk.flatten(0, 1)[: moved.shape[0]].reshape(moved.shape).movedim(0, axis)
    return whole


def best_scale(values: Tensor, pattern: NM, *, axis: int = 1) -> Tensor:
    """beta, a scalar tensor; 1 where S(values) is zero."""
    shrunk = soft_threshold(values, pattern, axis=axis)
    square = shrunk.square().sum()
    return torch.where(square > 0, (values * shrunk).sum() / square, torch.ones_like(square))
