"""The products of a sparse layer, with the gradients that the method defines.

    FF   Y  = X W_FF^T              W_FF, W_BP and the factor f of dW: see `operands`
    BP   dX = P(dY) W_BP            P the N:M pruning of dY, or nothing
    WU   dW = f Q(dY)^T X           Q an unbiased N:M pruning along the tokens (see `unbiased`), or nothing
         db = sum dY

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

from cosparse.spec import NM, Pattern

from .selection import masked, nm_mask
from .unbiased import prune_unbiased

LOSS_SCALE = 2.0**10
"""dY is compared after scaling by this power of two, as the accelerator stores it: unscaled FP16
gradients underflow to ties."""


@dataclass(frozen=True)
class GradientRule:
    """How BP and WU differ from the stock products: BP's weight, and the prunings P and Q of dY."""

    reuses_ff: bool = False
    """BP multiplies by W_FF; no weight of its own is given."""
    bp: Pattern | None = None
    update: Pattern | None = None
    select_dtype: str = "float16"

    def weight(self, weight: Tensor, ff: Tensor | None, bp: Tensor | None) -> Tensor:
        """What BP multiplies by."""
        chosen = ff if self.reuses_ff else bp
        return weight if chosen is None else chosen

    def prune(self, grad: Tensor, axis: int, conv_groups: int) -> Tensor:
        """P(dY) along the output channels: zero what is dropped, keep the rest unchanged."""
        if self.bp is None:
            return grad
        assert isinstance(self.bp, NM)
        mask = nm_mask(
            grad * LOSS_SCALE,
            self.bp,
            axis=axis,
            conv_groups=conv_groups,
            dtype=self.select_dtype,
        )
        return masked(grad, mask)

    def prune_update(self, rows: Tensor) -> Tensor:
        """Q(dY), unbiased, along the tokens. rows: (tokens, out)."""
        if self.update is None:
            return rows
        assert isinstance(self.update, NM)
        return prune_unbiased(rows, self.update)


@dataclass(frozen=True)
class ConvArguments:
    """Arguments of a two-dimensional convolution; pairs are (height, width)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class SparseLinearFunction(Function):
    """x: (..., in); weight, weight_ff, weight_bp, factor: (out, in); None as in Operands."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weight_ff: Tensor | None,
        weight_bp: Tensor | None,
        factor: Tensor | None,
        rule: GradientRule,
    ) -> Tensor:
        ctx.save_for_backward(x, rule.weight(weight, weight_ff, weight_bp), factor)
        ctx.rule = rule
        return F.linear(x, weight if weight_ff is None else weight_ff, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_bp, factor = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.rule.prune(grad, -1, 1) @ weight_bp
        rows = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[1]:
            grad_weight = scaled(
                ctx.rule.prune_update(rows).t() @ x.reshape(-1, x.shape[-1]), factor
            )
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None, None, None, None


class SparseConv2dFunction(Function):
    """x: (batch, in, height, width); weights: (out, in / groups, kh, kw)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weight_ff: Tensor | None,
        weight_bp: Tensor | None,
        factor: Tensor | None,
        rule: GradientRule,
        conv: ConvArguments,
    ) -> Tensor:
        ctx.save_for_backward(x, rule.weight(weight, weight_ff, weight_bp), factor)
        ctx.rule = rule
        ctx.conv = conv
        used = weight if weight_ff is None else weight_ff
        return F.conv2d(x, used, bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_bp, factor = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            error = ctx.rule.prune(grad, 1, ctx.conv.groups)
            grad_x = conv_backward(error, x, weight_bp, ctx.conv, 0)
        if needs_weight:
            error = by_tokens(grad, ctx.rule)
            grad_weight = scaled(conv_backward(error, x, weight_bp, ctx.conv, 1), factor)
        if needs_bias:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None, None, None, None


def by_tokens(grad: Tensor, rule: GradientRule) -> Tensor:
    """Q(dY) of a convolution's (batch, out, height, width): its tokens are (batch, height, width)."""
    if rule.update is None:
        return grad
    last = grad.movedim(1, -1)
    return rule.prune_update(last.reshape(-1, last.shape[-1])).view(last.shape).movedim(-1, 1)


def scaled(grad: Tensor, factor: Tensor | None) -> Tensor:
    """DW with the factor f, None for one."""
    return grad if factor is None else grad * factor


def conv_backward(
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
