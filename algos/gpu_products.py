"""The products of a sparse linear layer by `kernels.gpu`, on copies packed anew from the weight of each step.

    FF   Y  = X W_FF^T    the forward copy: gathered for few tokens, else expanded for the dense library
    BP   dX = dY W_BP     the backward copy; the forward one where BP reuses W_FF
    WU   dW = dY^T X      dense

Both copies come from one pass over the weight; a step keeps them instead of masked weights. What has no
packed form here (convolutions, other patterns and mask rules) runs as without kernels: `why_masked`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cosparse.spec import NM, UnsupportedError

from .functions import GradientRule
from .plan import LayerPlan

_SIZES = (1, 2, 4, 8, 16)


def why_masked(plan: LayerPlan, scale: Tensor | None = None) -> str | None:
    """Why a layer is multiplied by masked weights; None where it runs on packed copies."""
    row = plan.method
    if len(plan.shape) != 2:
        return "a convolution has no GPU kernel"
    if row.mask != "magnitude" or row.gradients != "ste" or row.intersects or row.one_support:
        return f"method '{row.name}' has a selection of its own"
    if scale is not None or plan.passed:
        return "dropped weights take part in FF"
    if plan.ff is None and plan.bp is None:
        return "the weight is dense"
    for pattern in (plan.ff, plan.bp):
        if pattern is not None and not _packs(pattern):
            return f"pattern '{pattern}' has no GPU packer"
    return None


def _packs(pattern: Any) -> bool:
    return (
        isinstance(pattern, NM)
        and pattern.n in _SIZES[:4]
        and pattern.m in _SIZES[1:]
        and pattern.n <= pattern.m
    )


def gpu_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, rule: GradientRule, plan: LayerPlan
) -> Tensor:
    """x: (..., in) -> (..., out). Selects and packs for one step.

    Under autocast the copies have autocast's dtype; gradients arrive in the master weight's.
    Raises UnsupportedError for tensors that are not on a CUDA device, and for their dtype.
    """
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
    elif weight.dtype != dtype:
        raise UnsupportedError(
            f"{plan.name}: expected activations in the weight's dtype {weight.dtype}, got {dtype}"
        )
    with_bp = torch.is_grad_enabled() and x.requires_grad and plan.bp is not None
    with torch.amp.autocast(x.device.type, enabled=False):
        y: Tensor = GpuLinearFunction.apply(  # type: ignore[no-untyped-call]
            x.to(dtype), weight, None if bias is None else bias.to(dtype), rule, plan, with_bp
        )
    return y


class GpuLinearFunction(Function):
    """x: (..., in); weight: (out, in), the master; bias: like x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rule: GradientRule,
        plan: LayerPlan,
        with_bp: bool,
    ) -> Tensor:
        from kernels.gpu import ops

        pattern = plan.ff if plan.ff is not None else plan.bp
        assert isinstance(pattern, NM)
        ahead, back = ops.prune_planes(
            weight, pattern.n, pattern.m, x.dtype, plan.select_dtype, plan.ff is not None, with_bp
        )
        values, positions = ahead if rule.reuses_ff else back
        dense = weight if values.numel() == 0 else None  # BP multiplies by the weight itself
        ctx.save_for_backward(x, dense, values, positions)
        ctx.rule, ctx.pattern, ctx.shape = rule, pattern, weight.shape
        ctx.weight_dtype = weight.dtype
        if plan.ff is None:
            return F.linear(x, weight.to(x.dtype), bias)
        y = ops.nm_product(x, *ahead, pattern.n, pattern.m, *weight.shape)
        return y if bias is None else y + bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from kernels.gpu import ops

        x, dense, values, positions = ctx.saved_tensors
        n, m = ctx.pattern.n, ctx.pattern.m
        rows, columns = ctx.shape
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            error = ctx.rule.prune(grad, -1, 1)
            if dense is not None:
                grad_x = error @ dense.to(error.dtype)
            elif ctx.rule.reuses_ff:
                grad_x = ops.nm_product(
                    error, values, positions, n, m, rows, columns, transposed=True
                )
            else:
                grad_x = ops.nm_product(error, values, positions, n, m, columns, rows)
        flat = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[1]:
            grad_weight = ctx.rule.prune_update(flat).t() @ x.reshape(-1, x.shape[-1])
            grad_weight = grad_weight.to(ctx.weight_dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = flat.sum(0)
        return grad_x, grad_weight, grad_bias, None, None, None
