"""The proximal step of the weighted group sparse envelope: blocks fade out until a budget is met.

    S_k(w) = 1/2 min_u { sum_g |w_g|^2 / u_g :  0 <= u_g <= 1,  sum_g d_g u_g <= k }
    prox of lam S_k at y:   u_g = clip(sqrt(lam) |y_g| / (eta sqrt(d_g)) - lam, 0, 1),
                            w_g = y_g u_g / (lam + u_g)

d_g is the number of entries of group g (blocks at an edge are smaller), k the entries to be kept, eta such
that sum d_g u_g = k; all u are 1 where every group fits. Source: arXiv 2212.12921; the formula of u is
derived here and tested against a numerical optimum.
"""

import torch
from torch import Tensor

_BISECTIONS = 60
_NOTHING = 1e-12
"""Relative norm below which a group counts as zero."""


def proximal_shares(norms: Tensor, sizes: Tensor, budget: float, lam: float) -> Tensor:
    """u_g. norms, sizes: (groups,), |y_g| and d_g; budget: k in entries; lam > 0."""
    if float(sizes.sum()) <= budget:
        return torch.ones_like(norms)
    slope = norms / sizes.sqrt()
    if float(slope.max()) == 0:
        return torch.zeros_like(norms)
    slope = slope / slope.max()  # scales t alone
    slope = slope.where(slope > _NOTHING, 0)
    # with t = sqrt(lam) / eta the count grows with t; at `high` every group with a norm is whole
    low, high = 0.0, float((1 + lam) / slope[slope > 0].min())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        over = float((sizes * (middle * slope - lam).clamp(0, 1)).sum()) > budget
        low, high = (low, middle) if over else (middle, high)
    return (low * slope - lam).clamp(0, 1)


def proximal_factors(norms: Tensor, sizes: Tensor, budget: float, lam: float) -> Tensor:
    """What each group is multiplied by: u_g / (lam + u_g)."""
    u = proximal_shares(norms.double(), sizes.double(), budget, lam)
    factors: Tensor = u / (lam + u)
    return factors.to(norms.dtype)
