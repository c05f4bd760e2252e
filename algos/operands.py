"""The tensors that the products read in place of a layer's weight, computed from the weight of this step.

W_FF = where(mask_FF, W, D W)      D the share that a mask decay passes, 0 otherwise; or beta S(W), see `soft`
W_BP = W_FF, or where(mask_BP, W, 0)
dW  *= where(mask_FF, 1, D)        with the chain rule; straight-through leaves dW as it is
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cosparse.spec import NM

from .masks import backward_mask, forward_mask
from .plan import LayerPlan
from .selection import masked
from .soft import soft_threshold


@dataclass(frozen=True)
class Operands:
    """Tensors like the weight; None: the weight itself, a factor of one. BP may use FF's (see plan)."""

    ff: Tensor | None = None
    bp: Tensor | None = None
    factor: Tensor | None = None


def operands(
    plan: LayerPlan, weight: Tensor, *, with_bp: bool, scale: Tensor | None = None
) -> Operands:
    """The operands of one step.

    with_bp: whether the gradient of the input will be asked for; scale: beta of a soft threshold.
    """
    weight = weight.detach()
    if plan.ff is not None and scale is not None:
        assert isinstance(plan.ff, NM)
        return Operands(scale * soft_threshold(weight, plan.ff))
    mask = forward_mask(plan, weight)
    ff = None if mask is None else _passed(weight, mask, plan.passed)
    factor = None
    if mask is not None and plan.method.gradients == "chain":
        factor = torch.where(mask, 1.0, plan.passed).to(weight.dtype)
    mask_bp = backward_mask(plan, weight, mask) if with_bp else None
    return Operands(ff, None if mask_bp is None else masked(weight, mask_bp), factor)


def _passed(weight: Tensor, mask: Tensor, share: float) -> Tensor:
    return masked(weight, mask) if share == 0 else torch.where(mask, weight, share * weight)
