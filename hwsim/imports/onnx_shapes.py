"""Shape inference for ONNX, through the integer arithmetic on shapes that exporters leave in a graph."""

from pathlib import Path
from typing import Any

import numpy as np

from cosparse.spec import InputError

MAX_ENTRIES = 64
"""Integer tensors up to this size are taken for shapes, axes or indices, and evaluated."""

Values = dict[str, np.ndarray[Any, Any]]


def infer_shapes(model: Any, path: Path) -> Any:
    """The model with every shape that follows from its inputs' shapes.

    Nodes that compute small integer tensors become initializers, which lets inference go on behind
    a Reshape or Expand. Raises InputError where shapes contradict each other.
    """
    import onnx

    while True:
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
        except onnx.shape_inference.InferenceError as error:
            raise InputError(f"{path}: shapes do not fit: {str(error).strip()}") from None
        if not _fold(model):
            return model


def _fold(model: Any) -> bool:
    """Turn the integer nodes that can be evaluated into initializers; whether there was any."""
    import onnx

    graph = model.graph
    known = _small_integers(graph.initializer)
    shapes = {value.name: value.type.tensor_type.shape for value in _values(graph)}
    kept = []
    for node in graph.node:
        found = _evaluate(node, known, shapes, model.opset_import)
        if found is None:
            kept.append(node)
            continue
        known |= found
        graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in found.items())
    folded = len(kept) < len(graph.node)
    if folded:
        del graph.node[:]
        graph.node.extend(kept)
    return folded


def _evaluate(node: Any, known: Values, shapes: dict[str, Any], opsets: Any) -> Values | None:
    """The node's results, or None where it computes more than small integers from known ones."""
    if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute:
        dims = shapes[node.input[0]].dim
        if all(dim.HasField("dim_value") for dim in dims):
            return {node.output[0]: np.array([dim.dim_value for dim in dims], np.int64)}
    if not all(not name or name in known for name in node.input):
        return None
    results = _run(node, {name: known[name] for name in node.input if name}, opsets)
    small = results and all(_is_small_integer(value) for value in results.values())
    return results if small else None


def _run(node: Any, feeds: Values, opsets: Any) -> Values:
    """Results of one node by ONNX's own reference; none where it cannot run."""
    from onnx import ValueInfoProto, helper
    from onnx.reference import ReferenceEvaluator

    inputs, outputs = ([ValueInfoProto(name=n) for n in names] for names in (feeds, node.output))
    graph = helper.make_graph([node], "shape", inputs, outputs)
    try:
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets))
        return dict(zip(node.output, map(np.asarray, evaluator.run(None, feeds)), strict=True))
    except Exception:  # the reference raises its own and NumPy's; the node then stays as it is
        return {}


def _small_integers(initializers: Any) -> Values:
    import onnx

    integers = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in initializers
        if tensor.data_type in integers and int(np.prod(tensor.dims)) <= MAX_ENTRIES
    }


def _is_small_integer(value: np.ndarray[Any, Any]) -> bool:
    return value.size <= MAX_ENTRIES and value.dtype.kind in "ib"


def _values(graph: Any) -> list[Any]:
    return [
        value
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.HasField("shape")
    ]
