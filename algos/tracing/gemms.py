"""The GEMMs of one forward product: FF, and what its two gradients cost.

    FF  Y (m, n) = A (m, k) B (k, n)        BP  dA = dY B^T (m, n, k)        WU  dB = A^T dY (k, m, n)

B is the weight of a layer; in a product of two activations both gradients are phase BP.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import Tensor

from cosparse.spec import ConvGeometry, Gemm, Operand, Phase, TensorInfo

OPERAND_DTYPE = "float16"


class Side(StrEnum):
    """Which factor of the forward product a gradient belongs to."""

    LHS = "lhs"
    RHS = "rhs"


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
    left, right, _ = operand_names(name, weight)
    return Gemm(name, Phase.FF, m, k, n, Operand(left), Operand(right), batch)


def convolution(name: str, weight: str, args: tuple[Any, ...]) -> Gemm:
    """FF of aten.convolution's arguments, one or two spatial axes; images lie in m."""
    geometry, groups = conv_geometry(args), args[8]
    out_channels, group_channels = args[1].shape[:2]
    left, right, _ = operand_names(name, weight)
    return Gemm(
        name,
        Phase.FF,
        m=geometry.batch * geometry.out_hw[0] * geometry.out_hw[1],
        k=group_channels * geometry.taps,
        n=out_channels // groups,
        lhs=Operand(left),
        rhs=Operand(right),
        groups=groups,
        conv=geometry,
    )


def conv_geometry(args: tuple[Any, ...]) -> ConvGeometry:
    """Geometry of aten.convolution's (input, weight, bias, stride, padding, dilation, ...)."""
    x, weight, _, stride, padding, dilation = args[:6]
    axes = weight.dim() - 2
    stride, padding, dilation = (list(v) * (axes // len(v)) for v in (stride, padding, dilation))
    in_hw = x.shape[-axes:]
    out = [
        (size + 2 * pad - step * (taps - 1) - 1) // hop + 1
        for size, pad, step, taps, hop in zip(
            in_hw, padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    return ConvGeometry(
        batch=x.shape[0],
        in_hw=_pair(in_hw, 1),
        out_hw=_pair(out, 1),
        kernel=_pair(weight.shape[2:], 1),
        stride=_pair(stride, 1),
        padding=_pair(padding, 0),
        dilation=_pair(dilation, 1),
    )


def gradient(product: Product, side: Side) -> Gemm:
    """Return the GEMM that computes the gradient of one factor."""
    if product.weight is None:
        return _activation_gradient(product, side)
    return _input_gradient(product) if side is Side.LHS else _weight_gradient(product)


def operand_names(name: str, weight: str | None) -> tuple[str, str, str]:
    """Names of left operand, right operand and output gradient of the product `name`."""
    if weight is None:
        return f"{name}.lhs", f"{name}.rhs", f"{name}.output_grad"
    return f"{name}.input", weight, f"{name}.output_grad"


def tensor_infos(name: str, weight: str | None, *shapes: tuple[int, ...]) -> tuple[TensorInfo, ...]:
    """The three tensors of a product, shapes in the order of `operand_names`."""
    roles = ("activation", "activation" if weight is None else "weight", "gradient")
    return tuple(
        TensorInfo(tensor, tuple(shape), OPERAND_DTYPE, role)
        for tensor, shape, role in zip(operand_names(name, weight), shapes, roles, strict=True)
    )


def _input_gradient(product: Product) -> Gemm:
    """BP; a strided convolution has FF's MACs over more (input) pixels."""
    ff = product.forward
    m, k, n = ff.m, ff.n, ff.k
    if ff.conv is not None:
        m = ff.conv.batch * ff.conv.in_hw[0] * ff.conv.in_hw[1]
        k, n = ff.n * ff.taps, ff.k // ff.taps
    output_grad = Operand(product.tensors[2].name)
    return Gemm(
        ff.name, Phase.BP, m, k, n, output_grad, ff.rhs, ff.batch, ff.groups, ff.conv, ff.macs
    )


def _weight_gradient(product: Product) -> Gemm:
    ff = product.forward
    output_grad = Operand(product.tensors[2].name)
    return Gemm(
        ff.name, Phase.WU, ff.k, ff.m, ff.n, ff.lhs, output_grad, ff.batch, ff.groups, ff.conv
    )


def _activation_gradient(product: Product, side: Side) -> Gemm:
    ff = product.forward
    name, output_grad = f"{ff.name}.{side}", Operand(product.tensors[2].name)
    if side is Side.LHS:
        return Gemm(name, Phase.BP, ff.m, ff.n, ff.k, output_grad, ff.rhs, ff.batch)
    return Gemm(name, Phase.BP, ff.k, ff.m, ff.n, ff.lhs, output_grad, ff.batch)


def _pair(sizes: Any, height: int) -> tuple[int, int]:
    """(height, width); a one-dimensional convolution has the given height."""
    return (height, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
