"""Which entries of a weight a method keeps. One table of rules; a rule sees the weight of one layer."""

from collections.abc import Callable

from torch import Tensor

from cosparse.spec import NM, Block

from .blocks import block_mask
from .plan import LayerPlan
from .selection import masked, nm_mask
from .soft import soft_threshold
from .transposable import transposable_mask

MaskRule = Callable[[LayerPlan, Tensor], Tensor]
"""(plan with a pattern for FF, weight) -> mask_FF of the weight's shape."""


def forward_mask(plan: LayerPlan, weight: Tensor) -> Tensor | None:
    """mask_FF of a weight, or None where FF is dense."""
    return None if plan.ff is None else MASK_RULES[plan.method.mask](plan, weight)


def backward_mask(plan: LayerPlan, weight: Tensor, mask_ff: Tensor | None) -> Tensor | None:
    """mask_BP of a weight, or None where BP has no selection of its own."""
    if plan.bp is None or plan.reuses_ff_in_bp:
        return None
    assert isinstance(plan.bp, NM)
    within = mask_ff if plan.method.intersects else None
    mask = nm_mask(
        masked(weight, within),
        plan.bp,
        axis=0,
        conv_groups=plan.conv_groups,
        dtype=plan.select_dtype,
    )
    return mask if within is None else mask & within


def _magnitude(plan: LayerPlan, weight: Tensor) -> Tensor:
    """The N largest magnitudes of every M along the inputs, or the largest blocks."""
    if isinstance(plan.ff, Block):
        return block_mask(weight, plan.ff, conv_groups=plan.conv_groups, dtype=plan.select_dtype)
    assert isinstance(plan.ff, NM)
    return nm_mask(weight, plan.ff, axis=1, dtype=plan.select_dtype)


def _transposable(plan: LayerPlan, weight: Tensor) -> Tensor:
    assert isinstance(plan.ff, NM)
    return transposable_mask(weight, plan.ff, conv_groups=plan.conv_groups, dtype=plan.select_dtype)


def _soft(plan: LayerPlan, weight: Tensor) -> Tensor:
    """What the soft threshold leaves above zero: fewer than N where magnitudes tie with it."""
    assert isinstance(plan.ff, NM)
    return soft_threshold(weight, plan.ff) != 0


MASK_RULES: dict[str, MaskRule] = {
    "magnitude": _magnitude,
    "transposable": _transposable,
    "soft": _soft,
}
