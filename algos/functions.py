"""The products of a sparse layer, with the gradients that the method defines.

    FF   Y  = X W_FF^T            W_FF = where(mask_ff, W, 0)
    BP   dX = P(dY) W_BP          W_BP = where(mask_bp, W, 0), P the N:M pruning of dY or nothing
    WU   dW = dY^T X, db = sum dY dense, straight-through to every weight

The gradients are the method's and not those of Y: differentiating them once more has no meaning and
is refused (once_differentiable).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cosparse.spec import NM

from .selection import masked, nm_mask

LOSS_SCALE = 2.0**10
"""dY is compared after scaling by this power of two, as the accelerator stores it: unscaled FP16
gradients underflow to ties."""


@dataclass(frozen=True)
class BackwardRule:
    """How BP differs from the stock product: its mask, and the pruning P of the output gradient."""

    reuses_mask_ff: bool = False
    """BP multiplies by W_FF; `mask_bp` is then not given."""
    gradient: NM | None = None
    select_dtype: str = "float16"

    def weight_mask(self, mask_ff: Tensor | None, mask_bp: Tensor | None) -> Tensor | None:
        return mask_ff if self.reuses_mask_ff else mask_bp

    def prune(self, grad: Tensor, axis: int, conv_groups: int) -> Tensor:
        """P(dY) along the output channels: zero what is dropped, keep the rest unchanged."""
        if self.gradient is None:
            return grad
        mask = nm_mask(
            grad * LOSS_SCALE,
            self.gradient,
            axis=axis,
            conv_groups=conv_groups,
            dtype=self.select_dtype,
        )
        return masked(grad, mask)


@dataclass(frozen=True)
class ConvArguments:
    """Arguments of a two-dimensional convolution; pairs are (height, width)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class SparseLinearFunction(Function):
    """x: (..., in); weight: (out, in); masks: like weight or None."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask_ff: Tensor | None,
        mask_bp: Tensor | None,
        rule: BackwardRule,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, rule.weight_mask(mask_ff, mask_bp))
        ctx.rule = rule
        return F.linear(x, masked(weight, mask_ff), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask_bp = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.rule.prune(grad, -1, 1) @ masked(weight, mask_bp)
        rows = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[1]:
            grad_weight = rows.t() @ x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None, None, None


class SparseConv2dFunction(Function):
    """x: (batch, in, height, width); weight: (out, in / groups, kh, kw); masks: like weight."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        mask_ff: Tensor | None,
        mask_bp: Tensor | None,
        rule: BackwardRule,
        conv: ConvArguments,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, rule.weight_mask(mask_ff, mask_bp))
        ctx.rule = rule
        ctx.conv = conv
        return F.conv2d(
            x, masked(weight, mask_ff), bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask_bp = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            error = ctx.rule.prune(grad, 1, ctx.conv.groups)
            grad_x = _conv_backward(error, x, masked(weight, mask_bp), ctx.conv, 0)
        if needs_weight:
            grad_weight = _conv_backward(grad, x, weight, ctx.conv, 1)
        if needs_bias:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, conv: ConvArguments, which: int
) -> Tensor:
    """One of the two gradients of a convolution: 0 the input's, 1 the weight's."""
    wanted = [which == 0, which == 1, False]
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        conv.stride,
        conv.padding,
        conv.dilation,
        False,  # transposed
        (0, 0),  # output_padding
        conv.groups,
        wanted,
    )
    return gradients[which]
