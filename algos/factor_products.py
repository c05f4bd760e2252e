"""Factorised layers on the CPU kernels, as autograd functions: `sparsify(..., kernels="cpu")`.

    block-diagonal factor     y_b = x_b R_b^T, every block where it lies in x and y
    fixed support             y = x S^T; the gradient of S at its entries only
    low rank + fixed support  y = x S^T + s (x A^T) B^T, the second part added inside its product

Dense factors are stock layers; a dictionary's sparse factor is `kernel_products`. As many threads as
`torch.get_num_threads()`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cosparse.spec import UnsupportedError
from kernels import factors
from kernels.cpu.support import Support

from .kernel_products import check_operand


def block_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x: (..., in), weight: (blocks, out / blocks, in / blocks); returns (..., out)."""
    _check("a block-diagonal factor", x, weight)
    y: Tensor = BlockLinearFunction.apply(x, weight)  # type: ignore[no-untyped-call]
    return y


def support_linear(x: Tensor, layer: Any) -> Tensor:
    """x: (..., in) times the weight of a `FixedSupportLinear`."""
    _check("a fixed support", x, layer.values)
    y: Tensor = SupportFunction.apply(  # type: ignore[no-untyped-call]
        x, layer.values, layer.bias, support_of(layer)
    )
    return y


def low_rank_support_linear(
    x: Tensor, down: Tensor, up: Tensor, scale: float, layer: Any
) -> Tensor:
    """The sum of `support_linear` and scale * x down^T up^T. down: (rank, in), up: (out, rank)."""
    _check("a low rank and a fixed support", x, down, up, layer.values)
    y: Tensor = LowRankSupportFunction.apply(  # type: ignore[no-untyped-call]
        x, down, up, layer.values, layer.bias, scale, support_of(layer)
    )
    return y


def support_of(layer: Any) -> Support:
    """The tiles of a layer's positions, made once and again when the positions are written."""
    positions = layer.positions
    key = (positions.data_ptr(), positions._version)
    kept = layer.__dict__.get("_kernel_support")
    if kept is None or kept[0] != key:
        kept = key, Support(positions.numpy(), tuple(layer.shape))
        layer.__dict__["_kernel_support"] = kept
    return kept[1]  # type: ignore[no-any-return]


def _check(name: str, *tensors: Tensor) -> None:
    if torch.is_autocast_enabled("cpu"):
        raise UnsupportedError(f"{name}: kernels='cpu' computes in float32; turn autocast off")
    for tensor in tensors:
        check_operand(name, tensor)


def _rows(x: Tensor) -> Any:
    return x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()


def _like(found: Any, x: Tensor) -> Tensor:
    """Rows with the leading axes of x."""
    return torch.from_numpy(found).reshape(*x.shape[:-1], found.shape[-1])


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


class BlockLinearFunction(Function):
    """See `block_linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.threads = torch.get_num_threads()
        return _like(factors.block_diagonal(_array(weight), _rows(x), threads=ctx.threads), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), threads = ctx.saved_tensors, ctx.threads
        dy = _rows(grad)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            found = factors.block_diagonal_input_gradient(_array(weight), dy, threads=threads)
            grad_x = _like(found, x)
        if ctx.needs_input_grad[1]:
            found = factors.block_diagonal_gradient(dy, _rows(x), len(weight), threads=threads)
            grad_weight = torch.from_numpy(found)
        return grad_x, grad_weight


class SupportFunction(Function):
    """See `support_linear`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, support: Support
    ) -> Tensor:
        ctx.save_for_backward(x, values)
        ctx.support, ctx.threads = support, torch.get_num_threads()
        y = _like(support.matmul(_array(values), _rows(x), threads=ctx.threads), x)
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, values), support, threads = ctx.saved_tensors, ctx.support, ctx.threads
        dy = _rows(grad)
        grad_x = grad_values = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _like(support.input_gradient(_array(values), dy, threads=threads), x)
        if ctx.needs_input_grad[1]:
            grad_values = torch.from_numpy(support.gradient(dy, _rows(x), threads=threads))
        if ctx.needs_input_grad[2]:
            grad_bias = torch.from_numpy(dy).sum(0)
        return grad_x, grad_values, grad_bias, None


class LowRankSupportFunction(Function):
    """See `low_rank_support_linear`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, down: Tensor, up: Tensor, values: Tensor, bias: Tensor | None,
        scale: float, support: Support,
    ) -> Tensor:  # fmt: skip
        weight = factors.LowRankSparse(_array(down), _array(up), support, _array(values), scale)
        ctx.threads = torch.get_num_threads()
        y, inner = factors.low_rank_sparse(weight, _rows(x), threads=ctx.threads)
        ctx.save_for_backward(x, down, up, values, torch.from_numpy(inner))
        ctx.support, ctx.scale = support, scale
        found = _like(y, x)
        return found if bias is None else found.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, down, up, values, inner = ctx.saved_tensors
        weight = factors.LowRankSparse(
            _array(down), _array(up), ctx.support, _array(values), ctx.scale
        )
        dy = _rows(grad)
        found = factors.low_rank_sparse_gradients(
            weight, dy, _rows(x), inner.numpy(), threads=ctx.threads
        )
        grad_bias = torch.from_numpy(dy).sum(0) if ctx.needs_input_grad[4] else None
        three = (torch.from_numpy(one) for one in (found.down, found.up, found.values))
        return _like(found.x, x), *three, grad_bias, None, None
