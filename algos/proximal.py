"""The envelope's proximal step (see `envelope`) after every optimizer step, with lam = lr * strength."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cosparse.spec import Block
from cosparse.spec.patterns import kept_count

from .blocks import block_norms, from_grid
from .envelope import proximal_factors
from .plan import LayerPlan

Layers = Sequence[tuple[LayerPlan, Tensor]]


class ProximalHandle:
    """The steps on some layers, after each step of one optimizer, until `remove`."""

    def __init__(self, optimizer: Optimizer, layers: Layers, strength: float) -> None:
        self._layers = layers
        self._strength = strength
        self._hook = optimizer.register_step_post_hook(self._after_step)

    def remove(self) -> None:
        self._hook.remove()

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        for plan, weight in self._layers:
            lam = self._strength * float(groups[id(weight)]["lr"]) if id(weight) in groups else 0.0
            if lam > 0 and isinstance(plan.ff, Block):
                proximal_step(weight, plan.ff, plan.conv_groups, lam)


def proximal_step(weight: Tensor, pattern: Block, conv_groups: int, lam: float) -> None:
    """Shrink the blocks of `weight` in place; the budget is the pattern's share of the blocks."""
    norms, sizes = block_norms(weight, pattern, conv_groups)
    budget = kept_count(pattern.density, norms.numel()) * pattern.rows * pattern.cols
    factors = proximal_factors(norms.flatten(), sizes.flatten(), float(budget), lam)
    weight.mul_(from_grid(factors.view(norms.shape), weight, pattern))
