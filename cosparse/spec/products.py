"""The GEMMs of one forward product: FF, and what its two gradients cost.

    FF  Y (m, n) = A (m, k) B (k, n)        BP  dA = dY B^T (m, n, k)        WU  dB = A^T dY (k, m, n)

B is the weight of a layer; in a product of two activations both gradients are phase BP. All that
makes a workload, from PyTorch or from a file, takes its GEMMs and their names from here.
"""

from enum import StrEnum

from .workload import ConvGeometry, Gemm, Operand, Phase, TensorInfo

OPERAND_DTYPE = "float16"

Pair = tuple[int, int]


class Side(StrEnum):
    """Which factor of the forward product a gradient belongs to."""

    LHS = "lhs"
    RHS = "rhs"


def operand_names(name: str, weight: str | None) -> tuple[str, str, str]:
    """Names of left operand, right operand and output gradient of the product `name`.

    weight: the parameter on the right-hand side; None for a product of two activations.
    """
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


def matrix_product(
    name: str, weight: str | None, m: int, k: int, n: int, *, batch: int = 1
) -> Gemm:
    """FF of (m, k) times (k, n)."""
    left, right, _ = operand_names(name, weight)
    return Gemm(name, Phase.FF, m, k, n, Operand(left), Operand(right), batch)


def conv_geometry(
    batch: int, in_hw: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> ConvGeometry:
    """Geometry with its output size; `padding` is that of one edge, the same at both."""
    height, width = (
        (size + 2 * pad - step * (taps - 1) - 1) // hop + 1
        for size, pad, step, taps, hop in zip(in_hw, padding, dilation, kernel, stride, strict=True)
    )
    return ConvGeometry(batch, in_hw, (height, width), kernel, stride, padding, dilation)


def convolution(
    name: str, weight: str, geometry: ConvGeometry, weight_shape: tuple[int, ...], groups: int
) -> Gemm:
    """FF of a convolution, images in m. weight_shape: (out, in / groups, *taps)."""
    out_channels, group_channels = weight_shape[:2]
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


def gradient(forward: Gemm, side: Side, weight: str | None) -> Gemm:
    """The GEMM that computes the gradient of one factor of an FF product."""
    if weight is None:
        return _activation_gradient(forward, side)
    return _input_gradient(forward) if side is Side.LHS else _weight_gradient(forward)


def _input_gradient(ff: Gemm) -> Gemm:
    """BP; a strided convolution has FF's MACs over more (input) pixels."""
    m, k, n = ff.m, ff.n, ff.k
    if ff.conv is not None:
        m = ff.conv.batch * ff.conv.in_hw[0] * ff.conv.in_hw[1]
        k, n = ff.n * ff.taps, ff.k // ff.taps
    grad = _output_grad(ff)
    return Gemm(ff.name, Phase.BP, m, k, n, grad, ff.rhs, ff.batch, ff.groups, ff.conv, ff.macs)


def _weight_gradient(ff: Gemm) -> Gemm:
    grad = _output_grad(ff)
    return Gemm(ff.name, Phase.WU, ff.k, ff.m, ff.n, ff.lhs, grad, ff.batch, ff.groups, ff.conv)


def _activation_gradient(ff: Gemm, side: Side) -> Gemm:
    name, grad = f"{ff.name}.{side}", _output_grad(ff)
    if side is Side.LHS:
        return Gemm(name, Phase.BP, ff.m, ff.n, ff.k, grad, ff.rhs, ff.batch)
    return Gemm(name, Phase.BP, ff.k, ff.m, ff.n, ff.lhs, grad, ff.batch)


def _output_grad(ff: Gemm) -> Operand:
    return Operand(operand_names(ff.name, None)[2])
