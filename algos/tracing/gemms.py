"""A forward product as capture follows it, and the FF GEMM of an ATen operator's arguments."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cosparse.spec import ConvGeometry, Gemm, TensorInfo, products
from cosparse.spec.products import Side


@dataclass
class Product:
    """A forward product and what is needed to recognise and build its gradients."""

    forward: Gemm
    tensors: tuple[TensorInfo, ...]
    """Left operand, right operand, gradient of the output."""
    weight: str | None
    """Parameter on the right-hand side; None for a product of two activations."""
    lhs_keys: set[int]
    rhs_keys: set[int]
    """Storages that hold the operands, originals and recomputed ones."""
    scope: str = ""
    done: set[Side] = field(default_factory=set)
    """Gradients that the backward pass has produced."""

    @property
    def signature(self) -> tuple[str, str | None, tuple[int, ...]]:
        """Equal for a product and its recomputation."""
        return self.scope, self.weight, self.forward.shape

    def side_by_storage(self, keys: set[int], weights: set[str]) -> Side | None:
        """The gradient that a product of these operands computes: it reads the other factor."""
        reads_rhs = self.weight in weights or not keys.isdisjoint(self.rhs_keys)
        if reads_rhs and Side.LHS not in self.done:
            return Side.LHS
        reads_lhs = not keys.isdisjoint(self.lhs_keys)
        return Side.RHS if reads_lhs and Side.RHS not in self.done else None

    def side_by_shape(self, shape: tuple[int, ...]) -> Side | None:
        """The gradient of this shape, where checkpointing recomputed the operands unseen.

        A gradient may come out transposed. Where both fit, both are the same amount of work.
        """
        if self.weight is not None:
            return Side.RHS if Side.RHS not in self.done else None
        for side, operand in zip(Side, self.tensors[:2], strict=True):
            if side not in self.done and sorted(operand.shape) == sorted(shape):
                return side
        return None


def matrix_product(name: str, weight: str | None, lhs: Tensor, rhs: Tensor) -> Gemm:
    """FF of `lhs` (..., m, k) times `rhs` (..., k, n); a leading axis is the batch."""
    batch = lhs.shape[0] if lhs.dim() == 3 else 1
    m, k, n = *lhs.shape[-2:], rhs.shape[-1]
    return products.matrix_product(name, weight, m, k, n, batch=batch)


def convolution(name: str, weight: str, args: tuple[Any, ...]) -> Gemm:
    """FF of aten.convolution's arguments, one or two spatial axes; images lie in m."""
    return products.convolution(name, weight, conv_geometry(args), tuple(args[1].shape), args[8])


def conv_geometry(args: tuple[Any, ...]) -> ConvGeometry:
    """Geometry of aten.convolution's (input, weight, bias, stride, padding, dilation, ...)."""
    x, weight, _, stride, padding, dilation = args[:6]
    axes = weight.dim() - 2
    stride, padding, dilation = (list(v) * (axes // len(v)) for v in (stride, padding, dilation))
    return products.conv_geometry(
        batch=x.shape[0],
        in_hw=_pair(x.shape[-axes:], 1),
        kernel=_pair(weight.shape[2:], 1),
        stride=_pair(stride, 1),
        padding=_pair(padding, 0),
        dilation=_pair(dilation, 1),
    )


def gradient(product: Product, side: Side) -> Gemm:
    """Return the GEMM that computes the gradient of one factor."""
    return products.gradient(product.forward, side, product.weight)


def _pair(sizes: Any, height: int) -> tuple[int, int]:
    """(height, width); a one-dimensional convolution has the given height."""
    return (height, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
