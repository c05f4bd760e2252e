"""Methods against the formulas of design section 5, written out in NumPy float64."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from algos import METHODS, nm_mask
from algos.functions import LOSS_SCALE
from algos.sparsified import plan_layers, sparsify
from cosparse.spec import NM, InputError, Phase, RunError, UnsupportedError, select

PATTERN = NM(2, 8)
METHOD_NAMES = sorted(METHODS)


@pytest.mark.parametrize("shape", [(8, 16), (37, 19), (3, 5), (24, 12, 3, 3), (16, 8, 1, 5)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_torch_masks_equal_the_vocabulary(shape, dtype):
    random = np.random.default_rng(0)
    weight = (random.normal(size=shape) * 1e-4).astype(np.float32)
    flat = weight.reshape(-1)
    flat[:6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e6]
    flat[6::3] = 0.25
    for pattern in (NM(1, 2), NM(2, 4), NM(3, 5)):
        for axis in (0, 1):
            groups = 2 if axis == 0 and shape[0] % 2 == 0 else 1
            if min(shape[1], shape[0] // groups) < pattern.m:
                continue
            expected = select(weight, pattern, axis=axis, conv_groups=groups, dtype=dtype)
            mask = nm_mask(
                torch.from_numpy(weight), pattern, axis=axis, conv_groups=groups, dtype=dtype
            )
            assert (mask.numpy() == expected).all()


def masks_of(method, weight, groups):
    """(mask of FF, mask of the weight in BP) by the vocabulary's NumPy selection."""
    row = METHODS[method]
    ones = np.ones(weight.shape, bool)
    ff = select(weight, PATTERN, axis=1, conv_groups=groups) if row.prunes_ff else ones
    bp = select(weight, PATTERN, axis=0, conv_groups=groups) if row.prunes_bp else ones
    return ff, (ff if row.reuses_ff_in_bp else bp)


def pruned_gradient(method, grad):
    """grad: (..., out) float32. What SDGP multiplies by, in float64."""
    if not METHODS[method].prunes_gradient:
        return grad.astype(np.float64)
    rows = (grad * np.float32(LOSS_SCALE)).reshape(-1, grad.shape[-1])
    mask = select(rows, PATTERN, axis=1).reshape(grad.shape)
    return np.where(mask, grad, 0).astype(np.float64)


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_products_and_gradients(method, bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(19, 26, bias=bias))
    weight = model[0].weight.detach().numpy().copy()
    sparsify(model, method, PATTERN, include=["0"])
    x = torch.randn(3, 4, 19, requires_grad=True)
    y = model(x)
    grad = torch.randn_like(y)
    y.backward(grad)

    ff, bp = masks_of(method, weight, 1)
    wide, x64, g64 = weight.astype(np.float64), x.detach().double().numpy(), grad.double().numpy()
    offset = model[0].bias.detach().double().numpy() if bias else 0.0
    np.testing.assert_allclose(
        y.detach().numpy(), x64 @ np.where(ff, wide, 0).T + offset, atol=1e-5
    )
    dx = pruned_gradient(method, grad.numpy()) @ np.where(bp, wide, 0)
    np.testing.assert_allclose(x.grad.numpy(), dx, atol=1e-5)
    dw = np.einsum("abo,abi->oi", g64, x64)
    np.testing.assert_allclose(model[0].weight.grad.numpy(), dw, atol=1e-5)
    if bias:
        np.testing.assert_allclose(model[0].bias.grad.numpy(), g64.sum((0, 1)), atol=1e-5)


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (1, 3), "padding": "same"},
    {"kernel_size": 2, "padding": "same"},
    {"kernel_size": 3, "dilation": 2, "padding": 2, "groups": 2},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
]


# torch says of its own convolution, the reference here, that it pads by copying.
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution_products_and_gradients(method, options):
    """Reference: autograd of a stock convolution, one for each of the three products."""
    torch.manual_seed(0)
    stock = nn.Conv2d(20, 24, **options).double()
    model = nn.Sequential(copy.deepcopy(stock).float())
    sparsify(model, method, PATTERN, include=["0"])
    ff, bp = masks_of(method, stock.weight.detach().float().numpy(), stock.groups)
    x = torch.randn(2, 20, 7, 6)

    def product(mask, grad):
        """(output, input gradient) of a convolution with the masked weight."""
        layer = copy.deepcopy(stock)
        layer.weight.data *= torch.from_numpy(mask)
        inputs = x.double().requires_grad_()
        output = layer(inputs)
        output.backward(torch.ones_like(output) if grad is None else grad)
        return output.detach(), inputs.grad, layer.weight.grad

    ones = np.ones_like(ff)
    reference = product(ff, None)[0]
    grad = torch.randn(reference.shape)
    inputs = x.clone().requires_grad_()
    y = model(inputs)
    y.backward(grad)
    torch.testing.assert_close(y.double(), reference, atol=1e-4, rtol=0)
    groups = stock.groups
    by_group = grad.movedim(1, -1).unflatten(-1, (groups, -1)).numpy()
    pruned = torch.from_numpy(pruned_gradient(method, by_group)).flatten(-2).movedim(-1, 1)
    torch.testing.assert_close(inputs.grad.double(), product(bp, pruned)[1], atol=1e-4, rtol=0)
    dense_weight_gradient = product(ones, grad.double())[2]
    torch.testing.assert_close(
        model[0].weight.grad.double(), dense_weight_gradient, atol=1e-3, rtol=1e-5
    )
    torch.testing.assert_close(
        model[0].bias.grad.double(), grad.double().sum((0, 2, 3)), atol=1e-4, rtol=0
    )


def test_an_unbatched_image_works():
    model = nn.Sequential(nn.Conv2d(16, 16, 3))
    sparsify(model, "bdwp", PATTERN, include=["0"])
    assert model(torch.randn(16, 5, 5)).shape == (16, 3, 3)


def test_absent_weights_never_touch_the_activations():
    """0 * NaN would be NaN: dropped entries are absent, not multiplied by zero."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    model[0].weight.data[:] = torch.arange(8.0) + 1
    sparsify(model, "sr-ste", PATTERN, include=["0"])  # keeps inputs 6 and 7
    x = torch.ones(1, 8)
    x[0, 0] = float("inf")
    assert model(x)[0, 0] == 15.0 or model(x).isnan().all()  # a dense product over +0 may give NaN
    weight = model[0].weight
    weight.data[:, 0] = float("nan")
    assert nm_mask(weight, PATTERN, axis=1)[:, 0].all()  # NaN ranks highest


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, groups=4),
        nn.Conv2d(32, 32, 3, groups=32),
        nn.Flatten(),
        nn.Linear(128, 12),
        nn.Linear(12, 10),
    )


def test_phases_shorter_than_a_group_are_dense_and_listed():
    plans = plan_layers(small_cnn(), "bdwp", PATTERN)
    assert plans["0.weight"].dense_because[Phase.FF] == "stem"
    assert plans["7.weight"].dense_because[Phase.BP] == "classifier"
    grouped = plans["3.weight"]  # 4 inputs and 8 outputs in a convolution group
    assert grouped.ff is None
    assert "4 < M = 8" in grouped.dense_because[Phase.FF]
    assert grouped.bp == PATTERN
    assert plans["4.weight"].dense_because[Phase.FF] == "depthwise convolution"
    assert plans["6.weight"].ff == plans["6.weight"].bp == PATTERN


def test_include_and_exclude_by_name():
    plans = plan_layers(small_cnn(), "bdwp", PATTERN, include=["7"], exclude=["6*"])
    assert plans["7.weight"].ff == PATTERN
    assert plans["6.weight"].dense_because[Phase.FF] == "excluded by name"
    with pytest.raises(
        UnsupportedError, match="no Linear, Conv2d or attention layer matches 'head'"
    ):
        plan_layers(small_cnn(), "bdwp", PATTERN, include=["head"])


def test_tied_weights_stay_dense():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(32, 16)
            self.inner = nn.Linear(16, 16)
            self.head = nn.Linear(16, 32, bias=False)
            self.head.weight = self.embedding.weight

    plans = plan_layers(Tied(), "bdwp", PATTERN)
    assert plans["head.weight"].dense_because[Phase.FF] == "tied weight"
    assert plans["inner.weight"].is_sparse


def test_what_cannot_be_sparsified_is_refused():
    with pytest.raises(UnsupportedError, match="did you mean 'bdwp'"):
        sparsify(small_cnn(), "bdpw")
    with pytest.raises(UnsupportedError, match="takes an N:M pattern"):
        sparsify(small_cnn(), "bdwp", "block 4x4 @ 0.5")
    model = small_cnn()
    sparsify(model, "bdwp")
    with pytest.raises(InputError, match="sparse already"):
        sparsify(model, "sdwp")
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)))
    sparsify(normed, "bdwp")  # a parametrized Linear is a class of its own and stays dense
    assert not plan_layers(normed, "bdwp")


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_state_dict_and_parameters_stay(method):
    torch.manual_seed(0)
    model = small_cnn()
    parameters = list(model.parameters())
    dense = small_cnn()
    sparsified = sparsify(model, method)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert list(model.state_dict()) == list(dense.state_dict())
    dense.load_state_dict(model.state_dict())
    other = sparsify(small_cnn(), method)
    other.model.load_state_dict(dense.state_dict())
    x = torch.randn(2, 1, 8, 8)
    sparsified.model.eval(), other.model.eval()
    assert torch.equal(sparsified.model(x), other.model(x))


def one_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16, bias=False))
    return model, sparsify(model, "sr-ste", PATTERN, include=["0"])


@pytest.mark.parametrize("clip", [False, True])
def test_sgd_decay_is_the_formula_under_accumulation_and_loss_scaling(clip):
    """W <- W - lr * (clip(g) + lambda * (1 - mask) * W), g the mean over micro-batches."""
    model, sparsified = one_layer()
    weight = model[0].weight
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sparsified.attach(optimizer, decay=0.01)
    x = torch.randn(4, 16)
    scale = 1024.0
    for part in x.split(1):
        (model(part).sum() * scale / 4).backward()
    weight.grad /= scale
    if clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    gradient = weight.grad.clone()
    optimizer.step()
    kept = torch.from_numpy(select(before.numpy(), PATTERN, axis=1))
    expected = before - 0.5 * (gradient + 0.01 * torch.where(kept, 0, before))
    torch.testing.assert_close(weight.detach(), expected)


def test_adam_decay_is_decoupled_and_removable():
    model, sparsified = one_layer()
    twin = copy.deepcopy(model)
    weight = model[0].weight
    before = weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    plain = torch.optim.Adam(twin.parameters(), lr=0.1)
    handle = sparsified.attach(optimizer, decay=0.3)
    x = torch.randn(4, 16)
    for net, step in ((model, optimizer), (twin, plain)):
        net(x).square().sum().backward()
        step.step()
    kept = torch.from_numpy(select(before.numpy(), PATTERN, axis=1))
    expected = twin[0].weight * torch.where(kept, 1.0, 1.0 - 0.1 * 0.3)
    torch.testing.assert_close(weight.detach(), expected.detach())
    handle.remove()
    value = weight.detach().clone()
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(weight, value)


def test_default_decay_is_the_method_s():
    model, sparsified = one_layer()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sparsified.attach(optimizer)
    before = model[0].weight.detach().clone()
    model[0].weight.grad = torch.zeros_like(before)
    optimizer.step()
    kept = torch.from_numpy(select(before.numpy(), PATTERN, axis=1))
    torch.testing.assert_close(
        model[0].weight.detach(), before - 2e-4 * torch.where(kept, 0, before)
    )


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_autocast_gives_bfloat16_products_and_float32_gradients(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
    reference = copy.deepcopy(model)
    sparsify(model, method, PATTERN, include=["*"])
    x = torch.randn(4, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    sparsify(reference, method, PATTERN, include=["*"])
    reference(x).square().sum().backward()
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        error = (p.grad - q.grad).norm() / q.grad.norm()
        assert error < 0.1  # bfloat16 keeps 8 bits: a few per cent after three products


# Dynamo itself instantiates autograd functions, which torch warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_compiled_equals_eager(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16))
    sparsify(model, method, PATTERN, include=["*"])
    x = torch.randn(2, 16, 4, 4, requires_grad=True)
    model(x).square().sum().backward()
    eager = [p.grad.clone() for p in model.parameters()] + [x.grad.clone()]
    model.zero_grad(), setattr(x, "grad", None)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled(x).square().sum().backward()
    for a, b in zip(eager, [*(p.grad for p in model.parameters()), x.grad], strict=True):
        torch.testing.assert_close(a, b)


def test_differentiating_the_gradients_again_is_refused():
    model, _ = one_layer()
    x = torch.randn(2, 16, requires_grad=True)
    seed = torch.ones(2, 16, requires_grad=True)
    (grad,) = torch.autograd.grad(model(x), x, seed, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_frozen_weights_and_inputs_without_gradient():
    model, _ = one_layer()
    model[0].weight.requires_grad_(False)
    x = torch.randn(2, 16, requires_grad=True)
    model(x).sum().backward()
    assert model[0].weight.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_equals_torch_with_the_pruned_weights(norm_first, batch_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        32, 4, 64, dropout=0.0, norm_first=norm_first, batch_first=batch_first
    )
    model = nn.Sequential(layer)
    reference = copy.deepcopy(model)
    sparsified = sparsify(model, "bdwp", PATTERN, include=["*"])
    for name, parameter in reference.named_parameters():
        if name in sparsified.sparse_layers:
            mask = select(parameter.detach().numpy(), PATTERN, axis=1)
            parameter.data *= torch.from_numpy(mask)
    x = torch.randn(5, 6, 32)
    causal = nn.Transformer.generate_square_subsequent_mask(6 if batch_first else 5)
    for training in (True, False):
        model.train(training), reference.train(training)
        torch.testing.assert_close(model(x), reference(x), atol=1e-5, rtol=1e-5)
        masked = model[0](x, src_mask=causal, is_causal=True)
        torch.testing.assert_close(
            masked, reference[0](x, src_mask=causal, is_causal=True), atol=1e-5, rtol=1e-5
        )


def test_cross_attention_with_masks_equals_torch():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    reference = copy.deepcopy(attention)
    sparsify(attention, "sdwp", PATTERN, include=["*"])  # FF stays dense
    query, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    padding = torch.tensor([[False] * 5, [False, False, True, True, True]])
    blocked = torch.zeros(3, 5, dtype=torch.bool)
    blocked[0, 4] = True
    for need_weights in (True, False):
        arguments = {
            "key_padding_mask": padding,
            "attn_mask": blocked,
            "need_weights": need_weights,
        }
        out, weights = attention(query, memory, memory, **arguments)
        expected, expected_weights = reference(query, memory, memory, **arguments)
        torch.testing.assert_close(out, expected)
        assert (weights is None) == (expected_weights is None)
        if weights is not None:
            torch.testing.assert_close(weights, expected_weights)


def test_attention_variants_without_a_sparse_form_are_refused():
    model = nn.Sequential(nn.MultiheadAttention(16, 2, add_bias_kv=True))
    with pytest.raises(UnsupportedError, match="bias_k and bias_v"):
        sparsify(model, "bdwp", PATTERN)
    sparsify(model, "bdwp", PATTERN, exclude=["0"])


def test_verify_proves_the_calls_and_leaves_the_model_alone():
    model = small_cnn()
    sparsified = sparsify(model, "bdwp")
    state = copy.deepcopy(model.state_dict())
    model[1].eval()
    random = torch.get_rng_state()
    sparsified.verify(torch.randn(4, 1, 8, 8))
    assert all(
        torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True)
    )
    assert model.training
    assert not model[1].training
    assert all(p.grad is None for p in model.parameters())
    del random


def test_verify_names_a_bypassed_module():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.bypassed = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            return self.used(x) if self.training else F.linear(self.used(x), self.bypassed.weight)

    sparsified = sparsify(Bypass(), "bdwp", include=["*"])
    with pytest.raises(RunError, match="not called in train mode: bypassed"):
        sparsified.verify(torch.randn(2, 16))


def test_encoder_fast_path_is_not_taken():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
    sparsified = sparsify(encoder, "bdwp", PATTERN, include=["*"])
    sparsified.verify(torch.randn(2, 4, 32))
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    encoder.eval()
    with torch.no_grad():
        assert encoder(torch.randn(2, 4, 32), src_key_padding_mask=padding).shape == (2, 4, 32)


def test_packed_weights_are_the_trained_ones():
    model = small_cnn()
    sparsified = sparsify(model, "bdwp")
    for phase, axis in ((Phase.FF, 1), (Phase.BP, 0)):
        weight = model[6].weight.detach()
        mask = nm_mask(weight, PATTERN, axis=axis)
        expected = torch.where(mask, weight.half().float(), 0).numpy()
        assert (sparsified.pack("6.weight", phase).unpack() == expected).all()
    with pytest.raises(UnsupportedError, match="no sparse weight in FF"):
        sparsified.pack("0.weight", Phase.FF)


# torch's compiler raises deprecation warnings of its own parts.
@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_compiled_by_inductor_equals_eager(method):
    """aot_eager covers tracing in every run; generated code takes minutes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
    sparsify(model, method, PATTERN, include=["*"])
    x = torch.randn(4, 32)
    model(x).square().sum().backward()
    eager = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch._dynamo.reset()
    torch.compile(model)(x).square().sum().backward()
    for a, b in zip(eager, model.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)
