"""Factorised methods on the CPU kernels: gradients are those of torch's autograd in float64."""

import copy

import pytest
import torch
from torch import nn

from algos import factor_products, sparsify
from algos.factorized.parts import BlockLinear, FixedSupportLinear
from algos.factorized.replace import LowRankPlusSparse
from cosparse.spec import UnsupportedError
from kernels import factors

from .small_networks import mlp

METHODS = (
    "dsformer", "dsformer-fixed", "dsformer-weight", "low-rank", "block-dense", "block-dense-guided",
    "block-shuffle", "sltrain", "sltrain-nm",
)  # fmt: skip


def cnn():
    torch.manual_seed(0)
    layers = (nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 4)
    )


def pair(build, method):
    """The same factors with kernels, and in float64 on torch."""
    model, reference = build(), build()
    torch.manual_seed(1)
    sparse = sparsify(model, method, "2:8", kernels="cpu")
    torch.manual_seed(1)
    sparsify(reference, method, "2:8")
    reference.load_state_dict(model.state_dict())
    return model, reference, sparse


def gradients(model, x, dtype):
    """Output, gradient of the input and of every parameter."""
    model, x = model.to(dtype), x.detach().to(dtype).requires_grad_()
    y = model(x)
    weight = torch.linspace(-1, 1, y.numel(), dtype=dtype).view(y.shape)
    (y * weight).sum().backward()
    parameters = [p.grad for p in model.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *parameters]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(24, 32), (2, 3, 32)], ids=str)
def test_outputs_and_gradients_are_those_of_float64(method, shape):
    model, reference, _ = pair(mlp, method)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    got, expected = gradients(model, x, torch.float32), gradients(reference, x, torch.float64)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert (one.double() - other).abs().max() <= 1e-4 * other.abs().max(), method


def test_the_kernels_are_what_multiplies(monkeypatch):
    """Every factor's product goes through `kernels`; without them none does."""
    calls = []

    def counted(name, run):
        return lambda *args, **options: calls.append(name) or run(*args, **options)

    for name in ("block_diagonal", "low_rank_sparse", "low_rank_sparse_gradients",
                 "block_diagonal_gradient"):  # fmt: skip
        monkeypatch.setattr(factors, name, counted(name, getattr(factors, name)))
    for method, forward, backward in (
        ("block-shuffle", "block_diagonal", "block_diagonal_gradient"),
        ("sltrain", "low_rank_sparse", "low_rank_sparse_gradients"),
    ):
        model, reference, _ = pair(mlp, method)
        replaced = sum(isinstance(m, BlockLinear | LowRankPlusSparse) for m in model.modules())
        calls.clear()
        reference(torch.randn(3, 32)).sum().backward()
        assert not calls
        model(torch.randn(3, 32)).sum().backward()
        # block_diagonal also serves its own input gradient, where the input has one
        assert calls.count(backward) == replaced and calls.count(forward) >= replaced


def test_a_step_of_training_follows_torch():
    data = torch.randn(6, 16, 32, generator=torch.Generator().manual_seed(3))
    model, reference, _ = pair(mlp, "sltrain")
    losses = []
    for one in (model, reference):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.05, momentum=0.9)
        found = []
        for x in data:
            optimizer.zero_grad()
            loss = one(x).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-6)


def test_positions_that_are_loaded_are_cut_anew():
    model, _, _ = pair(mlp, "dsformer-fixed")
    layer = next(m for m in model.modules() if isinstance(m, FixedSupportLinear))
    x = torch.randn(5, layer.shape[1])
    layer(x)
    kept = factor_products.support_of(layer)
    assert factor_products.support_of(layer) is kept
    state = copy.deepcopy(layer.state_dict())
    free = sorted(set(range(layer.shape[0] * layer.shape[1])) - set(state["positions"].tolist()))
    moved = torch.cat([state["positions"][:-1], torch.tensor(free[-1:])]).sort().values
    layer.load_state_dict(state | {"positions": moved})
    expected = torch.nn.functional.linear(x, layer.dense_weight(), layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert factor_products.support_of(layer) is not kept
    again = copy.deepcopy(layer)
    torch.testing.assert_close(again(x), expected, rtol=1e-4, atol=1e-5)


def test_convolutions_run_as_without_kernels():
    model, reference, _ = pair(cnn, "sltrain")
    x = torch.randn(2, 8, 6, 6)
    got, expected = gradients(model, x, torch.float32), gradients(reference, x, torch.float64)
    for one, other in zip(got, expected, strict=True):
        assert (one.double() - other).abs().max() <= 1e-4 * other.abs().max()


def test_deployed_and_merged_models_keep_their_function():
    for method in ("dsformer-weight", "block-shuffle", "sltrain"):
        model, _, sparse = pair(mlp, method)
        torch.manual_seed(1)
        other = sparsify(mlp(), method, "2:8")
        other.model.load_state_dict(model.state_dict())
        x = torch.randn(6, 32)
        expected = other.deploy().model.eval()(x).detach()
        sparse.deploy()
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x), expected, rtol=1e-3, atol=1e-4)
            sparse.merge(8)
            torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)


def test_a_capture_needs_no_kernels():
    from algos import capture

    for method in ("block-shuffle", "sltrain", "dsformer-fixed"):
        model, reference, _ = pair(mlp, method)
        x = torch.randn(4, 32)
        assert capture(model, x).to_json() == capture(reference, x).to_json()


@pytest.mark.parametrize("method", ["block-shuffle", "sltrain", "dsformer-fixed"])
def test_other_dtypes_and_autocast_are_refused(method):
    model, _, _ = pair(mlp, method)
    with torch.autocast("cpu"), pytest.raises(UnsupportedError, match="turn autocast off"):
        model(torch.randn(4, 32))
    with pytest.raises(UnsupportedError, match="expects float32 on the CPU"):
        model.double()(torch.randn(4, 32).double())


def test_the_gpu_does_not_train_factors():
    with pytest.raises(UnsupportedError, match=r"does not train; use kernels='cpu'"):
        sparsify(mlp(), "sltrain", "2:8", kernels="gpu")
