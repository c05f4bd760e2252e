"""N:M pruning of a gradient that is right on average, with the least variance.

In a group a_1..a_M, entry i is kept with probability p_i and then divided by it:

    p_i = min(1, c |a_i|),  c such that sum p_i = N        E[result] = a
    variance = sum a_i^2 (1 / p_i - 1), the least of all unbiased choices of at most N

Exactly N marks are drawn with these probabilities by systematic sampling: one uniform number u a group marks
the entries whose interval of the cumulated p holds u, u + 1, ..., u + N - 1. Source: Chmiel et al., ICLR 2023
(minimum-variance unbiased estimator; there for 1:2 and 2:4, this is the same optimum for any N:M).
"""

import torch
from torch import Tensor

from cosparse.spec import NM

_NEVER_ZERO = 1e-30


def keep_probabilities(magnitudes: Tensor, n: int) -> Tensor:
    """P of each entry. magnitudes: (M, ...), not negative; p sums to min(N, entries above 0)."""
    p = torch.zeros_like(magnitudes)
    certain = torch.zeros_like(magnitudes, dtype=torch.bool)
    for _ in range(n + 1):  # every round marks at least one more entry as certain, or is the last
        rest = magnitudes.masked_fill(certain, 0.0)
        room = n - certain.sum(0)
        total = rest.sum(0).clamp(min=_NEVER_ZERO)
        p = torch.where(certain, 1.0, rest * (room / total))
        certain = certain | (p >= 1)
    return p.clamp(max=1.0)


def draw(p: Tensor, u: Tensor, n: int) -> Tensor:
    """At most n marks a group, each with probability p. p: (M, ...); u: (...) in [0, 1)."""
    upper = p.cumsum(0).clamp(max=n)  # a sum rounded above N would mark one more
    lower = torch.cat([torch.zeros_like(upper[:1]), upper[:-1]])
    return (torch.ceil(upper - u) - torch.ceil(lower - u)) > 0


def prune_unbiased(values: Tensor, pattern: NM, u: Tensor | None = None) -> Tensor:
    """values: (K, lanes), groups of M along the first axis, the last one padded. Same shape and mean.

    u: (groups, lanes) in [0, 1); None draws it from torch's global generator.
    """
    length = values.shape[0]
    padded = torch.nn.functional.pad(values, (0, 0, 0, -length % pattern.m))
    grouped = padded.view(-1, pattern.m, values.shape[1]).transpose(0, 1)
    wide = grouped.double()
    p = keep_probabilities(wide.abs(), pattern.n)
    if u is None:
        u = torch.rand(p.shape[1:], dtype=p.dtype, device=p.device)
    scaled = torch.where(draw(p, u, pattern.n), wide / p.clamp(min=_NEVER_ZERO), 0.0)
    flat = scaled.to(values.dtype).transpose(0, 1).reshape(-1, values.shape[1])
    return flat[:length]
