"""What a method does to the weights before the first step: a fixed mask, the scale of a soft threshold."""

import torch
from torch import nn

from cosparse.spec import NM

from .masks import forward_mask
from .plan import LayerPlan
from .selection import masked
from .soft import best_scale


def prepare_weight(model: nn.Module, plan: LayerPlan) -> None:
    """Zero a weight outside the mask that will stay, or give its layer the buffer `soft_scale`, in place.

    A random mask comes from torch's global generator.
    """
    method = plan.method
    if plan.ff is None or (method.start == "given" and method.mask != "soft"):
        return
    weight = model.get_parameter(plan.name)
    if weight.is_meta:
        return
    if method.start != "given":
        scores = torch.rand_like(weight) if method.start == "random" else weight.detach()
        weight.data = masked(weight.data, forward_mask(plan, scores))
    if method.mask == "soft":
        assert isinstance(plan.ff, NM)
        owner = model.get_submodule(plan.name.rpartition(".")[0])
        owner.register_buffer("soft_scale", best_scale(weight.detach(), plan.ff))
