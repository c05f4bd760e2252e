"""Which entries of a weight a method keeps. One table of rules; a rule sees the weight of one layer."""

from collections.abc import Callable

from torch import Tensor

from .plan import LayerPlan
from .selection import nm_mask

MaskRule = Callable[[LayerPlan, Tensor], Tensor]
"""(plan with a pattern for FF, weight) -> mask_FF of the weight's shape."""


def forward_mask(plan: LayerPlan, weight: Tensor) -> Tensor | None:
    """mask_FF of a weight, or None where FF is dense."""
    return None if plan.ff is None else MASK_RULES[plan.method.mask](plan, weight)


def backward_mask(plan: LayerPlan, weight: Tensor) -> Tensor | None:
    """mask_BP of a weight, or None where BP has no selection of its own."""
    if plan.bp is None:
        return None
    return nm_mask(weight, plan.bp, axis=0, conv_groups=plan.conv_groups, dtype=plan.select_dtype)


def _magnitude(plan: LayerPlan, weight: Tensor) -> Tensor:
    """The N largest magnitudes of every M along the inputs."""
    assert plan.ff is not None
    return nm_mask(weight, plan.ff, axis=1, dtype=plan.select_dtype)


MASK_RULES: dict[str, MaskRule] = {"magnitude": _magnitude}
