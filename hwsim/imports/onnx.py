"""ONNX graphs as workloads: the forward pass as exported, the backward pass derived."""

from collections.abc import Mapping
from pathlib import Path

from cosparse.spec import Pattern, Workload
from cosparse.spec.names import Names

from .forward import Forward, to_workload
from .onnx_graph import Graph, Node, read_graph
from .onnx_products import PRODUCTS, Reader
from .onnx_streaming import FREE, STREAMING, is_trained, stream
from .pruning import prune


def read_onnx(
    path: str | Path,
    *,
    training: bool = False,
    pattern: Pattern | None = None,
    ends: bool = False,
    dimensions: Mapping[str, int] | None = None,
) -> Workload:
    """Read a graph as FF; `training` derives BP and WU.

    BP exists where a trained weight has a part in the input, as in autograd; a product's constant
    operand is its weight. dimensions: sizes of the inputs' named dimensions. `pattern` prunes every
    weight in FF and BP, stem and classifier only with `ends`.

    Raises InputError for what is not an ONNX file, and UnsupportedError, naming the node, for an
    operator in no table, an unknown shape, and a convolution with unequal padding.
    """
    graph = read_graph(Path(path), dimensions or {})
    reader = Reader(graph, Names(), set())
    forwards = [step for node in graph.nodes if (step := _read(node, reader)) is not None]
    workload = to_workload(forwards, source="onnx", file=str(path), training=training)
    return workload if pattern is None else prune(workload, pattern, ends=ends)


def _read(node: Node, reader: Reader) -> Forward | None:
    """What the node costs; None for nothing. Marks its results as trained or not."""
    graph = reader.graph
    if all(graph.is_constant(output) for output in node.outputs):
        return None
    step = None
    if node.op_type in PRODUCTS:
        step = PRODUCTS[node.op_type](node, reader)
    elif node.op_type in STREAMING:
        step = stream(node, reader)
    elif node.op_type not in FREE:
        raise _unknown(node, graph)
    if (step is not None and step.weight is not None) or is_trained(node, reader):
        reader.trained.update(node.outputs)
    return step


def _unknown(node: Node, graph: Graph) -> Exception:
    return graph.error(
        node,
        f"operator '{node.op_type}' is not counted (supported: {', '.join(sorted(PRODUCTS))}, "
        "element-wise work, reductions, norms, softmax, pooling, gathers, views)",
    )
