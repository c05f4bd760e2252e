"""Decay of pruned weights (SR-STE), once per optimizer step and never inside a gradient.

    SGD          gradient += lambda * (1 - mask_FF) * W           in a hook before the step
    Adam, other  W -= lr * lambda * (1 - mask_FF) * W              in a hook after the step

mask_FF is that of the weights before the step. The hooks run after unscaling and clipping, so
neither loss scaling, nor accumulation, nor clipping changes the decay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .layers import forward_mask
from .plan import LayerPlan


class DecayHandle:
    """Removes the decay from its optimizer."""

    def __init__(self, removers: list[Callable[[], None]]) -> None:
        self._removers = removers

    def remove(self) -> None:
        for remover in self._removers:
            remover()
        self._removers = []


def attach_decay(
    optimizer: Optimizer, layers: list[tuple[LayerPlan, Tensor]], coefficient: float
) -> DecayHandle:
    """Register the decay of `layers` (plan, weight) with `coefficient` lambda."""
    if coefficient == 0.0:
        return DecayHandle([])
    if isinstance(optimizer, torch.optim.SGD):
        return _attach_to_gradient(optimizer, layers, coefficient)
    return _attach_to_weight(optimizer, layers, coefficient)


def _attach_to_gradient(
    optimizer: Optimizer, layers: list[tuple[LayerPlan, Tensor]], coefficient: float
) -> DecayHandle:
    @torch.no_grad()
    def before_step(optimizer: Optimizer, *_: Any) -> None:
        for plan, weight, group in _updated(optimizer, layers):
            sign = -1.0 if group.get("maximize", False) else 1.0
            assert weight.grad is not None
            weight.grad.add_(_pruned(plan, weight), alpha=sign * coefficient)

    return DecayHandle([optimizer.register_step_pre_hook(before_step).remove])


def _attach_to_weight(
    optimizer: Optimizer, layers: list[tuple[LayerPlan, Tensor]], coefficient: float
) -> DecayHandle:
    pending: list[tuple[Tensor, Tensor, float]] = []

    @torch.no_grad()
    def before_step(optimizer: Optimizer, *_: Any) -> None:
        pending.clear()
        for plan, weight, group in _updated(optimizer, layers):
            kept = forward_mask(plan, weight)
            assert kept is not None
            pending.append((weight, kept, float(group["lr"])))

    @torch.no_grad()
    def after_step(*_: Any) -> None:
        for weight, kept, lr in pending:
            weight.mul_(torch.where(kept, 1.0, 1.0 - lr * coefficient))
        pending.clear()

    return DecayHandle(
        [
            optimizer.register_step_pre_hook(before_step).remove,
            optimizer.register_step_post_hook(after_step).remove,
        ]
    )


def _pruned(plan: LayerPlan, weight: Tensor) -> Tensor:
    """(1 - mask_FF) * W."""
    kept = forward_mask(plan, weight)
    assert kept is not None
    return torch.where(kept, 0.0, weight)


def _updated(
    optimizer: Optimizer, layers: list[tuple[LayerPlan, Tensor]]
) -> list[tuple[LayerPlan, Tensor, dict[str, Any]]]:
    """The layers with pruned FF weights that this step updates, with their parameter group."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return [
        (plan, weight, groups[id(weight)])
        for plan, weight in layers
        if plan.ff is not None and id(weight) in groups and weight.grad is not None
    ]
