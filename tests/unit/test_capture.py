"""capture against formulas worked on paper, published MAC counts, and torch's own FLOP counter."""

import copy
import json
import resource
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from algos.models import MODELS, build, find_model, sample
from algos.tracing import capture
from cosparse.spec import Gemm, Phase, Workload
from cosparse.spec.errors import ShapeError, UnsupportedError

FF, BP, WU = Phase.FF, Phase.BP, Phase.WU


def gemms(workload: Workload) -> dict[tuple[str, str], Gemm]:
    return {(gemm.phase.value, gemm.name): gemm for gemm in workload.gemms}


def shapes(workload: Workload) -> dict[tuple[str, str], tuple[int, ...]]:
    return {key: gemm.shape for key, gemm in gemms(workload).items()}


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **options)


# ---- whole networks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "forward", "step"),
    [
        ("resnet18", 1_814_073_344, 5_324_206_080),
        ("resnet50", 4_089_184_256, 12_149_538_816),
        ("vit-b-16", 17_563_828_224, 52_575_879_168),
        ("bert-base", 11_173_625_856 + 2 * 768, 33_520_877_568 + 3 * 2 * 768),
    ],
)
def test_macs_of_known_models(name: str, forward: int, step: int) -> None:
    workload = capture(on_meta(name), sample(find_model(name), 1, "meta"))
    assert (workload.macs(FF), workload.macs()) == (forward, step)


def hugging_face_inputs(tokens: int) -> dict[str, object]:
    # A two-dimensional mask makes transformers read its values, which meta tensors do not have.
    mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device="meta")
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    return {"input_ids": ids, "attention_mask": mask}


def test_macs_of_bert_base() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `models`")
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig(), add_pooling_layer=False)
    workload = capture(model, hugging_face_inputs(128))
    assert (workload.macs(FF), workload.macs()) == (11_173_625_856, 33_520_877_568)


def test_macs_time_and_memory_of_llama_7b() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `models`")
    start, peak_kib = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig())
    workload = capture(model, {**hugging_face_inputs(128), "use_cache": False})
    assert (workload.macs(FF), workload.macs()) == (850_000_871_424, 2_550_002_614_272)
    assert time.perf_counter() - start < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < 2 * 2**20


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_agree_with_the_flop_counter(name: str, batch: int) -> None:
    model, x = on_meta(name), sample(find_model(name), batch, "meta")
    workload = capture(model, x)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            output = model(x)
        with FlopCounterMode(display=False) as backward:
            output.sum().backward()
    assert 2 * workload.macs(FF) == forward.get_total_flops()
    assert 2 * workload.macs(BP, WU) == backward.get_total_flops()


# ---- layers by formula ----------------------------------------------------------------------

CONVOLUTIONS = {
    "plain": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "rectangular": {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1), "bias": False},
    "grouped": {"kernel_size": 3, "groups": 4},
    "depthwise": {"kernel_size": 3, "stride": 2, "groups": 8},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(options: dict[str, object]) -> None:
    batch, c_in, c_out, h, w = 2, 8, 16, 11, 10
    conv = nn.Conv2d(c_in, c_out, **options)
    workload = capture(nn.Sequential(nn.Conv2d(3, c_in, 1), conv), torch.zeros(batch, 3, h, w))
    out_h, out_w = conv(torch.zeros(1, c_in, h, w)).shape[2:]
    groups, taps = conv.groups, conv.kernel_size[0] * conv.kernel_size[1]
    ci, co, macs = c_in // groups, c_out // groups, batch * out_h * out_w * c_in * c_out * taps
    found = gemms(workload)
    ff, bp, wu = found["FF", "1"], found["BP", "1"], found["WU", "1"]
    assert ff.shape == (1, groups, batch * out_h * out_w, ci * taps, co)
    assert bp.shape == (1, groups, batch * h * w, co * taps, ci)
    assert wu.shape == (1, groups, ci * taps, batch * out_h * out_w, co)
    assert {ff.macs, bp.macs, wu.macs} == {macs // groups}
    assert (ff.conv.in_hw, ff.conv.out_hw, ff.conv.batch) == ((h, w), (out_h, out_w), batch)
    assert (ff.conv.kernel, ff.conv.stride) == (conv.kernel_size, conv.stride)
    assert (ff.conv.padding, ff.conv.dilation) == (conv.padding, conv.dilation)
    assert ff.conv == bp.conv == wu.conv
    assert ff.channels == ci and bp.channels == co


def test_conv1d_has_height_one() -> None:
    workload = capture(nn.Conv1d(4, 6, 3, stride=2, padding=1), torch.zeros(2, 4, 9))
    (ff, wu) = workload.gemms
    assert ff.shape == (1, 1, 2 * 5, 4 * 3, 6) and wu.shape == (1, 1, 4 * 3, 2 * 5, 6)
    assert (ff.conv.in_hw, ff.conv.out_hw) == ((1, 9), (1, 5))
    assert (ff.conv.kernel, ff.conv.stride, ff.conv.padding) == ((1, 3), (1, 2), (0, 1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (5,), (2, 5), (2, 3, 5)])
def test_linear_folds_leading_axes(bias: bool, leading: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=bias), nn.Linear(6, 8, bias=bias))
    m = torch.Size(leading).numel()
    assert shapes(capture(model, torch.zeros(*leading, 4))) == {
        ("FF", "0"): (1, 1, m, 4, 6),
        ("FF", "1"): (1, 1, m, 6, 8),
        ("BP", "1"): (1, 1, m, 8, 6),
        ("WU", "1"): (1, 1, 6, m, 8),
        ("WU", "0"): (1, 1, 4, m, 6),
    }


def test_transformer_block_on_paper() -> None:
    batch, tokens, dim, heads, vocab = 2, 6, 16, 4, 32
    model = build("bytes-lm", vocab=vocab, dim=dim, layers=1, heads=heads, context=tokens)
    found = shapes(capture(model, torch.zeros(batch, tokens, dtype=torch.long)))
    m, products, per_head = batch * tokens, batch * heads, dim // heads
    linears = {f"blocks.0.attn.{name}": (dim, dim) for name in ("q", "k", "v", "out")}
    linears |= {"blocks.0.ffn.0": (dim, 4 * dim), "blocks.0.ffn.2": (4 * dim, dim)}
    linears |= {"head": (dim, vocab)}
    expected = {
        ("FF", "blocks.0.attn.bmm0"): (products, 1, tokens, per_head, tokens),
        ("FF", "blocks.0.attn.bmm1"): (products, 1, tokens, tokens, per_head),
        ("BP", "blocks.0.attn.bmm0.lhs"): (products, 1, tokens, tokens, per_head),
        ("BP", "blocks.0.attn.bmm0.rhs"): (products, 1, per_head, tokens, tokens),
        ("BP", "blocks.0.attn.bmm1.lhs"): (products, 1, tokens, per_head, tokens),
        ("BP", "blocks.0.attn.bmm1.rhs"): (products, 1, tokens, tokens, per_head),
    }
    for name, (k, n) in linears.items():
        expected["FF", name] = (1, 1, m, k, n)
        expected["BP", name] = (1, 1, m, n, k)
        expected["WU", name] = (1, 1, k, m, n)
    assert found == expected


def test_operands_and_tensors() -> None:
    workload = capture(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 8)), torch.zeros(5, 4))
    found = gemms(workload)
    names = {
        phase: (found[phase, "1"].lhs.tensor, found[phase, "1"].rhs.tensor)
        for phase in ("FF", "BP", "WU")
    }
    assert names == {
        "FF": ("1.input", "1.weight"),
        "BP": ("1.output_grad", "1.weight"),
        "WU": ("1.input", "1.output_grad"),
    }
    tensors = {info.name: (info.shape, info.role) for info in workload.tensors}
    assert tensors["1.weight"] == ((8, 6), "weight")
    assert tensors["1.input"] == ((5, 6), "activation")
    assert tensors["1.output_grad"] == ((5, 8), "gradient")
    assert workload.provenance["layers"]["1"] == {"module": "1", "parameter": "1.weight"}


# ---- which gradients exist ------------------------------------------------------------------


def phases_of(workload: Workload, name: str) -> set[str]:
    return {gemm.phase.value for gemm in workload.gemms if gemm.name == name}


def test_first_layer_has_no_input_gradient() -> None:
    assert phases_of(capture(nn.Linear(4, 4), torch.zeros(2, 4)), "linear") == {"FF", "WU"}


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.Conv1d(4, 4, 1)], ids=["linear", "conv"])
def test_frozen_weight_has_no_weight_gradient(layer: nn.Module) -> None:
    model = nn.Sequential(copy.deepcopy(layer), copy.deepcopy(layer), copy.deepcopy(layer))
    model[1].weight.requires_grad_(False)
    workload = capture(model, torch.zeros(4, 4, 4))
    assert [phases_of(workload, name) for name in "012"] == [
        {"FF", "WU"},
        {"FF", "BP"},
        {"FF", "BP", "WU"},
    ]


def test_model_without_trainable_parameters_has_only_ff() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).requires_grad_(False)
    assert {op.phase for op in capture(model, torch.zeros(2, 4)).ops} == {FF}


def test_sample_that_requires_grad_has_an_input_gradient() -> None:
    workload = capture(nn.Linear(4, 4), torch.zeros(2, 4, requires_grad=True))
    assert phases_of(workload, "linear") == {"FF", "BP", "WU"}


# ---- how weights are recognised -------------------------------------------------------------


class TiedLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(ids))


def test_tied_weight() -> None:
    workload = capture(TiedLM(), torch.zeros(2, 3, dtype=torch.long))
    assert shapes(workload) == {
        ("FF", "head"): (1, 1, 6, 4, 10),
        ("BP", "head"): (1, 1, 6, 10, 4),
        ("WU", "head"): (1, 1, 4, 6, 10),
    }
    layer = workload.provenance["layers"]["head"]
    assert layer == {"module": "head", "parameter": "embed.weight"}


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.fc(x).relu()[:3])


def test_module_called_twice() -> None:
    workload = capture(Twice(), torch.zeros(5, 4))
    assert shapes(workload) == {
        ("FF", "fc"): (1, 1, 5, 4, 4),
        ("FF", "fc.1"): (1, 1, 3, 4, 4),
        ("BP", "fc.1"): (1, 1, 3, 4, 4),
        ("WU", "fc.1"): (1, 1, 4, 3, 4),
        ("WU", "fc"): (1, 1, 4, 5, 4),
    }
    assert {gemm.rhs.tensor for gemm in workload.gemms if gemm.phase is FF} == {"fc.weight"}


class RawParameters(nn.Module):
    """Weights outside of Linear: on the left, cast, and masked."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(6, 4))
        self.cast = nn.Parameter(torch.zeros(5, 6, dtype=torch.float64))
        self.masked = nn.Parameter(torch.zeros(3, 5))
        self.register_buffer("mask", torch.ones(3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = (self.left @ x).T
        h = F.linear(h, self.cast.float())
        return F.linear(h, self.masked * self.mask)


def test_weights_are_followed_through_transposes_casts_and_masks() -> None:
    workload = capture(RawParameters(), torch.zeros(4, 7))
    assert shapes(workload) == {
        ("FF", "left"): (1, 1, 7, 4, 6),
        ("WU", "left"): (1, 1, 4, 7, 6),
        ("FF", "cast"): (1, 1, 7, 6, 5),
        ("BP", "cast"): (1, 1, 7, 5, 6),
        ("WU", "cast"): (1, 1, 6, 7, 5),
        ("FF", "masked"): (1, 1, 7, 5, 3),
        ("BP", "masked"): (1, 1, 7, 3, 5),
        ("WU", "masked"): (1, 1, 5, 7, 3),
    }


def test_multihead_attention_is_named_by_its_parameters() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attn(x, x, x, need_weights=False)[0]

    workload = capture(Attention(), torch.zeros(3, 5, 8))
    forward = {name: shape for (phase, name), shape in shapes(workload).items() if phase == "FF"}
    assert forward == {
        "attn.in_proj_weight": (1, 1, 15, 8, 24),
        "attn.bmm0": (6, 1, 5, 4, 5),
        "attn.bmm1": (6, 1, 5, 5, 4),
        "attn.out_proj.weight": (1, 1, 15, 8, 8),
    }
    assert workload.provenance["layers"]["attn.out_proj.weight"]["module"] == "attn.out_proj"


def test_parametrised_weight_belongs_to_its_module() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)))
    assert shapes(capture(model, torch.zeros(5, 4))) == {
        ("FF", "0"): (1, 1, 5, 4, 6),
        ("WU", "0"): (1, 1, 4, 5, 6),
    }


class OwnLinear(torch.autograd.Function):
    """dW before dX, both as plain products: the order that torch does not use."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        weight_grad = grad.T @ x
        return grad @ weight, weight_grad


def test_custom_function_does_not_depend_on_the_order_of_its_gradients() -> None:
    class Model(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return OwnLinear.apply(self.fc(x), self.fc.weight)

    names = Counter((g.phase.value, g.shape) for g in capture(Model(), torch.zeros(5, 4)).gemms)
    assert names == Counter(
        {("FF", (1, 1, 5, 4, 4)): 2, ("BP", (1, 1, 5, 4, 4)): 1, ("WU", (1, 1, 4, 5, 4)): 2}
    )


def test_einsum_of_one_activation_with_itself() -> None:
    class Gram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.fc(x)
            return torch.einsum("bij,bkj->bik", h, h)

    found = shapes(capture(Gram(), torch.zeros(2, 3, 4)))
    assert found["FF", "gram.bmm0"] == (2, 1, 3, 4, 3)
    assert found["BP", "gram.bmm0.lhs"] == (2, 1, 3, 3, 4)
    assert found["BP", "gram.bmm0.rhs"] == (2, 1, 4, 3, 3)


# ---- recomputation --------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """A convolution, a linear layer and a product of activations, used twice."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.stem = nn.Conv1d(4, 6, 1)
        self.conv = nn.Conv1d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 6)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv(x).relu()
        return h + (h @ h.mT) @ self.fc(h.mT).mT

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for _ in range(2):
            if self.mode == "off":
                h = self.body(h)
            else:
                h = checkpoint(self.body, h, use_reentrant=self.mode == "reentrant")
        return h


@pytest.mark.parametrize("mode", ["reentrant", "saved-tensor hooks"])
def test_recomputation_is_listed_and_not_counted(mode: str) -> None:
    x = torch.zeros(2, 4, 5)
    plain, checkpointed = capture(Checkpointed("off"), x), capture(Checkpointed(mode), x)
    assert gemms(checkpointed) == gemms(plain)
    assert plain.provenance["recomputed"] == {"gemms": [], "macs": 0, "vectors": 0}
    recomputed = checkpointed.provenance["recomputed"]
    assert Counter(recomputed["gemms"])["conv"] == 2
    assert 0 < recomputed["macs"] <= plain.macs(FF)
    assert recomputed["vectors"] >= 2


# ---- vector work ----------------------------------------------------------------------------


def test_vectors_of_a_small_network() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
    workload = capture(model, torch.zeros(1, 1, 4, 4))
    found = {(v.phase.value, v.name): (v.kind, v.elements, v.bytes) for v in workload.vectors}
    assert found == {
        ("FF", "1.relu"): ("relu", 32, 2 * (32 + 32)),
        ("FF", "2.pool"): ("pool", 8, 2 * (32 + 8 + 8)),
        ("BP", "2.pool"): ("pool", 32, 2 * (8 + 32 + 8 + 32)),
        ("BP", "1.relu"): ("relu", 32, 2 * (32 + 32 + 32)),
        ("BP", "0.sum"): ("sum", 2, 2 * (32 + 2)),
    }


def test_embedding_reads_only_the_rows_it_uses() -> None:
    workload = capture(nn.Embedding(1000, 8), torch.zeros(3, dtype=torch.long))
    forward, backward = workload.vectors
    assert (forward.kind, forward.elements, forward.bytes) == ("embedding", 24, 2 * (24 + 3 + 24))
    assert (backward.kind, backward.elements) == ("embedding", 8000)


def test_broadcast_operand_is_read_once() -> None:
    class AddExpanded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x[:1].expand(4, 8)

    (add,) = capture(AddExpanded(), torch.zeros(4, 8)).vectors
    assert (add.kind, add.elements, add.bytes) == ("add", 32, 2 * (32 + 8 + 32))


def test_loss_is_counted_when_it_is_given() -> None:
    target = torch.zeros(5, dtype=torch.long)
    model, x = nn.Linear(4, 3), torch.zeros(5, 4)
    workload = capture(model, x, loss=lambda y: F.cross_entropy(y, target))
    kinds = [(v.phase, v.name) for v in workload.vectors if v.name.startswith("loss")]
    assert kinds == [
        (FF, "loss.log_softmax"),
        (FF, "loss.loss"),
        (BP, "loss.loss"),
        (BP, "loss.log_softmax"),
    ]
    assert gemms(workload) == gemms(capture(model, x))


def test_integer_indices_gather_and_scatter() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(100, 8))
            self.register_buffer("rows", torch.arange(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table[self.rows] + x

    found = [(v.phase, v.kind, v.bytes) for v in capture(Rows(), torch.zeros(6, 8)).vectors]
    assert found[0] == (FF, "gather", 2 * (48 + 6 + 48))
    assert found[1][:2] == (FF, "add") and found[-1][:2] == (BP, "scatter")


class Constants(nn.Module):
    """Constants made without a device, and a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.table = torch.eye(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(4).float() @ (self.table @ self.table)
        mask = torch.ones(4, 4).tril() == 0
        return self.fc(x + positions).masked_fill(mask, 0.0)


def test_work_on_constants_is_free() -> None:
    workload = capture(Constants(), torch.zeros(4, 4))
    assert [(op.phase.value, op.name) for op in workload.ops] == [
        ("FF", "constants.add"),
        ("FF", "fc"),
        ("FF", "constants.fill"),
        ("BP", "constants.fill"),
        ("WU", "fc"),
        ("BP", "fc.sum"),
    ]


# ---- inputs and outputs ---------------------------------------------------------------------


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor, scale: float = 1.0) -> dict[str, object]:
        return {"ids": torch.zeros(1, dtype=torch.long), "value": self.fc(x * scale + y)}


def test_samples_may_be_tuples_and_mappings() -> None:
    x, model = torch.zeros(2, 4), Keywords()
    positional, keyword = capture(model, (x, x)), capture(model, {"x": x, "y": x, "scale": 2.0})
    assert positional.ops == keyword.ops


def test_other_samples_and_outputs_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="expected a tensor, a tuple"):
        capture(nn.Linear(4, 4), "x")
    with pytest.raises(ShapeError, match="expected a floating tensor"):
        capture(nn.Flatten(), torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize("name", ["digits-cnn", "bytes-lm"])
def test_names_are_unique_and_the_workload_is_plain_data(name: str) -> None:
    entry = find_model(name)
    first, second = (capture(build(name), sample(entry, 2)) for _ in range(2))
    names = Counter((op.phase, op.name) for op in first.ops)
    assert max(names.values()) == 1
    assert first == second
    assert Workload.from_json(json.loads(json.dumps(first.to_json()))) == first
    modules = dict(build(name).named_modules())
    assert {layer["module"] for layer in first.provenance["layers"].values()} <= set(modules)


# ---- refusals -------------------------------------------------------------------------------


class Refused(nn.Module):
    def __init__(self, body: object) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        (nn.ConvTranspose2d(4, 4, 2), (1, 4, 5, 5), "'body': aten::convolution is transposed"),
        (nn.Conv3d(4, 4, 2), (1, 4, 5, 5, 5), "'body': aten::convolution is 3-dimensional"),
        (lambda x: torch.cdist(x, x), (3, 4), "'refused': operator aten::_cdist_forward"),
        (lambda x: torch.mv(x, x[0]), (4, 4), "'refused': operator aten::mv"),
        (lambda x: torch.linalg.inv(x), (4, 4), "'refused': operator aten::linalg_inv_ex"),
        (lambda x: F.conv2d(x, x), (4, 4, 3, 3), "kernel is not made from parameters"),
        (lambda x: x * x.sum().item(), (4, 4), "_local_scalar_dense depends on the values"),
        (lambda x: x[x > 0], (4, 4), "index.Tensor depends on the values"),
        (lambda x: x.nonzero(), (4, 4), "nonzero depends on the values"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    body: object, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        capture(Refused(body), torch.zeros(shape))


def test_unknown_product_in_the_backward_pass_is_refused() -> None:
    class Surprise(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x * 2

        @staticmethod
        def backward(_ctx, grad):
            return grad @ grad.T @ grad

    model = nn.Sequential(nn.Linear(4, 4), Refused(Surprise.apply))
    with pytest.raises(UnsupportedError, match=r"'1': aten::mm in the backward pass"):
        capture(model, torch.zeros(2, 4))


def test_sample_that_does_not_fit_names_the_module() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 5))
    with pytest.raises(UnsupportedError, match=r"'1': aten::addmm does not run.*\[2, 4\]"):
        capture(model, torch.zeros(2, 4))


def test_model_that_cannot_be_copied_is_refused() -> None:
    model = nn.Linear(4, 4)
    model.stream = (i for i in range(3))
    with pytest.raises(UnsupportedError, match="cannot be copied to the meta device"):
        capture(model, torch.zeros(2, 4))


# ---- nothing else changes -------------------------------------------------------------------


def test_the_model_and_the_random_state_stay_as_they_are() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4).requires_grad_(False)
    ).eval()
    model[0].weight.grad = torch.ones(4, 4)
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.no_grad():
        workload = capture(model, torch.rand(6, 4, generator=torch.Generator()))
    assert workload.macs(BP, WU) > 0
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == before[name][0].data_ptr()
        assert torch.equal(tensor, before[name][1])
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False] * 2
    assert model[0].weight.grad.equal(torch.ones(4, 4)) and model[1].weight.grad is None
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_capture_is_dense() -> None:
    workload = capture(build("digits-mlp"), torch.zeros(2, 64))
    assert workload.issued_macs() == workload.macs()
    assert all(replace(gemm, macs=-1).macs == gemm.macs for gemm in workload.gemms)


@pytest.mark.parametrize("method", ["bdwp", "sdgp", "sr-ste"])
def test_a_sparsified_model_is_captured_as_its_dense_self(method):
    from algos.sparsified import sparsify

    def build():
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        return nn.Sequential(nn.Linear(32, 32), layer, nn.Linear(32, 16))

    sample = torch.zeros(2, 5, 32)
    model = build()
    sparsified = sparsify(model, method, "2:8")
    assert capture(model, sample).ops == capture(build(), sample).ops
    assert all(type(model.get_submodule(path)) is not nn.Linear for path in sparsified.replaced)
