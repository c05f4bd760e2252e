"""The GEMMs of ONNX's Conv, Gemm and MatMul, as capture makes them of the same PyTorch network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from cosparse.spec import Phase, Vector
from cosparse.spec.names import Names
from cosparse.spec.products import Side, conv_geometry, convolution, matrix_product

from .forward import BYTES_PER_ELEMENT, Forward, Shape, product
from .onnx_graph import Graph, Node

_WEIGHT = ".weight"


@dataclass(frozen=True)
class Reader:
    """What the readers of nodes share. trained: values that some trained weight has a part in."""

    graph: Graph
    names: Names
    trained: set[str]

    def gradients(self, lhs: str, weight: str | None, rhs: str) -> list[Side]:
        """Factors whose gradient the backward pass needs; a weight's always."""
        wanted = {
            Side.LHS: lhs in self.trained,
            Side.RHS: weight is not None or rhs in self.trained,
        }
        return [side for side in Side if wanted[side]]

    def name(self, node: Node, weight: str | None) -> str:
        """Module that the weight's name tells, `fc` for `fc.weight`, else the node's name."""
        module, suffix, rest = (weight or "").rpartition(_WEIGHT)
        return self.names.unique(Phase.FF, module if suffix and not rest else node.name)


def _conv(node: Node, reader: Reader) -> Forward:
    """One or two spatial axes, any groups, strides and dilations, equal padding at both edges."""
    graph = reader.graph
    x, kernel = node.inputs[:2]
    x_shape, weight_shape = graph.shape(x, node), graph.shape(kernel, node)
    if not graph.is_constant(kernel):
        raise graph.error(node, "the kernel is computed from an input (supported: a constant)")
    axes = len(weight_shape) - 2
    if axes > 2:
        raise graph.error(node, f"{axes} spatial axes (supported: 1 and 2)")
    strides, dilations = (
        list(node.attributes.get(a, [1] * axes)) for a in ("strides", "dilations")
    )
    padding = _padding(node, graph, x_shape[2:], weight_shape[2:], strides, dilations)
    weight = graph.parameters[kernel]
    geometry = conv_geometry(
        x_shape[0],
        _pair(x_shape[2:], 1),
        _pair(weight_shape[2:], 1),
        _pair(strides, 1),
        _pair(padding, 0),
        _pair(dilations, 1),
    )
    groups = int(node.attributes.get("group", 1))
    gemm = convolution(reader.name(node, weight), weight, geometry, weight_shape, groups)
    shapes = (x_shape, weight_shape, graph.shape(node.outputs[0], node))
    bias = _bias_gradient(node, reader, gemm.name, weight_shape[0], shapes[2])
    return product(gemm, weight, shapes, reader.gradients(x, weight, kernel), bias)


def _gemm(node: Node, reader: Reader) -> Forward:
    """A' B' + C with optional transposes; the scalars alpha and beta are free."""
    graph = reader.graph
    lhs, rhs = node.inputs[:2]
    a, b = graph.shape(lhs, node), graph.shape(rhs, node)
    a = a[::-1] if node.attributes.get("transA", 0) else a
    b = b[::-1] if node.attributes.get("transB", 0) else b
    step = _matrix_product(node, reader, (lhs, a), (rhs, b))
    bias = _bias_gradient(node, reader, step.op.name, b[-1], graph.shape(node.outputs[0], node))
    return Forward(step.op, (*step.backward, *bias), step.tensors, step.weight)


def _matmul(node: Node, reader: Reader) -> Forward:
    """NumPy's matmul of a constant or an activation with an activation, with broadcast batches."""
    lhs, rhs = node.inputs[:2]
    a, b = (reader.graph.shape(value, node) for value in (lhs, rhs))
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    return _matrix_product(node, reader, (lhs, a), (rhs, b))


PRODUCTS: dict[str, Callable[[Node, Reader], Forward]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _matrix_product(
    node: Node, reader: Reader, lhs: tuple[str, Shape], rhs: tuple[str, Shape]
) -> Forward:
    """lhs, rhs: (value, shape (..., m, k)) and (value, shape (..., k, n))."""
    if reader.graph.is_constant(lhs[0]) and not reader.graph.is_constant(rhs[0]):
        # W X is computed as (X^T W^T)^T, so that the weight is the right operand.
        lhs, rhs = (rhs[0], _transposed(rhs[1])), (lhs[0], _transposed(lhs[1]))
    (left, a), (right, b) = lhs, rhs
    weight = reader.graph.parameters.get(right)
    m, k, n = a[-2], a[-1], b[-1]
    batch = _broadcast(a[:-2], b[:-2])
    if len(b) == 2:
        m, batch = m * batch, 1  # one matrix for the whole batch: its rows are all one product's
    gemm = matrix_product(reader.name(node, weight), weight, m, k, n, batch=batch)
    right_shape = b if weight is None else _transposed(b)
    output = reader.graph.shape(node.outputs[0], node)
    return product(gemm, weight, (a, right_shape, output), reader.gradients(left, weight, right))


def _broadcast(first: Shape, second: Shape) -> int:
    """Number of matrices after broadcasting; the graph's shapes are known to fit."""
    length = max(len(first), len(second))
    padded = ((1,) * (length - len(axes)) + axes for axes in (first, second))
    return prod(max(pair) for pair in zip(*padded, strict=True))


def _transposed(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


def _bias_gradient(
    node: Node, reader: Reader, name: str, channels: int, output: Shape
) -> tuple[Vector, ...]:
    """The sum over all but the channels, where the product has a bias."""
    if len(node.inputs) < 3 or not reader.graph.is_constant(node.inputs[2]) or not node.inputs[2]:
        return ()
    moved = (prod(output) + channels) * BYTES_PER_ELEMENT
    return (Vector(f"{name}.sum", Phase.BP, "sum", channels, moved),)


def _padding(
    node: Node,
    graph: Graph,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """Padding of one edge an axis. Raises UnsupportedError where the two edges differ."""
    axes = len(kernel)
    mode = node.attributes.get("auto_pad", b"NOTSET").decode()
    if mode == "VALID":
        return [0] * axes
    if mode == "NOTSET":
        pads = list(node.attributes.get("pads", [0] * 2 * axes))
        begins, ends = pads[:axes], pads[axes:]
    else:
        totals = [
            max(0, (-(-size // hop) - 1) * hop + step * (taps - 1) + 1 - size)
            for size, taps, hop, step in zip(sizes, kernel, strides, dilations, strict=True)
        ]
        begins, ends = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    if begins != ends:
        raise graph.error(
            node,
            f"padding {begins} before and {ends} after (supported: the same at both edges; put the "
            "difference into a Pad node before the convolution)",
        )
    return begins


def _pair(sizes: Sequence[int], height: int) -> tuple[int, int]:
    """(height, width); a one-dimensional convolution has the given height."""
    return (height, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
