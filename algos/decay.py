"""Decay of pruned weights (SR-STE), once per optimizer step and never inside a gradient.

    SGD          gradient += lambda * (1 - mask_FF) * W           when the gradients are complete
    Adam, other  W -= lr * lambda * (1 - mask_FF) * W              after the step

mask_FF is that of the weights before the step. Gradients are complete before the step, or after its
closure. They are then unscaled and clipped, so neither loss scaling, nor accumulation, nor clipping
changes the decay. A fused optimizer unscales inside its kernel; `GradScaler` gives it `grad_scale`,
by which the decay is scaled too, and `found_inf`, which tells that the kernel skips the step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cosparse.spec import InputError

from .masks import forward_mask
from .plan import LayerPlan

Layers = Sequence[tuple[LayerPlan, Tensor]]
"""Plans and their weights."""
_Updated = tuple[LayerPlan, Tensor, dict[str, Any]]
"""A plan, its weight, and the parameter group of the weight."""


class DecayHandle(ABC):
    """The decay of some layers in the steps of one optimizer, until `remove`."""

    def __init__(self, optimizer: Optimizer, layers: Layers, coefficient: float) -> None:
        self._layers = layers
        self._coefficient = coefficient
        self._hooks = [optimizer.register_step_pre_hook(self._before_step)]

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def decays(self, weight: Tensor) -> bool:
        return any(weight is own for _, own in self._layers)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        return _when_gradients_are_complete(
            args, kwargs, lambda: self._on_gradients(_updated(optimizer, self._layers), optimizer)
        )

    @abstractmethod
    def _on_gradients(self, updated: list[_Updated], optimizer: Optimizer) -> None:
        """Called without autograd, before the weights change."""


class _GradientDecay(DecayHandle):
    def _on_gradients(self, updated: list[_Updated], optimizer: Optimizer) -> None:
        grad_scale = getattr(optimizer, "grad_scale", None)
        for plan, weight, group in updated:
            decay = torch.where(_kept(plan, weight), 0.0, weight)
            if grad_scale is not None:
                decay *= grad_scale.to(weight.device)
            sign = -1.0 if group.get("maximize", False) else 1.0
            assert weight.grad is not None
            weight.grad.add_(decay, alpha=sign * self._coefficient)


class _WeightDecay(DecayHandle):
    def __init__(self, optimizer: Optimizer, layers: Layers, coefficient: float) -> None:
        super().__init__(optimizer, layers, coefficient)
        self._pending: list[tuple[Tensor, Tensor, float]] = []
        self._hooks.append(optimizer.register_step_post_hook(self._after_step))

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        self._pending = []
        return super()._before_step(optimizer, args, kwargs)

    def _on_gradients(self, updated: list[_Updated], optimizer: Optimizer) -> None:
        if self._pending:  # a closure that is called again, with other weights
            return
        self._pending = [
            (weight, _kept(plan, weight), float(group["lr"])) for plan, weight, group in updated
        ]

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        found_inf = getattr(optimizer, "found_inf", None)
        for weight, kept, lr in self._pending:
            if found_inf is not None:  # the kernel has skipped the step: keep every weight
                kept = kept | (found_inf != 0).to(kept.device)
            weight.mul_(torch.where(kept, 1.0, 1.0 - lr * self._coefficient))
        self._pending = []


def attach_decay(optimizer: Optimizer, layers: Layers, coefficient: float) -> DecayHandle:
    """Register the decay of `layers` with `coefficient` lambda; a lambda of zero decays nothing.

    Raises InputError when the optimizer decays one of the weights already.
    """
    decayed = layers if coefficient else []
    _check_free(optimizer, decayed)
    kind = _GradientDecay if isinstance(optimizer, torch.optim.SGD) else _WeightDecay
    return kind(optimizer, decayed, coefficient)


def _check_free(optimizer: Optimizer, layers: Layers) -> None:
    hooks = optimizer._optimizer_step_pre_hooks.values()
    owners = [getattr(hook, "__self__", None) for hook in hooks]
    handles = [owner for owner in owners if isinstance(owner, DecayHandle)]
    for plan, weight in layers:
        if any(handle.decays(weight) for handle in handles):
            raise InputError(
                f"the optimizer decays the pruned entries of '{plan.name}' already; "
                "remove the handle that the first `attach` returned"
            )


def _when_gradients_are_complete(
    args: tuple[Any, ...], kwargs: dict[str, Any], action: Callable[[], None]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Run `action` before the step, or after each call of the closure that computes its gradients.

    args: the optimizer and the arguments of `step`. Returns what the step is called with instead.
    """
    run = torch.no_grad()(action)
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        run()
        return None

    def closure_then_action() -> Any:
        loss = closure()
        run()
        return loss

    if "closure" in kwargs:
        return args, {**kwargs, "closure": closure_then_action}
    return (args[0], closure_then_action, *args[2:]), kwargs


def _kept(plan: LayerPlan, weight: Tensor) -> Tensor:
    mask = forward_mask(plan, weight)
    assert mask is not None
    return mask


def _updated(optimizer: Optimizer, layers: Layers) -> list[_Updated]:
    """The layers with pruned FF weights that this step updates, with their parameter group."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return [
        (plan, weight, groups[id(weight)])
        for plan, weight in layers
        if plan.ff is not None and id(weight) in groups and weight.grad is not None
    ]
