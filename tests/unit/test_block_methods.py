"""Block-sparse methods: masks against the vocabulary, the proximal step against a numerical optimum."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn

from algos import METHODS
from algos.blocks import block_mask, block_norms
from algos.envelope import proximal_factors, proximal_shares
from algos.loop import Recipe, train
from algos.proximal import proximal_step
from algos.sparsified import plan_layers, sparsify
from cosparse.spec import Block, InputError, Phase, UnsupportedError, select
from tests.unit.test_loop import labelled

SIDES = st.sampled_from([(4, 1), (16, 1), (16, 16), (32, 32), (1, 4), (3, 5)])


@given(
    SIDES,
    st.sampled_from([(32, 32), (37, 50), (64, 16, 3, 3), (8, 6, 1, 2)]),
    st.sampled_from([1, 2]),
    st.floats(0.01, 1.0),
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from(["float16", "float32"]),
)
@settings(max_examples=80, deadline=None)
def test_block_masks_equal_the_vocabulary(sides, shape, groups, density, seed, ties, dtype):
    groups = groups if shape[0] % groups == 0 else 1
    pattern = Block(*sides, density)
    if shape[0] // groups < pattern.rows or shape[1] < pattern.cols:
        return
    weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    weight = np.round(weight) if ties else weight
    weight.reshape(-1)[0] = np.nan
    expected = select(weight, pattern, axis=1, conv_groups=groups, dtype=dtype)
    found = block_mask(torch.from_numpy(weight), pattern, conv_groups=groups, dtype=dtype)
    assert (found.numpy() == expected).all()


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_ff_and_bp_share_the_blocks(kind):
    torch.manual_seed(0)
    layer = nn.Linear(24, 32) if kind == "linear" else nn.Conv2d(24, 32, 3, padding=1)
    model = nn.Sequential(layer).double()
    pattern = Block(16, 4, 0.25)
    sparse = sparsify(model, "block", pattern, include=["0"])
    mask = torch.from_numpy(select(layer.weight.detach().numpy(), pattern, axis=1))
    x = torch.randn(2, *((24,) if kind == "linear" else (24, 5, 5)), dtype=torch.float64)
    x.requires_grad_()
    y = model(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    dense = nn.functional.linear if kind == "linear" else nn.functional.conv2d
    options = {} if kind == "linear" else {"padding": 1}
    other = x.detach().clone().requires_grad_()
    weight = (layer.weight * mask).detach().requires_grad_()
    reference = dense(other, weight, layer.bias, **options)
    reference.backward(grad)
    torch.testing.assert_close(y, reference)
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(layer.weight.grad, weight.grad)  # straight-through: of every weight
    plan = sparse.layers["0.weight"]
    assert (plan.ff, plan.bp) == (pattern, Block(4, 16, 0.25))
    expected = (layer.weight.detach() * mask).half().numpy()
    for phase in (Phase.FF, Phase.BP):
        np.testing.assert_array_equal(sparse.pack("0.weight", phase).unpack(), expected)


def test_blocks_that_a_layer_cannot_hold_leave_it_dense():
    plans = plan_layers(
        nn.Sequential(nn.Linear(64, 8)), "block", "block 16x16 @ 0.5", include=["0"]
    )
    reasons = plans["0.weight"].dense_because
    assert set(reasons.values()) == {"8 outputs x 64 inputs are less than a block of 16 x 16"}
    with pytest.raises(UnsupportedError, match="takes block patterns such as"):
        sparsify(nn.Linear(8, 8), "block", "2:8")


# --- the envelope


def envelope(w, sizes, budget):
    """S_k of group norms by a numerical optimum over u."""
    found = minimize(
        lambda u: 0.5 * (w**2 / u).sum(),
        np.full(len(w), budget / sizes.sum()),
        bounds=[(1e-9, 1)] * len(w),
        constraints={"type": "ineq", "fun": lambda u: budget - (sizes * u).sum()},
    )
    return found.fun


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [4, 4, 2, 1]])
@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_the_proximal_step_is_the_optimum(sizes, lam):
    """No u and w of a fine numerical search do better in 1/2 |w - y|^2 + lam S_k(w)."""
    sizes = np.array(sizes, float)
    for seed in range(4):
        y = np.abs(np.random.default_rng(seed).normal(size=len(sizes))) + 0.1
        budget = 0.5 * sizes.sum()
        factors = proximal_factors(*map(torch.from_numpy, (y, sizes)), budget, lam).numpy()
        u = proximal_shares(*map(torch.from_numpy, (y, sizes)), budget, lam).numpy()

        def objective(u, y=y):  # the inner minimum over w is y u / (u + lam)
            return 0.5 * (lam * y**2 / (u + lam)).sum()

        best = minimize(
            objective,
            np.full(len(y), 0.5),
            bounds=[(0, 1)] * len(y),
            constraints={"type": "ineq", "fun": lambda u, s=sizes, b=budget: b - (s * u).sum()},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert (sizes * u).sum() <= budget + 1e-6
        assert objective(u) <= best.fun + 1e-6
        np.testing.assert_allclose(factors, u / (u + lam))
        w = y * factors
        value = 0.5 * ((w - y) ** 2).sum() + lam * envelope(np.maximum(w, 1e-9), sizes, budget)
        assert value == pytest.approx(objective(u), rel=1e-3)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.floats(0.05, 1), st.floats(1e-4, 1))
@settings(max_examples=80, deadline=None)
def test_shares_stay_in_the_budget(norms, share, lam):
    norms = torch.tensor(norms, dtype=torch.float64)
    sizes = torch.arange(1, len(norms) + 1, dtype=torch.float64)
    budget = share * float(sizes.sum())
    u = proximal_shares(norms, sizes, budget, lam)
    assert ((u >= 0) & (u <= 1)).all()
    assert float((sizes * u).sum()) <= budget * (1 + 1e-9)
    order = (norms / sizes.sqrt()).argsort()
    assert (u[order].diff() >= -1e-12).all()  # larger groups by |y| / sqrt(d) keep more


def test_the_step_scales_whole_blocks_and_counts_the_edge():
    torch.manual_seed(0)
    weight = torch.randn(10, 6, dtype=torch.float64)  # blocks of 4 x 4: the last ones are 2 x 2
    norms, sizes = block_norms(weight, Block(4, 4, 0.5))
    assert sizes[0, 0].tolist() == [[16, 8], [16, 8], [8, 4]]
    assert norms[0, 0, 2, 1] == pytest.approx(float(weight[8:, 4:].norm()))
    before = weight.clone()
    proximal_step(weight, Block(4, 4, 0.5), 1, 0.5)
    ratios = weight / before
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        for columns in (slice(0, 4), slice(4, 6)):
            block = ratios[rows, columns]
            torch.testing.assert_close(block, torch.full_like(block, float(block[0, 0])))


def test_proximal_training_ends_in_blocks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    strong = replace(METHODS["block-prox"], proximal=3.0)
    sparse = sparsify(model, strong, "block 4x4 @ 0.25")
    recipe = Recipe(epochs=None, steps=60, batch=8, lr=0.1, weight_decay=0.0)
    train(sparse, labelled(40), recipe, 0)
    norms = block_norms(model[1].weight.detach(), Block(4, 4, 0.25))[0].flatten().sort().values
    assert norms[-8:].sum() > 2 * norms[:-8].sum()  # 8 of 32 blocks carry the weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="expected no decay of pruned weights beside it"):
        sparse.attach(optimizer, 1e-3)
