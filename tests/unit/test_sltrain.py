"""SLTrain: low-rank plus sparse with a fixed support, and its supports."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algos.factorized.structures import LowRankSparse, why_dense
from algos.factorized.support import random_support, strided_support
from cosparse.spec import NM, pack

from .factorized_layers import replaced

LAYERS = {
    "linear": lambda: nn.Linear(32, 64),
    "conv": lambda: nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
}
INPUTS = {"linear": (2, 3, 32), "conv": (2, 32, 5, 6)}


@given(
    st.integers(0, 10_000),
    st.sampled_from([(1, 2), (2, 4), (2, 8), (1, 16), (1, 32), (4, 4)]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([(), (1, 1), (3, 2)]),
)
@settings(max_examples=60, deadline=None)
def test_a_strided_support_has_n_entries_in_every_group_of_both_axes(seed, pattern, tiles, taps):
    pattern = NM(*pattern)
    shape = (tiles[0] * pattern.m, tiles[1] * pattern.m, *taps)
    positions = strided_support(shape, pattern, torch.Generator().manual_seed(seed))
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[positions] = True
    mask = mask.view(shape)
    assert mask.sum() == len(positions) and (positions.diff() > 0).all()
    for axis in (0, 1):
        groups = mask.unflatten(axis, (-1, pattern.m)).sum(axis + 1)
        assert (groups == pattern.n).all()


def test_a_strided_support_is_uniform_over_positions():
    """1:4 on 4000 tiles: each of the 16 places of a tile is taken with probability 1/4."""
    positions = strided_support((4 * 4000, 4), NM(1, 4), torch.Generator().manual_seed(0))
    counts = torch.bincount(positions % 16, minlength=16)
    assert (counts - 1000).abs().max() < 5 * math.sqrt(4000 * 0.25 * 0.75)


def test_a_random_support_has_its_share_of_positions():
    shape = (20, 30, 3, 3)
    positions = random_support(shape, 0.03, torch.Generator().manual_seed(0))
    assert len(positions) == int(0.03 * 5400) and (positions.diff() > 0).all()
    assert positions[0] >= 0 and positions[-1] < 5400
    again = random_support(shape, 0.03, torch.Generator().manual_seed(0))
    assert torch.equal(positions, again)
    assert len(random_support((2, 2), 0.03)) == 1


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("support", ["random", "strided"])
def test_the_layer_is_its_formula(kind, support):
    """y = x ((alpha / r) B A + S)^T + bias, with the gradients of all by autograd of that weight."""
    stock = LAYERS[kind]().double()
    layer, plans = replaced(copy.deepcopy(stock), LowRankSparse(ratio=0.25, support=support))
    a, b = layer.low_rank.first.weight, layer.low_rank.second.weight
    assert layer.scale == 16.0 / 8 and (b == 0).all()
    assert layer.sparse.values.abs().max() <= 1 / math.sqrt(stock.weight[0].numel())
    b.data.normal_()
    flat = torch.zeros(stock.weight.numel(), dtype=torch.float64)
    flat[layer.sparse.positions] = layer.sparse.values.detach()
    leaves = [t.detach().clone().requires_grad_() for t in (a, b)]
    product = torch.einsum("or,ri->oi", leaves[1].flatten(1), leaves[0].flatten(1))
    dense = layer.scale * product + flat.view(len(product), -1)
    x, own = (torch.randn(INPUTS[kind], dtype=torch.float64).requires_grad_() for _ in range(2))
    own.data = x.detach().clone()
    dense.retain_grad()
    values = {"weight": dense.view(stock.weight.shape)}
    expected = torch.func.functional_call(stock, values, own)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(x.grad, own.grad)
    torch.testing.assert_close(a.grad, leaves[0].grad)
    torch.testing.assert_close(b.grad, leaves[1].grad)
    picked = dense.grad.flatten()[layer.sparse.positions]
    torch.testing.assert_close(layer.sparse.values.grad, picked)
    patterns = {name: (plan.ff, plan.bp) for name, plan in plans.items()}
    nm = NM(2, 8) if support == "strided" else None
    assert patterns == {
        "fc.low_rank.first.weight": (None, None),
        "fc.low_rank.second.weight": (None, None),
        "fc.sparse.values": (nm, nm),
    }


def test_only_the_stored_values_are_trained():
    structure = LowRankSparse(ratio=0.125, density=0.03)
    layer, _ = replaced(nn.Linear(32, 64), structure)
    trained = {name: p.numel() for name, p in layer.named_parameters()}
    assert trained == {
        "low_rank.first.weight": 4 * 32,
        "low_rank.second.weight": 64 * 4,
        "sparse.values": int(0.03 * 2048),
        "sparse.bias": 64,
    }
    entries = structure.entries((64, 32), NM(2, 8))
    assert sum(trained.values()) - 64 == entries
    positions = layer.sparse.positions.clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 32)).square().mean().backward()
        optimizer.step()
    assert torch.equal(layer.sparse.positions, positions)


def test_a_strided_support_packs_along_both_axes():
    """What the accelerator reads holds every entry: nothing is dropped by the selection."""
    layer, _ = replaced(nn.Linear(32, 64), LowRankSparse(support="strided"), NM(1, 16))
    weight = layer.sparse.dense_weight().detach().numpy()
    for axis in (0, 1):
        kept = pack(weight, NM(1, 16), axis=axis).unpack()
        assert ((kept != 0) == (weight != 0)).all()


def test_a_strided_support_needs_whole_tiles():
    structure = LowRankSparse(ratio=0.1, support="strided")
    assert "multiples of M = 32" in why_dense(structure, (64, 48), 1, NM(1, 32))
    assert why_dense(structure, (64, 96), 1, NM(1, 32)) is None
