"""The operators: schemas, fakes, gradients, and torch.compile as far as it goes without a GPU."""

import pytest
import torch
from torch import nn

from algos import sparsify
from algos.gpu_products import why_masked
from cosparse.spec import UnsupportedError
from kernels.gpu import layouts, ops
from kernels.gpu.choice import choose

from .products import activations, assert_product, prepared_weight
from .test_decoded import assert_gradient, packed_any

PATTERNS = ("2:8", "bitmap", "16:2:8", "block 16x16 @ 0.4")


def weight_of(pattern, device, shape=(32, 64)):
    return prepared_weight(packed_any(pattern, shape, torch.float32), device, torch.float32)


@pytest.mark.parametrize("pattern", [*PATTERNS, "3:8"])
def test_a_layout_survives_its_planes(pattern, device):
    weight = weight_of(pattern, device)
    kind, planes, numbers = ops.flatten(weight)
    again = ops.unflatten(kind, planes, numbers)
    assert vars(again) == vars(weight)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_of_a_packed_weight(pattern, device):
    weight = weight_of(pattern, device)
    weight.values.requires_grad_()
    x = activations((2, 3, 64), torch.float32, device).requires_grad_()
    y = ops.linear(x, weight)
    dy = activations((2, 3, 32), torch.float32, device, 5)
    y.backward(dy)
    dense = layouts.to_dense(weight).detach().double()
    for got, a, b in ((y, x, dense.t()), (x.grad, dy, dense)):
        a = a.detach().double()
        assert_product(got.detach(), a @ b, a.abs() @ b.abs(), 64)
    if not pattern.startswith("block"):
        assert_gradient(weight, dy.reshape(6, 32), x.detach().reshape(6, 64), None, device)
    assert weight.values.grad.shape == weight.values.shape


@pytest.mark.parametrize("pattern", ["2:8", "block 16x16 @ 0.4"])
def test_operators_are_what_they_declare(pattern, device):
    weight = weight_of(pattern, device)
    kind, planes, numbers = ops.flatten(weight)
    x = activations((3, 64), torch.float32, device)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.cosparse.gpu_linear.default, (x, planes[0], planes[1:], kind, numbers),
        test_utils=checks,
    )  # fmt: skip
    for forward, backward in ((True, True), (False, True)):
        torch.library.opcheck(
            torch.ops.cosparse.gpu_prune.default,
            (torch.randn(20, 70, device=device), 2, 8, torch.float16, "float16", forward, backward),
            test_utils=checks,
        )


def model_of(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 8)
    )


def trained(kernels, method, device, steps=2, compiled=False):
    """Losses and weights of a short training."""
    model = model_of().to(device)
    sparsify(model, method, "2:8", kernels=kernels)
    run = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, target = (activations((5, size), torch.float32, device, size) for size in (12, 8))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (run(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("method", ["bdwp", "sr-ste", "sdgp", "sdwp"])
def test_training_is_that_of_masked_weights(method, device):
    expected_losses, expected = trained(None, method, device)
    losses, weights = trained("gpu", method, device)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    for got, want in zip(weights, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_step_keeps_compact_copies(device):
    model = nn.Sequential(*(nn.Linear(96, 96) for _ in range(3))).to(device)
    sparsify(model, "bdwp", "2:8", kernels="gpu")
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    with hooks:
        model(activations((4, 96), torch.float32, device).requires_grad_())
    dense = {t.data_ptr() for t in kept if t.shape == (96, 96)}
    assert dense <= {layer.weight.data_ptr() for layer in model}
    assert any(t.dtype == torch.int32 for t in kept)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, while it traces
def test_compiled_training_traces_without_a_break(device):
    expected = trained("gpu", "bdwp", device)
    losses, weights = trained("gpu", "bdwp", device, compiled=True)
    torch.testing.assert_close(losses, expected[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(weights, expected[1], rtol=1e-5, atol=1e-6)


def test_autocast_packs_in_its_dtype(device):
    model = model_of().to(device)
    sparsify(model, "bdwp", "2:8", kernels="gpu")
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
        y = model(activations((3, 12), torch.float32, device))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert model[2].weight.grad.dtype == torch.float32


def test_what_runs_masked_says_why(device):
    model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 8, 3))
    sparse = sparsify(model, "bdwp", "2:8", kernels="gpu")
    assert why_masked(sparse.layers["1.weight"]) == "a convolution has no GPU kernel"
    assert model(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 2, 2)
    plans = sparsify(model_of(), "bdwp", "3:8", kernels="gpu").layers
    assert "3:8" in why_masked(plans["2.weight"])


def test_mixed_dtypes_and_meta(device):
    model = model_of().to(device)
    sparsify(model, "bdwp", "2:8", kernels="gpu")
    with pytest.raises(UnsupportedError, match=r"expected activations in the weight's dtype"):
        model[2](torch.zeros(3, 16, dtype=torch.float16, device=device))
    assert model.to("meta")(torch.zeros(3, 12, device="meta")).shape == (3, 8)


def test_the_choice_is_by_measured_times(device):
    weight = layouts.NMRows(
        torch.empty(11008, 1024, dtype=torch.bfloat16, device="meta"),
        torch.empty(11008, 128, dtype=torch.int32, device="meta"), 2, 8, (11008, 4096),
    )  # fmt: skip
    one, many = choose(weight, 1), choose(weight, 4096)
    assert one.side == "sparse"
    assert "measured" in one.reason
    assert 0.25 < one.ratio < 0.5
    assert many.side == "dense"
    assert "no gather" in many.reason
    assert choose(weight, 16).side == "dense"
    assert choose(weight, 1, timed=(10.0, 10.1)).side == "dense"
    assert "not below" in choose(weight, 1, timed=(10.0, 10.1)).reason
