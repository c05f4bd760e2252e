"""Linear and Conv2d with a method's products.

A layer is made sparse in place: the module keeps its identity, parameters, hooks and state_dict
keys, and changes its class. Operands are computed from the current weight in every forward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .functions import ConvArguments, GradientRule, SparseConv2dFunction, SparseLinearFunction
from .operands import Operands, operands
from .plan import LayerPlan


def _operands(plan: LayerPlan, weight: Tensor, x: Tensor, scale: Tensor | None) -> Operands:
    with_bp = torch.is_grad_enabled() and x.requires_grad
    return operands(plan, weight, with_bp=with_bp, scale=scale)


def _rule(plan: LayerPlan) -> GradientRule:
    return GradientRule(plan.reuses_ff_in_bp, plan.gradient, plan.update, plan.select_dtype)


def _autocast(*tensors: Tensor | None) -> list[Any]:
    """Cast the operands as autocast casts those of a stock layer.

    Done outside the autograd function, so that casting is differentiated like any other operation
    and the gradients arrive in the master weight's dtype. Masks are selected on the master.
    """
    device = tensors[0].device.type if tensors[0] is not None else "cpu"
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def sparse_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, plan: LayerPlan, scale: Tensor | None = None
) -> Tensor:
    """x: (..., in) -> (..., out) with the products that `plan` asks for."""
    if plan.kernels == "cpu" and not weight.is_meta:
        from .kernel_products import kernel_linear

        return kernel_linear(x, weight, bias, _rule(plan), plan, scale)
    if plan.kernels == "gpu" and not weight.is_meta:
        from .gpu_products import gpu_linear, why_masked

        if why_masked(plan, scale) is None:
            return gpu_linear(x, weight, bias, _rule(plan), plan)
    chosen = _operands(plan, weight, x, scale)
    x, weight, bias, *cast = _autocast(x, weight, bias, chosen.ff, chosen.bp, chosen.factor)
    y: Tensor = SparseLinearFunction.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, *cast, _rule(plan)
    )
    return y


def sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    conv: ConvArguments,
    plan: LayerPlan,
    scale: Tensor | None = None,
) -> Tensor:
    """x: (batch, in, h, w) -> (batch, out, h', w')."""
    if plan.kernels == "cpu" and not weight.is_meta:
        from .kernel_products import kernel_conv2d

        return kernel_conv2d(x, weight, bias, conv, _rule(plan), plan, scale)
    chosen = _operands(plan, weight, x, scale)
    x, weight, bias, *cast = _autocast(x, weight, bias, chosen.ff, chosen.bp, chosen.factor)
    y: Tensor = SparseConv2dFunction.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, *cast, _rule(plan), conv
    )
    return y


def soft_scale(module: nn.Module) -> Tensor | None:
    """Beta of a layer whose method has a soft threshold: a buffer, in its state_dict."""
    return getattr(module, "soft_scale", None)


class SparseLinear(nn.Linear):
    """A Linear whose products follow `plan`."""

    plan: LayerPlan

    def forward(self, input: Tensor) -> Tensor:
        return sparse_linear(input, self.weight, self.bias, self.plan, soft_scale(self))

    def extra_repr(self) -> str:
        return f"{nn.Linear.extra_repr(self)}, {describe(self.plan)}"


class SparseConv2d(nn.Conv2d):
    """A Conv2d whose products follow `plan`."""

    plan: LayerPlan

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self._padded(input)
        batched = x if x.dim() == 4 else x.unsqueeze(0)
        conv = ConvArguments(_pair(self.stride), padding, _pair(self.dilation), self.groups)
        y = sparse_conv2d(batched, self.weight, self.bias, conv, self.plan, soft_scale(self))
        return y if x.dim() == 4 else y.squeeze(0)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Apply what a plain symmetric zero padding cannot express; return the rest."""
        left_right_top_bottom = self._reversed_padding_repeated_twice
        if self.padding_mode != "zeros":
            return F.pad(x, left_right_top_bottom, mode=self.padding_mode), (0, 0)
        left, right, top, bottom = left_right_top_bottom
        if left == right and top == bottom:
            return x, (top, left)
        return F.pad(x, left_right_top_bottom), (0, 0)

    def extra_repr(self) -> str:
        return f"{nn.Conv2d.extra_repr(self)}, {describe(self.plan)}"


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]


def describe(plan: LayerPlan) -> str:
    """The patterns of a layer in one line."""
    parts = {"FF": plan.ff, "BP": plan.bp, "dY": plan.gradient, "dY in WU": plan.update}
    return ", ".join(f"{name} {pattern}" for name, pattern in parts.items() if pattern is not None)
