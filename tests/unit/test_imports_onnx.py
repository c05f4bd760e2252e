"""ONNX graphs, built as an exporter builds them, against the capture of the same PyTorch network."""

import math
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from algos import capture
from cosparse.spec import NM, Dense, InputError, Phase, UnsupportedError
from hwsim.imports import read_onnx
from hwsim.imports.onnx_products import PRODUCTS
from hwsim.imports.onnx_streaming import FREE, STREAMING

onnx = pytest.importorskip("onnx", reason="needs the extra `models`")
helper = onnx.helper
FLOAT = onnx.TensorProto.FLOAT


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)


def save(folder, nodes, inputs, weights=(), constants=()):
    """inputs, weights: name -> shape; constants: name -> array. The last node gives the output."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in dict(weights).items()}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in (arrays | dict(constants)).items()
        ],
    )
    path = folder / "net.onnx"
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("custom", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path


def parameters(model):
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def amounts(workload):
    """What executors see of the products, whatever their names."""
    return Counter((g.phase, g.shape, g.macs, g.conv) for g in workload.gemms)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


# --- the same GEMMs as capture


class SmallCNN(nn.Module):
    """A residual, a strided grouped and a depthwise convolution, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=2, bias=False)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16, bias=False)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        h = F.relu(self.bn(self.stem(x)))
        h = F.relu(self.conv(h) + h)
        h = self.depthwise(self.down(h))
        return self.fc(F.adaptive_avg_pool2d(h, 1).flatten(1))


def small_cnn(folder, batch=2):
    names = "bn.weight", "bn.bias", "bn.mean", "bn.var"
    nodes = [
        node("Conv", ["x", "stem.weight"], "a", pads=[1] * 4),
        node("BatchNormalization", ["a", *names], "b"),
        node("Relu", ["b"], "c"),
        node("Conv", ["c", "conv.weight", "conv.bias"], "d", pads=[1] * 4, kernel_shape=[3, 3]),
        node("Add", ["d", "c"], "e"),
        node("Relu", ["e"], "f"),
        node("Conv", ["f", "down.weight"], "g", pads=[1] * 4, strides=[2, 2], group=2),
        node("Conv", ["g", "depthwise.weight"], "h", pads=[2] * 4, dilations=[2, 2], group=16),
        node("GlobalAveragePool", ["h"], "i"),
        node("Flatten", ["i"], "j"),
        node("Gemm", ["j", "fc.weight", "fc.bias"], "y", transB=1),
    ]
    weights = parameters(SmallCNN()) | {"bn.mean": (8,), "bn.var": (8,)}
    return save(folder, nodes, {"x": (batch, 3, 9, 9)}, weights)


def test_a_convolutional_network(folder):
    captured = capture(SmallCNN(), torch.zeros(2, 3, 9, 9))
    read = read_onnx(small_cnn(folder), training=True)
    assert read.gemms == captured.gemms
    assert read.tensors == captured.tensors
    assert read.provenance["layers"] == captured.provenance["layers"]
    kinds = Counter((v.phase, v.kind) for v in read.vectors)
    # Torch sums twice in BP of the residual and divides in the pool; both are left out here.
    assert kinds[Phase.BP, "relu"] == kinds[Phase.FF, "relu"] == 2
    assert kinds[Phase.BP, "sum"] == 2 and kinds[Phase.FF, "add"] == 1


class Block(nn.Module):
    """Attention of two heads without projections of its input, after an embedding of patches."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(6, 8, bias=False)
        self.qkv = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        h = self.norm(self.proj(x))
        q, k, v = self.qkv(h).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.transpose(-1, -2), -1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))


def test_a_transformer_block(folder):
    batch, tokens = 3, 5
    nodes = [
        node("Transpose", ["proj.weight"], "proj_t", perm=[1, 0]),
        node("MatMul", ["x", "proj_t"], "p"),
        node("LayerNormalization", ["p", "norm.weight", "norm.bias"], "n"),
        node("Transpose", ["qkv.weight"], "qkv_t", perm=[1, 0]),
        node("MatMul", ["n", "qkv_t"], "m"),
        node("Add", ["m", "qkv.bias"], "a"),
        # The sizes that an exporter computes in the graph: (batch, tokens, 3, 2, 4).
        node("Shape", ["x"], "shape"),
        node("Gather", ["shape", "zero"], "b"),
        node("Gather", ["shape", "one"], "t"),
        node("Concat", ["b", "t", "rest"], "sizes", axis=0),
        node("Reshape", ["a", "sizes"], "r"),
        node("Transpose", ["r"], "s", perm=[2, 0, 3, 1, 4]),
        helper.make_node("Split", ["s"], ["q4", "k4", "v4"], axis=0, num_outputs=3),
        *[node("Squeeze", [f"{v}4", "zero"], v) for v in "qkv"],
        node("Transpose", ["k"], "kt", perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], "scores"),
        node("Softmax", ["scores"], "soft", axis=-1),
        node("MatMul", ["soft", "v"], "mixed"),
        node("Transpose", ["mixed"], "mt", perm=[0, 2, 1, 3]),
        node("Reshape", ["mt", "merged"], "mr"),
        node("Transpose", ["out.weight"], "out_t", perm=[1, 0]),
        node("MatMul", ["mr", "out_t"], "y"),
    ]
    constants = {
        "zero": np.array([0]), "one": np.array([1]), "rest": np.array([3, 2, 4]),
        "merged": np.array([0, 0, -1]),
    }  # fmt: skip
    path = save(folder, nodes, {"x": (batch, tokens, 6)}, parameters(Block()), constants)
    read = read_onnx(path, training=True)
    captured = capture(Block(), torch.zeros(batch, tokens, 6))
    assert amounts(read) == amounts(captured)
    named = {g.name for g in read.gemms if g.phase is Phase.WU}
    assert (
        named == {g.name for g in captured.gemms if g.phase is Phase.WU} == {"proj", "qkv", "out"}
    )


@given(data=st.data())
def test_any_convolution_is_what_torch_computes(folder, data):
    axes = data.draw(st.integers(1, 2))

    def sizes(low, high):
        return [data.draw(st.integers(low, high)) for _ in range(axes)]

    kernel, stride, padding, dilation = sizes(1, 4), sizes(1, 3), sizes(0, 3), sizes(1, 3)
    groups = data.draw(st.integers(1, 3))
    c_in, c_out = (groups * data.draw(st.integers(1, 4)) for _ in range(2))
    spans = zip(kernel, dilation, padding, sizes(0, 8), strict=True)
    size = [max(1, d * (k - 1) + 1 - 2 * p + extra) for k, d, p, extra in spans]
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
    with torch.device("meta"):
        stem = kind(2, c_in, 1, bias=False)
        conv = kind(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)
        model = nn.Sequential(stem, conv)
        captured = capture(model, torch.empty(2, 2, *size))
    options = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": groups}
    nodes = [
        node("Conv", ["x", "0.weight"], "a"),
        node("Conv", ["a", "1.weight"], "y", **options),
    ]
    path = save(folder, nodes, {"x": (2, 2, *size)}, parameters(model))
    assert read_onnx(path, training=True).gemms == captured.gemms


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((5, 4), (4, 6), (1, 1, 5, 4, 6)),
        ((2, 3, 5, 4), (4, 6), (1, 1, 30, 4, 6)),
        ((2, 3, 5, 4), (2, 3, 4, 6), (6, 1, 5, 4, 6)),
        ((2, 1, 5, 4), (3, 4, 6), (6, 1, 5, 4, 6)),
        ((5, 4), (3, 4, 6), (3, 1, 5, 4, 6)),
        ((4,), (4, 6), (1, 1, 1, 4, 6)),
        ((5, 4), (4,), (1, 1, 5, 4, 1)),
    ],
)
@pytest.mark.parametrize("constant", ["none", "right"])
def test_products_of_matrices(tmp_path, left, right, expected, constant):
    inputs = {"a": left} | ({"b": right} if constant == "none" else {})
    weights = {} if constant == "none" else {"b": right}
    (gemm,) = read_onnx(save(tmp_path, [node("MatMul", ["a", "b"], "y")], inputs, weights)).gemms
    assert gemm.shape == expected
    numpy_macs = np.matmul(np.ones(left), np.ones(right)).sum()  # every product of ones counts one
    assert gemm.macs == numpy_macs


def test_a_weight_on_the_left_becomes_the_right_operand(tmp_path):
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.left = nn.Parameter(torch.zeros(6, 4))

        def forward(self, x):
            return self.left @ x

    nodes = [node("MatMul", ["left", "x"], "y")]
    read = read_onnx(save(tmp_path, nodes, {"x": (4, 7)}, {"left": (6, 4)}), training=True)
    captured = capture(Left(), torch.zeros(4, 7))
    assert amounts(read) == amounts(captured)
    assert read.gemms[0].rhs.tensor == "left"


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm_transposes(tmp_path, trans_a, trans_b):
    a, b = ((4, 5) if trans_a else (5, 4)), ((6, 4) if trans_b else (4, 6))
    nodes = [node("Gemm", ["x", "fc.weight"], "y", transA=trans_a, transB=trans_b)]
    read = read_onnx(save(tmp_path, nodes, {"x": a}, {"fc.weight": b}))
    assert read.gemms[0].shape == (1, 1, 5, 4, 6)
    weight = next(t for t in read.tensors if t.role == "weight")
    assert (weight.name, weight.shape) == ("fc.weight", (6, 4))


@pytest.mark.parametrize(
    ("mode", "kernel", "expected"),
    [("VALID", 3, (0, 0)), ("SAME_UPPER", 3, (1, 1)), ("SAME_LOWER", 5, (2, 2))],
)
def test_automatic_padding(tmp_path, mode, kernel, expected):
    nodes = [node("Conv", ["x", "w"], "y", auto_pad=mode)]
    path = save(tmp_path, nodes, {"x": (1, 2, 9, 9)}, {"w": (4, 2, kernel, kernel)})
    assert read_onnx(path).gemms[0].conv.padding == expected


# --- which gradients exist


def test_what_no_trained_weight_touches_has_no_gradient(tmp_path):
    nodes = [
        node("Sub", ["x", "mean"], "a"),
        node("Relu", ["a"], "b"),
        node("MatMul", ["b", "w1"], "c"),
        node("Relu", ["c"], "d"),
        node("MatMul", ["d", "w2"], "y"),
    ]
    weights = {"mean": (4,), "w1": (4, 5), "w2": (5, 6)}
    read = read_onnx(save(tmp_path, nodes, {"x": (3, 4)}, weights), training=True)
    backward = [(op.phase.value, op.name) for op in read.ops if op.phase is not Phase.FF]
    assert backward == [("BP", "y"), ("WU", "y"), ("BP", "d"), ("WU", "c")]


def test_only_trained_activations_have_gradients(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "a"), node("MatMul", ["a", "z"], "y")]
    inputs = {"x": (3, 4), "z": (5, 6)}
    read = read_onnx(save(tmp_path, nodes, inputs, {"w": (4, 5)}), training=True)
    assert [g.name for g in read.gemms if g.phase is Phase.BP] == ["y.lhs"]


# --- vector work


def test_traffic_of_streaming_work(tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], "a"),
        node("Relu", ["a"], "r"),
        node("Add", ["r", "a"], "s"),
        node("Gather", ["s", "rows"], "g", axis=0),
    ]
    path = save(tmp_path, nodes, {"x": (8, 4)}, {"w": (4, 16)}, {"rows": np.array([1, 2])})
    read = read_onnx(path, training=True)
    vectors = {(v.phase.value, v.name): (v.kind, v.elements, v.bytes) for v in read.vectors}
    full = 8 * 16
    assert vectors == {
        ("FF", "r"): ("relu", full, 2 * 2 * full),
        ("FF", "s"): ("add", full, 2 * 3 * full),
        # A gather reads the two rows that it selects, and the two indices.
        ("FF", "g"): ("gather", 32, 2 * (32 + 2 + 32)),
        ("BP", "g"): ("gather", full, 2 * (32 + 2 + 32) + 2 * full),
        ("BP", "r"): ("relu", full, 2 * 3 * full),
    }


def test_an_embedding_is_trained(tmp_path):
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, (2, 3))
    nodes = [node("Gather", ["embed.weight", "ids"], "e"), node("MatMul", ["e", "w"], "y")]
    path = save(tmp_path, nodes, {}, {"embed.weight": (10, 4), "w": (4, 5)})
    model = onnx.load(path)
    model.graph.input.append(ids)
    onnx.save(model, path)
    phases = [op.phase.value for op in read_onnx(path, training=True).ops if op.name == "y"]
    assert phases == ["FF", "BP", "WU"]


def test_work_on_constants_is_free(tmp_path):
    nodes = [node("Mul", ["w", "mask"], "masked"), node("MatMul", ["x", "masked"], "y")]
    path = save(tmp_path, nodes, {"x": (3, 4)}, {"w": (4, 5), "mask": (4, 5)})
    assert [op.name for op in read_onnx(path).ops] == ["y"]


def test_tables_name_operators_of_onnx_once():
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert set(STREAMING) | set(PRODUCTS) | FREE <= known
    assert not set(STREAMING) & FREE and not set(PRODUCTS) & (FREE | set(STREAMING))


# --- patterns and dimensions


def test_a_pattern_takes_all_but_the_ends(folder):
    read = read_onnx(small_cnn(folder), training=True, pattern=NM(2, 8))
    pruned = {(g.phase.value, g.name) for g in read.gemms if g.rhs.pattern != Dense()}
    # `down` has four channels a group: its FF stays dense, its eight filters a group serve BP.
    assert pruned == {("FF", "conv"), ("BP", "conv"), ("BP", "down")}
    assert read.provenance["dense"]["stem.weight"] == "stem"
    assert read.provenance["dense"]["fc.weight"] == "classifier"


def test_a_batch_of_weights_stays_dense(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "h"), node("MatMul", ["h", "v"], "y")]
    path = save(tmp_path, nodes, {"x": (3, 5, 8)}, {"w": (3, 8, 8), "v": (8, 8)})
    read = read_onnx(path, pattern=NM(2, 8), ends=True)
    assert [str(gemm.rhs.pattern) for gemm in read.gemms] == ["dense", "2:8"]
    assert "has no packed form" in read.provenance["dense"]["w (FF)"]


def test_named_dimensions_get_their_size(tmp_path):
    path = save(tmp_path, [node("MatMul", ["x", "w"], "y")], {"x": ("batch", 4)}, {"w": (4, 5)})
    assert read_onnx(path, dimensions={"batch": 7}).gemms[0].m == 7
    with pytest.raises(UnsupportedError, match=r"'y' \(MatMul\): the shape of 'x' is not known"):
        read_onnx(path)
    with pytest.raises(InputError, match=r"no input has a dimension 'bach' \(named ones: batch\)"):
        read_onnx(path, dimensions={"bach": 7})


# --- refusals


@pytest.mark.parametrize(
    ("made", "inputs", "weights", "message"),
    [
        (node("ConvTranspose", ["x", "w"], "y"), (1, 2, 5, 5), (2, 4, 3, 3),
         r"node 'y' \(ConvTranspose\): operator 'ConvTranspose' is not counted"),
        (node("Conv", ["x", "w"], "y", pads=[0, 0, 1, 1]), (1, 2, 5, 5), (4, 2, 3, 3),
         r"node 'y' \(Conv\): padding \[0, 0\] before and \[1, 1\] after"),
        (node("Conv", ["x", "w"], "y", auto_pad="SAME_UPPER"), (1, 2, 6, 6), (4, 2, 2, 2),
         r"padding \[0, 0\] before and \[1, 1\] after"),
        (node("Conv", ["x", "w"], "y"), (1, 2, 5, 5, 5), (4, 2, 3, 3, 3), "3 spatial axes"),
        (node("Conv", ["x", "x"], "y"), (3, 3, 3, 3), (1,), "the kernel is computed from an input"),
        (node("Fused", ["x"], "y", domain="custom"), (2, 2), (1,), "operator 'custom.Fused'"),
        (node("Einsum", ["x", "w"], "y", equation="ij,jk->ik"), (2, 2), (2, 2), "operator 'Einsum'"),
    ],
)  # fmt: skip
def test_what_is_not_counted_is_refused(tmp_path, made, inputs, weights, message):
    with pytest.raises(UnsupportedError, match=message):
        read_onnx(save(tmp_path, [made], {"x": inputs}, {"w": weights}))


def test_shapes_that_contradict_each_other(tmp_path):
    path = save(tmp_path, [node("MatMul", ["x", "w"], "y")], {"x": (3, 4)}, {"w": (5, 6)})
    with pytest.raises(InputError, match=r"net\.onnx: shapes do not fit: .*y"):
        read_onnx(path)


def test_files_that_are_no_model(tmp_path):
    (tmp_path / "net.onnx").write_text("not a model")
    with pytest.raises(InputError, match=r"net\.onnx: not an ONNX model"):
        read_onnx(tmp_path / "net.onnx")
    with pytest.raises(InputError, match="cannot read a model: No such file"):
        read_onnx(tmp_path / "absent.onnx")


def test_a_missing_package_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'cosparse\[models\]'"):
        read_onnx(tmp_path / "net.onnx")


def test_weights_in_other_files_are_not_needed(tmp_path):
    path = save(tmp_path, [node("MatMul", ["x", "w"], "y")], {"x": (3, 64)}, {"w": (64, 64)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    assert read_onnx(path).macs() == math.prod((3, 64, 64))
