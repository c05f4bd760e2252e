"""Training on packed copies (`sparsify(..., kernels="cpu")`): as torch's products on masked weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from algos import METHODS
from algos.functions import GradientRule
from algos.kernel_products import products, why_stock
from algos.sparsified import sparsify
from cosparse.spec import Phase, UnsupportedError
from kernels.cpu import PreparedWeight, StepCopy

from .small_networks import mlp


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(32, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


MODELS = {"mlp": (mlp, (24, 32)), "cnn": (cnn, (6, 3, 12, 12))}


def gradients(model, x, dtype):
    """Output, gradient of the input and of every parameter."""
    model, x = model.to(dtype), x.detach().to(dtype).requires_grad_()
    y = model(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["sr-ste", "sdgp", "sdwp", "bdwp", "bi-mask"])
def test_outputs_and_gradients_are_those_of_masked_weights_in_float64(name, method):
    """Masks are those of the float32 weights, which float64 holds exactly."""
    build, shape = MODELS[name]
    model, x = build(), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if name == "cnn" and any(kind == "conv" for kind, _ in METHODS[method].refuses):
        pytest.skip(f"{method} does not take convolutions")
    reference = copy.deepcopy(model)
    sparsify(reference, method, "2:8")
    sparsify(model, method, "2:8", kernels="cpu")
    got, expected = gradients(model, x, torch.float32), gradients(reference, x, torch.float64)
    for one, other in zip(got, expected, strict=True):
        scale = other.abs().max()
        assert (one.double() - other).abs().max() <= 2e-6 * scale * max(x.shape), method


def test_a_run_learns_what_torch_learns():
    """Twenty SGD steps: the losses are those of torch's products within rounding."""
    data = torch.randn(20, 48, 32, generator=torch.Generator().manual_seed(2))
    labels = (data.sum(-1) > 0).long()
    losses = []
    for kernels in (None, "cpu"):
        model = mlp()
        sparse = sparsify(model, "bdwp", "2:8", kernels=kernels)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sparse.attach(optimizer)
        found = []
        for x, y in zip(data, labels, strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[0][-1] < losses[0][0]


def test_what_runs_on_packed_copies():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64))
    plan = sparsify(model, "bdwp", "2:8", kernels="cpu").layers["1.weight"]
    weight = model[1].weight
    made = products(plan, weight, GradientRule(), with_bp=True, scale=None)
    assert isinstance(made.ff, StepCopy | PreparedWeight) and isinstance(made.bp, type(made.ff))
    assert [why_stock(plan, phase) for phase in (Phase.FF, Phase.BP)] == [None, None]
    other = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64))
    plan = sparsify(other, "sr-ste", "2:8", kernels="cpu").layers["1.weight"]
    made = products(plan, other[1].weight, GradientRule(reuses_ff=True), with_bp=True, scale=None)
    assert isinstance(made.ff, StepCopy | PreparedWeight) and isinstance(made.bp, torch.Tensor)
    assert "BP reuses W_FF" in why_stock(plan, Phase.BP)


def test_threads_stay_as_they_are():
    before = torch.get_num_threads()
    model = mlp()
    sparsify(model, "bdwp", "2:8", kernels="cpu")
    gradients(model, torch.randn(40, 32), torch.float32)
    assert torch.get_num_threads() == before


def test_a_graph_of_two_steps_keeps_both_weights():
    """Arrays of a copy are used again only when nothing can read them any more."""
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
    sparsify(model, "bdwp", "2:8", kernels="cpu", include=["*"])
    x = torch.randn(40, 32, requires_grad=True)
    first = model(x).sum()
    (expected,) = torch.autograd.grad(first, x, retain_graph=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    for _ in range(3):
        model(x).sum().backward()
    assert torch.equal(torch.autograd.grad(first, x)[0], expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.double(), "expects float32 on the CPU, got torch.float64"),
        (lambda model: model.bfloat16(), "expects float32 on the CPU, got torch.bfloat16"),
    ],
)
def test_other_numbers_are_refused(change, words):
    model = mlp()
    sparsify(model, "bdwp", "2:8", kernels="cpu")
    dtype = next(change(model).parameters()).dtype
    with pytest.raises(UnsupportedError, match=words):
        model(torch.randn(4, 32).to(dtype))


def test_autocast_and_other_backends_are_refused():
    model = mlp()
    with pytest.raises(UnsupportedError, match="unknown kernels 'tpu'"):
        sparsify(model, "bdwp", "2:8", kernels="tpu")
    sparsify(model, "bdwp", "2:8", kernels="cpu")
    with torch.autocast("cpu"), pytest.raises(UnsupportedError, match="turn autocast off"):
        model(torch.randn(4, 32))


def test_a_capture_does_not_need_the_kernels():
    """Tensors on the meta device have no values: the stock products give their shapes."""
    from algos import capture

    model = mlp()
    sparsify(model, "bdwp", "2:8", kernels="cpu")
    assert (
        capture(model, torch.randn(8, 32)).to_json() == capture(mlp(), torch.randn(8, 32)).to_json()
    )
