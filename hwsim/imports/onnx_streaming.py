"""ONNX operators outside the products: which stream, which cost nothing, which take part in training.

The kinds are those of a captured workload.
"""

from collections.abc import Iterable
from math import prod

from cosparse.spec import Phase, Vector

from .forward import BYTES_PER_ELEMENT, Forward
from .onnx_graph import VIEWS, Node
from .onnx_products import Reader

FREE = VIEWS | {
    "Constant", "ConstantOfShape", "Expand", "Range", "Shape", "Size", "Slice", "Split",
}  # fmt: skip
"""Views, and what depends on shapes alone."""

_KINDS: dict[str, tuple[str, ...]] = {
    "activation": (
        "Celu", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Selu", "Softplus",
        "Softsign", "Swish", "ThresholdedRelu",
    ),
    "batch_norm": ("BatchNormalization",),
    "compare": ("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"),
    "copy": ("Concat", "Tile"),
    "dropout": ("Dropout",),
    "gather": ("Gather", "GatherElements", "GatherND"),
    "group_norm": ("GroupNormalization", "InstanceNormalization"),
    "layer_norm": ("LayerNormalization",),
    "lrn": ("LRN",),
    "log_softmax": ("LogSoftmax",),
    "logical": ("And", "Not", "Or", "Xor"),
    "pad": ("Pad",),
    "pool": ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"),
    "rms_norm": ("RMSNormalization",),
    "scan": ("CumSum",),
    "scatter": ("ScatterElements", "ScatterND"),
    "shuffle": ("DepthToSpace", "SpaceToDepth"),
    "sort": ("TopK",),
    "triangle": ("Trilu",),
    "upsample": ("Resize", "Upsample"),
}  # fmt: skip

_OWN_KIND = {
    "Abs": "abs", "Add": "add", "ArgMax": "argmax", "ArgMin": "argmin", "Ceil": "ceil",
    "Clip": "clamp", "Cos": "cos", "Div": "div", "Erf": "erf", "Exp": "exp", "Floor": "floor",
    "Gelu": "gelu", "Log": "log", "Max": "maximum", "Mean": "mean", "Min": "minimum", "Mod": "mod",
    "Mul": "mul", "Neg": "neg", "Pow": "pow", "Reciprocal": "reciprocal", "ReduceL1": "norm",
    "ReduceL2": "norm", "ReduceLogSumExp": "logsumexp", "ReduceMax": "amax", "ReduceMean": "mean",
    "ReduceMin": "amin", "ReduceProd": "prod", "ReduceSum": "sum", "ReduceSumSquare": "sum",
    "Relu": "relu", "Round": "round", "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin",
    "Softmax": "softmax", "Sqrt": "sqrt", "Sub": "sub", "Sum": "add", "Tanh": "tanh",
    "Where": "where",
}  # fmt: skip

STREAMING: dict[str, str] = {
    **_OWN_KIND,
    **{op_type: kind for kind, op_types in _KINDS.items() for op_type in op_types},
}
"""op_type -> kind of the Vector."""

_PARAMETER_INPUT = {
    "BatchNormalization": 1,
    "Gather": 0,
    "GroupNormalization": 1,
    "InstanceNormalization": 1,
    "LayerNormalization": 1,
    "PRelu": 1,
    "RMSNormalization": 1,
}
"""op_type -> the input that is trained where it is constant: a scale, a slope, an embedding."""

_READS_SELECTED = frozenset(_KINDS["gather"])
_PASSES_ON = frozenset({"Add", "Concat", "Sub", "Sum"})
_WITHOUT_GRADIENT = frozenset({
    "ArgMax", "ArgMin", *_KINDS["compare"], *_KINDS["logical"], "Ceil", "Floor", "Round", "Shape",
    "Sign", "Size",
})  # fmt: skip


def stream(node: Node, reader: Reader) -> Forward:
    """Every input read once, every output written once; a gather reads what it selects.

    Backward reads and writes what forward does, and the gradient of the inputs beside; a sum passes
    its gradient on at no cost.
    """
    graph = reader.graph
    inputs = [value for value in node.inputs if value]
    elements = prod(graph.shape(node.outputs[0], node))
    written = elements + _elements(reader, node, node.outputs[1:])
    read = _elements(reader, node, inputs)
    if node.op_type in _READS_SELECTED:
        read = elements + _elements(reader, node, inputs[1:])
    kind, moved = STREAMING[node.op_type], (read + written) * BYTES_PER_ELEMENT
    op = Vector(reader.names.unique(Phase.FF, node.name), Phase.FF, kind, elements, moved)
    if node.op_type in _PASSES_ON or not is_trained(node, reader):
        return Forward(op)
    streamed = _elements(reader, node, [v for v in inputs if not graph.is_constant(v)])
    moved += streamed * BYTES_PER_ELEMENT
    return Forward(op, (Vector(op.name, Phase.BP, kind, streamed or elements, moved),))


def is_trained(node: Node, reader: Reader) -> bool:
    """Whether the backward pass runs through the node."""
    if node.op_type in _WITHOUT_GRADIENT:
        return False
    position = _PARAMETER_INPUT.get(node.op_type)
    own = position is not None and node.inputs[position] in reader.graph.parameters
    return own or any(value in reader.trained for value in node.inputs)


def _elements(reader: Reader, node: Node, values: Iterable[str]) -> int:
    return sum(prod(reader.graph.shape(value, node)) for value in values)
