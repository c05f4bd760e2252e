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
class GradientPruning:
    """N:M pruning of the output gradient along the output channels."""

    pattern: NM
    select_dtype: str

    def prune(self, grad: Tensor, axis: int, conv_groups: int) -> Tensor:
        """Zero what the rule drops; kept values are unchanged."""
        mask = nm_mask(
            grad * LOSS_SCALE,
            self.pattern,
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
        pruning: GradientPruning | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mask_bp)
        ctx.pruning = pruning
        return F.linear(x, masked(weight, mask_ff), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask_bp = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            error = grad if ctx.pruning is None else ctx.pruning.prune(grad, -1, 1)
            grad_x = error @ masked(weight, mask_bp)
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
        pruning: GradientPruning | None,
        conv: ConvArguments,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mask_bp)
        ctx.pruning = pruning
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
            error = grad if ctx.pruning is None else ctx.pruning.prune(grad, 1, ctx.conv.groups)
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
