"""The products of a sparse layer by `kernels.cpu`, on copies packed anew from the weight of each step.

    FF   Y  = X W_FF^T    the FF copy, where W_FF has a packed format
    BP   dX = dY W_BP     the BP copy, where W_BP has a selection of its own
    WU   dW = dY^T X      dense

What is not packed (a dense phase, W_FF that BP reuses, a pruned output gradient, a mask decay that is not
done) is multiplied as the stock layer does it; `why_stock` says so.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cosparse.spec import NM, VNM, Pattern, Phase, UnsupportedError, pack
from kernels import cpu
from kernels.cpu import PreparedWeight, StepCopy

from .functions import ConvArguments, GradientRule, by_tokens, conv_backward, scaled
from .operands import operands
from .plan import LayerPlan

Copy = PreparedWeight | StepCopy
Operand = Copy | Tensor
"""A packed copy, or the dense tensor that the stock product takes."""
_AXIS = {Phase.FF: 1, Phase.BP: 0}


@dataclass(frozen=True)
class Products:
    """How one call multiplies. ff, bp: what FF and BP multiply by; factor: of dW, None for one."""

    ff: Operand
    bp: Operand
    factor: Tensor | None
    rule: GradientRule
    threads: int


def why_stock(plan: LayerPlan, phase: Phase, *, soft: bool = False) -> str | None:
    """Why a phase does not run on a packed copy; None where it does. soft: W_FF has a soft threshold."""
    if phase is Phase.WU:
        return "WU is dense"
    if phase in plan.dense_because:
        return plan.dense_because[phase]
    if phase is Phase.FF:
        if plan.ff is None:
            return "the weight is dense in FF"
        return "a mask decay lets dropped weights pass" if plan.passed else None
    if plan.gradient is not None:
        return "the output gradient is pruned, not the weight"
    if plan.reuses_ff_in_bp or soft:
        return "BP reuses W_FF, which is packed along the inputs only"
    return "the weight is dense in BP" if plan.bp is None else None


def products(
    plan: LayerPlan,
    weight: Tensor,
    rule: GradientRule,
    *,
    with_bp: bool,
    scale: Tensor | None,
    taps_apart: bool = False,
) -> Products:
    """Select and pack for one step. taps_apart: for a strided convolution.

    Raises UnsupportedError for a weight that is not float32 on the CPU.
    """
    check_operand(plan.name, weight)
    threads = torch.get_num_threads()
    packed = {phase: why_stock(plan, phase, soft=scale is not None) is None for phase in _AXIS}
    packed[Phase.BP] &= with_bp
    if _is_plain(plan, scale) and packed[Phase.FF] and packed[Phase.BP] >= with_bp:
        axes = (1, 0) if with_bp else (1,)
        copies: list[Operand] = [*_selected(plan, weight, axes, taps_apart), weight]
        return Products(copies[0], copies[1], None, rule, threads)
    chosen = operands(plan, weight, with_bp=with_bp, scale=scale)
    ff: Operand = weight if chosen.ff is None else chosen.ff
    bp: Operand = rule.weight(weight, chosen.ff, chosen.bp)
    if packed[Phase.FF]:
        ff = _packed(plan, plan.ff, ff, 1, taps_apart)
    if packed[Phase.BP]:
        bp = _packed(plan, plan.bp, bp, 0, taps_apart)
    return Products(ff, bp, chosen.factor, rule, threads)


def check_operand(name: str, tensor: Tensor) -> None:
    """Raise UnsupportedError for what the CPU kernels do not take."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        raise UnsupportedError(
            f"{name}: kernels='cpu' expects float32 on the CPU, got {tensor.dtype} on {tensor.device}; turn "
            "autocast off and convert the model, or leave `kernels` out"
        )


def _is_plain(plan: LayerPlan, scale: Tensor | None) -> bool:
    """Whether both copies are selected from the weight itself by one N:M pattern and the usual rule."""
    row, pattern = plan.method, plan.ff
    usual = (
        row.mask == "magnitude"
        and row.gradients == "ste"
        and not (row.intersects or row.one_support)
    )
    same = plan.bp is None or plan.bp == pattern
    return usual and same and scale is None and isinstance(pattern, NM | VNM)


def _selected(
    plan: LayerPlan, weight: Tensor, axes: tuple[int, ...], taps_apart: bool
) -> tuple[Copy, ...]:
    assert plan.ff is not None
    return cpu.step_copies(
        weight.detach().numpy(),
        plan.ff,
        axes=axes,
        select_dtype=plan.select_dtype,
        conv_groups=plan.conv_groups,
        taps_apart=taps_apart,
    )


def _packed(
    plan: LayerPlan, pattern: Pattern | None, weight: Operand, axis: int, taps_apart: bool
) -> Copy:
    """A weight whose dropped entries are zero already: the selection finds what is kept."""
    assert pattern is not None and isinstance(weight, Tensor)
    options: dict[str, Any] = {"select_dtype": plan.select_dtype, "conv_groups": plan.conv_groups}
    array = weight.detach().numpy()
    if isinstance(pattern, NM | VNM):
        return cpu.step_copies(array, pattern, axes=(axis,), taps_apart=taps_apart, **options)[0]
    return cpu.prepare(pack(array, pattern, axis=axis, dtype="float32", **options))


def kernel_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rule: GradientRule,
    plan: LayerPlan,
    scale: Tensor | None,
) -> Tensor:
    """`layers.sparse_linear` on packed copies."""
    y: Tensor = KernelLinearFunction.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, _for_call(x, weight, rule, plan, scale)
    )
    return y


def kernel_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    conv: ConvArguments,
    rule: GradientRule,
    plan: LayerPlan,
    scale: Tensor | None,
) -> Tensor:
    """`layers.sparse_conv2d` on packed copies."""
    strided = max(conv.stride) > 1
    y: Tensor = KernelConv2dFunction.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, _for_call(x, weight, rule, plan, scale, taps_apart=strided), conv
    )
    return y


def _for_call(
    x: Tensor,
    weight: Tensor,
    rule: GradientRule,
    plan: LayerPlan,
    scale: Tensor | None,
    *,
    taps_apart: bool = False,
) -> Products:
    if torch.is_autocast_enabled("cpu"):
        raise UnsupportedError(f"{plan.name}: kernels='cpu' computes in float32; turn autocast off")
    check_operand(plan.name, x)
    with_bp = torch.is_grad_enabled() and x.requires_grad
    return products(plan, weight, rule, with_bp=with_bp, scale=scale, taps_apart=taps_apart)


class KernelLinearFunction(Function):
    """x: (..., in); weight: (out, in)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,  # noqa: ARG004  it is here for its gradient
        bias: Tensor | None,
        products: Products,
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.products = products
        if isinstance(products.ff, Tensor):
            return F.linear(x, products.ff, bias)
        y = _matmul(products.ff, x, products.threads)
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), products = ctx.saved_tensors, ctx.products
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            if isinstance(products.bp, Tensor):
                grad_x = products.rule.prune(grad, -1, 1) @ products.bp
            else:
                grad_x = _matmul(products.bp, grad, products.threads)
        rows = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[1]:
            error = products.rule.prune_update(rows).contiguous().numpy()
            inputs = x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()
            grad_weight = scaled(
                torch.from_numpy(cpu.weight_gradient(error, inputs, threads=products.threads)),
                products.factor,
            )
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None


def _matmul(weight: Copy, x: Tensor, threads: int) -> Tensor:
    rows = x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()
    y = torch.from_numpy(cpu.matmul(weight, rows, threads=threads))
    return y.reshape(*x.shape[:-1], y.shape[-1])


class KernelConv2dFunction(Function):
    """x: (batch, in, height, width); weight: (out, in / groups, kh, kw)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        products: Products,
        conv: ConvArguments,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.products, ctx.conv = products, conv
        if isinstance(products.ff, Tensor):
            return F.conv2d(
                x, products.ff, bias, conv.stride, conv.padding, conv.dilation, conv.groups
            )
        image, options = x.detach().numpy(), _geometry(conv)
        y = torch.from_numpy(cpu.conv2d(products.ff, image, threads=products.threads, **options))
        return y if bias is None else y.add_(bias.view(-1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), products, conv = ctx.saved_tensors, ctx.products, ctx.conv
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _conv_input_gradient(products, grad, x, conv)
        if ctx.needs_input_grad[1]:
            error = by_tokens(grad, products.rule)
            grad_weight = scaled(conv_backward(error, x, weight, conv, 1), products.factor)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def _conv_input_gradient(
    products: Products, grad: Tensor, x: Tensor, conv: ConvArguments
) -> Tensor:
    if isinstance(products.bp, Tensor):
        error = products.rule.prune(grad, 1, conv.groups)
        return conv_backward(error, x, products.bp, conv, 0)
    found = cpu.conv2d_input_gradient(
        products.bp,
        grad.numpy(),
        (x.shape[2], x.shape[3]),
        threads=products.threads,
        **_geometry(conv),
    )
    return torch.from_numpy(found)


def _geometry(conv: ConvArguments) -> dict[str, Any]:
    return {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
