"""An ONNX file as plain data: nodes in order, the shape of every value, and what is constant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosparse.spec import InputError, UnsupportedError

from .forward import Shape
from .onnx_shapes import infer_shapes

VIEWS = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose result is their first input in another form."""

_SHAPE_READERS = frozenset({"Shape", "Size"})
_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Node:
    """One operator. An omitted optional input is an empty name."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.op_type})"


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order and what is known of values by name."""

    file: str
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    """Values whose every dimension is known."""
    parameters: Mapping[str, str]
    """Constant value -> the initializer or Constant that it comes from."""

    def is_constant(self, value: str) -> bool:
        """Whether it depends on no input of the graph; an omitted input is constant."""
        return not value or value in self.parameters

    def shape(self, value: str, node: Node) -> Shape:
        """Raises UnsupportedError, naming the node, where the shape is not known."""
        if value not in self.shapes:
            raise self.error(
                node,
                f"the shape of '{value}' is not known; export with fixed shapes, or give the sizes "
                "of named dimensions (dimensions={'batch': 1})",
            )
        return self.shapes[value]

    def error(self, node: Node, message: str) -> UnsupportedError:
        return UnsupportedError(f"{self.file}: {node}: {message}")


def read_graph(path: Path, dimensions: Mapping[str, int]) -> Graph:
    """Read a file and infer shapes. dimensions: sizes of the inputs' named dimensions.

    Weights kept in other files are not read. Raises InputError for a file that is not ONNX and
    where the package `onnx` is missing.
    """
    model = _load(path)
    _fix_dimensions(model.graph, dimensions, path)
    shaped = infer_shapes(model, path).graph
    shapes = {
        value.name: shape
        for values in (shaped.input, shaped.output, shaped.value_info)
        for value in values
        if (shape := _fixed_shape(value)) is not None
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in shaped.initializer}
    nodes = tuple(_node(proto, index) for index, proto in enumerate(shaped.node))
    parameters = _constants(nodes, [tensor.name for tensor in shaped.initializer])
    return Graph(str(path), nodes, shapes, parameters)


def _load(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise InputError(
            f"{path}: reading ONNX needs the package onnx: pip install 'cosparse[models]'"
        ) from None
    try:
        return onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: cannot read a model: {error.strerror}") from None
    except Exception as error:  # protobuf's DecodeError has no stable import path
        raise InputError(f"{path}: not an ONNX model: {error}") from None


def _fix_dimensions(graph: Any, dimensions: Mapping[str, int], path: Path) -> None:
    """Give the inputs' named dimensions their sizes. Raises InputError for one that is not there."""
    dims = [dim for value in graph.input for dim in value.type.tensor_type.shape.dim]
    named = {dim.dim_param for dim in dims if dim.dim_param}
    for name in dimensions:
        if name not in named:
            known = ", ".join(sorted(named)) or "none"
            raise InputError(f"{path}: no input has a dimension '{name}' (named ones: {known})")
    for dim in dims:
        if dim.dim_param in dimensions:
            dim.dim_value = dimensions[dim.dim_param]


def _fixed_shape(value: Any) -> Shape | None:
    """Sizes of a value, or None if one is unknown or it is not a tensor."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def _node(proto: Any, index: int) -> Node:
    import onnx

    standard = proto.domain in _STANDARD_DOMAINS
    return Node(
        name=proto.name or f"{proto.op_type}_{index}",
        op_type=proto.op_type if standard else f"{proto.domain}.{proto.op_type}",
        inputs=tuple(proto.input),
        outputs=tuple(name for name in proto.output if name),
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute},
    )


def _constants(nodes: Iterable[Node], initializers: Iterable[str]) -> dict[str, str]:
    """Constant value -> its origin: what is computed from constants, or from shapes alone."""
    origins = {name: name for name in initializers}
    for node in nodes:
        from_constants = all(not name or name in origins for name in node.inputs)
        if from_constants or node.op_type in _SHAPE_READERS:
            viewed = node.inputs[0] if node.op_type in VIEWS else ""
            origins |= {output: origins.get(viewed, output) for output in node.outputs}
    return origins
