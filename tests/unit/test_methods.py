"""Methods against the formulas of design section 5, written out in NumPy float64."""

import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algos import METHODS, nm_mask
from algos.functions import LOSS_SCALE
from algos.sparsified import plan_layers, sparsify
from cosparse.spec import NM, InputError, Phase, RunError, UnsupportedError, select

PATTERN = NM(2, 8)
METHOD_NAMES = ["bdwp", "dense", "pgf", "sdgp", "sdwp", "sr-ste"]
"""Those whose formulas are here; the others have files of their own."""


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


SIGNIFICAND_BITS = {"float16": 11, "bfloat16": 8, "float32": 24}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_float64_is_rounded_once(dtype):
    """By way of float32 the second entry would round to the tie 1 + 2^-11, then to 1: a draw."""
    half = 2.0 ** -SIGNIFICAND_BITS[dtype]
    values = torch.tensor([[1, 1 + half + 2.0**-40]], dtype=torch.float64)
    assert nm_mask(values, NM(1, 2), axis=1, dtype=dtype).tolist() == [[False, True]]


NEAR_A_TIE = st.sampled_from([0.0, 2.0**-20, 0.5 - 2.0**-20, 0.5, 0.5 + 2.0**-20, 1.0, 1.5])
"""Offsets in units of the last place: a group of these is decided by how each is rounded."""


@given(
    st.sampled_from(sorted(SIGNIFICAND_BITS)),
    st.floats(0, 1),
    st.integers(-20, 4),
    st.lists(st.tuples(NEAR_A_TIE, st.booleans()), min_size=4, max_size=16),
    st.lists(st.floats(), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_float64_masks_equal_the_vocabulary(dtype, place, exponent, entries, others):
    """Values about one tie of the dtype (normal or subnormal), and any others."""
    significand = int((1 + place) * 2 ** (SIGNIFICAND_BITS[dtype] - 1))
    unit = 2.0 ** (exponent - SIGNIFICAND_BITS[dtype] + 1)
    values = [(-1) ** negative * (significand + offset) * unit for offset, negative in entries]
    weight = np.array(values + others)[None]
    mask = nm_mask(torch.from_numpy(weight), NM(2, 4), axis=1, dtype=dtype)
    assert (mask.numpy() == select(weight, NM(2, 4), axis=1, dtype=dtype)).all()


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


@pytest.mark.parametrize("method", ["sr-ste", "sdwp", "bdwp"])
def test_absent_weights_are_not_multiplied_by_zero(method):
    """Six of eight infinite weights are dropped. As inf * 0 they would make every product NaN."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    model[0].weight.data.fill_(torch.inf)
    sparsify(model, method, PATTERN, include=["0"])
    x = torch.ones(1, 8, requires_grad=True)
    y = model(x)
    y.backward(torch.ones_like(y))
    assert y.isposinf().all()
    assert not x.grad.isnan().any()


def test_absent_gradients_are_not_multiplied_by_zero():
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    model[0].weight.data.fill_(1.0)
    sparsify(model, "sdgp", PATTERN, include=["0"])
    x = torch.ones(1, 8, requires_grad=True)
    y = model(x)
    y.backward(torch.full_like(y, torch.inf))
    assert x.grad.isposinf().all()


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
    with pytest.raises(UnsupportedError, match="takes N:M patterns"):
        sparsify(small_cnn(), "bdwp", "block 4x4 @ 0.5")
    model = small_cnn()
    sparsify(model, "bdwp")
    with pytest.raises(InputError, match="sparse already"):
        sparsify(model, "sdwp")
    attention = nn.MultiheadAttention(16, 2)
    sparsify(attention, "bdwp")
    with pytest.raises(InputError, match="sparse already"):
        sparsify(attention, "sdwp")
    with pytest.raises(InputError, match="'1' is lazy"):
        sparsify(nn.Sequential(nn.ReLU(), nn.LazyLinear(8)), "bdwp")


class Scaled(nn.Linear):
    """Not a stock Linear: its forward is its own."""

    def forward(self, x):
        return 2 * super().forward(x)


def old_weight_norm():
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(nn.Linear(16, 16))


class Kernel(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(16, 16))


NO_SPARSE_FORM = {
    "subclass": (lambda: Scaled(16, 16), "0.weight", "Scaled is a subclass of Linear"),
    "parametrized": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)),
        "0.weight",
        "parametrized weight",
    ),
    "weight_norm": (old_weight_norm, "0.weight", "parametrized weight"),
    "Conv1d": (lambda: nn.Conv1d(16, 16, 3), "0.weight", "Conv1d has no sparse form here"),
    "Conv3d": (lambda: nn.Conv3d(16, 16, 3), "0.weight", "Conv3d has no sparse form here"),
    "transposed": (
        lambda: nn.ConvTranspose2d(16, 16, 3),
        "0.weight",
        "ConvTranspose2d has no sparse form here",
    ),
    "LSTM": (lambda: nn.LSTM(16, 16), "0.weight_ih_l0", "LSTM has no sparse form here"),
    "GRU": (lambda: nn.GRU(16, 16), "0.weight_hh_l0", "GRU has no sparse form here"),
    "Bilinear": (lambda: nn.Bilinear(8, 8, 8), "0.weight", "Bilinear has no sparse form here"),
    "Embedding": (lambda: nn.Embedding(32, 16), "0.weight", "Embedding has no sparse form here"),
    "own parameter": (Kernel, "0.kernel", "Kernel has no sparse form here"),
    "attention": (
        lambda: nn.MultiheadAttention(16, 2, add_bias_kv=True),
        "0.in_proj_weight",
        "attention with bias_k and bias_v has no sparse form here",
    ),
    "cross-attention": (
        lambda: nn.MultiheadAttention(16, 2, kdim=8),
        "0.k_proj_weight",
        "attention with kdim or vdim different from embed_dim has no sparse form here",
    ),
}


@pytest.mark.parametrize(("build", "name", "reason"), NO_SPARSE_FORM.values(), ids=NO_SPARSE_FORM)
def test_layers_without_a_sparse_form_are_listed_and_not_includable(build, name, reason):
    model = nn.Sequential(build(), nn.Linear(16, 16), nn.Linear(16, 16))
    sparsified = sparsify(model, "bdwp", PATTERN)
    plan = sparsified.layers[name]
    assert plan.dense_because == {Phase.FF: reason, Phase.BP: reason}
    assert not plan.is_sparse
    assert set(sparsified.sparse_layers) == {"1.weight"}
    assert sparsified.replaced == ("1",)
    for glob in ("0", name):
        with pytest.raises(UnsupportedError, match=re.escape(reason)):
            plan_layers(nn.Sequential(build(), nn.Linear(16, 16)), "bdwp", PATTERN, include=[glob])


def test_every_weight_is_listed_once_and_nothing_else():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3))
    model = nn.Sequential(
        normed, nn.LayerNorm((4, 4)), nn.MultiheadAttention(16, 2), nn.Linear(16, 1)
    )
    model.token = nn.Parameter(torch.zeros(1, 1, 16))
    names = ["0.weight", "2.in_proj_weight", "2.out_proj.weight", "3.weight"]
    plans = plan_layers(model, "bdwp", PATTERN)
    assert list(plans) == names
    assert plans["0.weight"].shape == (16, 16, 3, 3)


def test_a_number_called_weight_is_no_layer():
    model = nn.Sequential(nn.Linear(16, 16))
    model[0].scale, model.weight = torch.ones(16), 0.5
    assert list(plan_layers(model, "bdwp", PATTERN)) == ["0.weight"]


def test_a_wildcard_includes_what_it_can():
    model = nn.Sequential(nn.Conv1d(16, 16, 3), nn.Linear(16, 16))
    plans = plan_layers(model, "bdwp", PATTERN, include=["*"])
    assert plans["1.weight"].is_sparse
    assert not plans["0.weight"].is_sparse


class OutOfOrder(nn.Module):
    """Registered head first and stem last; the order of the calls is in `forward`."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 16)
        self.middle = nn.Conv2d(16, 16, 1)
        self.body = nn.Linear(16, 16)
        self.side_stem = nn.Conv2d(16, 16, 1)
        self.stem = nn.Conv2d(16, 16, 1)

    def forward(self, x):
        joined = self.middle(self.stem(x)) + self.side_stem(x[:, :])
        return {"features": self.head(self.body(joined.mean((2, 3)))).unflatten(1, (2, 8))}


def reasons(plans):
    return {
        name.removesuffix(".weight"): plan.dense_because[Phase.FF]
        for name, plan in plans.items()
        if Phase.FF in plan.dense_because
    }


def test_stem_and_classifier_by_data_flow():
    model, sample = OutOfOrder(), torch.randn(2, 16, 4, 4)
    by_flow = {"stem": "stem", "side_stem": "stem", "head": "classifier"}
    assert reasons(plan_layers(model, "bdwp", PATTERN, sample=sample)) == by_flow
    assert reasons(sparsify(model, "bdwp", PATTERN, sample=sample).layers) == by_flow
    by_registration = {"middle": "stem", "stem": "classifier"}
    assert reasons(plan_layers(OutOfOrder(), "bdwp", PATTERN)) == by_registration


def test_stem_and_classifier_behind_other_operations_are_the_first_and_last_called():
    class Normalised(OutOfOrder):
        def forward(self, x):
            return super().forward(x - 0.5)["features"].softmax(-1)

    plans = plan_layers(Normalised(), "bdwp", PATTERN, sample=torch.randn(2, 16, 4, 4))
    assert reasons(plans) == {"stem": "stem", "head": "classifier"}


def test_finding_the_ends_leaves_the_model_alone_and_passes_errors_on():
    model = nn.Sequential(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1), nn.Dropout(0.5))
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    plan_layers(model, "bdwp", PATTERN, sample=torch.ones(2, 16, 4, 4))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.equal(random, torch.get_rng_state())
    with pytest.raises(RuntimeError, match="running_mean"):
        plan_layers(model, "bdwp", PATTERN, sample=torch.randn(2, 3, 4, 4))


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


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_fused_optimizers_decay_as_plain_ones_under_loss_scaling(kind):
    """The fused kernel unscales the gradients itself, after the hooks before the step."""
    steps = {}
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    for fused in (False, True):
        model, sparsified = one_layer()
        optimizer = kind(model.parameters(), lr=0.1, fused=fused)
        sparsified.attach(optimizer, decay=0.3)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(model(x).square().mean()).backward()
        scaler.step(optimizer)
        steps[fused] = model[0].weight.detach().clone()
    torch.testing.assert_close(steps[True], steps[False])


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_skipped_for_an_overflow_decays_nothing(kind, fused):
    model, sparsified = one_layer()
    before = model[0].weight.detach().clone()
    optimizer = kind(model.parameters(), lr=0.1, fused=fused)
    sparsified.attach(optimizer, decay=0.3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(model(torch.full((4, 16), torch.inf)).sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("named", [False, True])
def test_a_closure_does_not_change_the_decay(kind, named):
    """The closure computes the gradients after the hook before the step has run."""
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    weights = []
    for use_closure in (False, True):
        model, sparsified = one_layer()
        optimizer = kind(model.parameters(), lr=0.1)
        sparsified.attach(optimizer, decay=0.3)

        def compute(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        for _ in range(2):
            if not use_closure:
                compute()
                optimizer.step()
            elif named:
                optimizer.step(closure=compute)
            else:
                assert optimizer.step(compute) > 0
        weights.append(model[0].weight.detach())
    assert torch.equal(*weights)


def test_a_second_decay_of_the_same_weights_is_refused():
    model, sparsified = one_layer()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    handle = sparsified.attach(optimizer)
    with pytest.raises(InputError, match=r"decays the pruned entries of '0.weight' already"):
        sparsified.attach(optimizer)
    handle.remove()
    sparsified.attach(optimizer)
    other, other_sparsified = one_layer()
    optimizer.add_param_group({"params": other.parameters()})
    other_sparsified.attach(optimizer)


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
    with pytest.raises(InputError, match=r"'6.weight' is on the meta device"):
        sparsify(small_cnn().to("meta"), "bdwp").pack("6.weight", Phase.FF)


def test_a_float64_weight_is_packed_by_the_mask_it_trains_with():
    model = nn.Sequential(nn.Linear(2, 1, bias=False, dtype=torch.float64))
    model[0].weight.data.fill_(1.0)
    model[0].weight.data[0, 1] = 1 + 2.0**-11 + 2.0**-40
    sparsified = sparsify(model, "sr-ste", "1:2", include=["0"])
    assert sparsified.pack("0.weight", Phase.FF).unpack().tolist() == [[0.0, 1 + 2.0**-10]]


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
