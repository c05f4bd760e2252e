"""Bi-Mask, transposable masks, unbiased gradients, soft thresholds, fixed masks: each against its formula."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algos import METHODS
from algos.loop import Recipe, train
from algos.masks import forward_mask
from algos.soft import best_scale, soft_threshold
from algos.sparsified import plan_layers, sparsify
from algos.transposable import transposable_mask
from algos.unbiased import draw, keep_probabilities, prune_unbiased
from cosparse.spec import NM, Phase, UnsupportedError, select
from tests.unit.test_loop import labelled

PATTERNS = st.tuples(st.integers(1, 4), st.integers(1, 8)).filter(lambda p: p[0] <= p[1])
SHAPES = st.sampled_from([(8, 8), (19, 26), (5, 33), (12, 8, 3, 3), (24, 7, 1, 2)])


def weight_of(shape, seed=0, ties=False):
    random = np.random.default_rng(seed)
    weight = random.normal(size=shape)
    return (np.round(weight) if ties else weight).astype(np.float32)


def layer(method, pattern="2:8", shape=(24, 19), dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(shape[1], shape[0])).to(dtype)
    given_weight = model[0].weight.detach().clone().numpy()
    return model, given_weight, sparsify(model, method, pattern, include=["0"])


def step(model, tokens=12):
    """(x, y, grad of y) in NumPy after one forward and backward pass, and the gradients."""
    x = torch.randn(tokens, model[0].in_features, dtype=torch.float64, requires_grad=True)
    y = model(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    y = y - model[0].bias
    return (t.detach().numpy() for t in (x, y, grad, x.grad, model[0].weight.grad))


# --- legality: a group never keeps more than N


def groups_hold(mask, pattern, axis, conv_groups=1):
    """Whether every group of M along the axis has at most N marks (taps and conv groups apart)."""
    mask = mask.reshape(conv_groups, -1, *mask.shape[1:])
    lanes = np.moveaxis(mask, axis + 1, -1).reshape(-1, mask.shape[axis + 1])
    padded = np.pad(lanes, ((0, 0), (0, -lanes.shape[1] % pattern.m)))
    return (padded.reshape(len(lanes), -1, pattern.m).sum(-1) <= pattern.n).all()


@given(PATTERNS, SHAPES, st.integers(0, 99), st.booleans(), st.sampled_from([1, 2]))
@settings(max_examples=60, deadline=None)
def test_transposable_masks_are_legal_along_both_axes(nm, shape, seed, ties, groups):
    pattern = NM(*nm)
    groups = groups if shape[0] % groups == 0 else 1
    weight = weight_of(shape, seed, ties)
    mask = transposable_mask(torch.from_numpy(weight), pattern, conv_groups=groups).numpy()
    assert groups_hold(mask, pattern, 0, groups) and groups_hold(mask, pattern, 1)


@given(
    PATTERNS, st.integers(0, 99), st.sampled_from(["bi-mask", "s-ste", "fixed", "random", "bdwp"])
)
@settings(max_examples=60, deadline=None)
def test_masks_of_methods_are_legal(nm, seed, method):
    pattern = NM(*nm)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(16, 20, 3, groups=2), nn.Conv2d(20, 12, (1, 2)))
    sparse = sparsify(model, method, pattern, include=["*"])
    for name, plan in sparse.sparse_layers.items():
        weight = model.get_parameter(name).detach()
        if plan.ff is not None:
            assert groups_hold(forward_mask(plan, weight).numpy(), pattern, 1)
        for phase, axis in ((Phase.FF, 1), (Phase.BP, 0)):
            if plan.weight_pattern(phase) == pattern:
                packed = sparse.pack(name, phase).unpack()
                groups = plan.conv_groups if axis == 0 else 1
                assert groups_hold(packed != 0, pattern, axis, groups)


# --- Bi-Mask


def test_bi_mask_intersects():
    model, weight, _ = layer("bi-mask")
    x, y, grad, dx, dw = step(model)
    ff = select(weight, NM(2, 8), axis=1)
    bp = ff & select(np.where(ff, weight, 0), NM(2, 8), axis=0)
    np.testing.assert_allclose(y, x @ (weight * ff).T, atol=1e-10)
    np.testing.assert_allclose(dx, grad @ (weight * bp), atol=1e-10)
    np.testing.assert_allclose(dw, grad.T @ x, atol=1e-10)
    assert METHODS["bi-mask"].decay == 2e-4


# --- transposable masks


def best_transposable(block, n):
    """Largest kept magnitude of a square block, over all choices of n columns a row, by exhaustion."""
    m = len(block)
    choices = list(itertools.combinations(range(m), n))
    best = 0.0
    for rows in itertools.product(choices, repeat=m):
        if np.bincount(np.concatenate(rows), minlength=m).max() <= n:
            best = max(best, sum(block[i, list(row)].sum() for i, row in enumerate(rows)))
    return best


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (1, 3)])
def test_transposable_masks_keep_at_least_half_of_the_best(n, m):
    worst = 1.0
    for seed in range(12):
        block = np.abs(weight_of((m, m), seed))
        mask = transposable_mask(torch.from_numpy(block), NM(n, m), dtype="float32").numpy()
        worst = min(worst, (block * mask).sum() / best_transposable(block, n))
    assert 0.5 <= worst <= 1.0
    assert worst > 0.8  # random blocks are kinder than the bound


def test_transposable_products_and_one_support():
    model, weight, sparse = layer("transposable")
    x, y, grad, dx, dw = step(model)
    mask = transposable_mask(torch.from_numpy(weight), NM(2, 8)).numpy()
    np.testing.assert_allclose(y, x @ (weight * mask).T, atol=1e-10)
    np.testing.assert_allclose(dx, grad @ (weight * mask), atol=1e-10)
    np.testing.assert_allclose(dw, grad.T @ x, atol=1e-10)
    half = np.float16(weight * mask)
    for phase in (Phase.FF, Phase.BP):
        np.testing.assert_array_equal(sparse.pack("0.weight", phase).unpack(), half)


def test_one_mask_for_both_phases_or_none():
    plan = plan_layers(nn.Sequential(nn.Linear(16, 4)), "transposable", "2:8", include=["0"])
    assert not plan["0.weight"].is_sparse
    assert set(plan["0.weight"].dense_because.values()) == {"grouped axis has 4 < M = 8 entries"}


# --- unbiased gradients


def exact_mean(values, pattern):
    """E[prune_unbiased] of one group, integrated over u between the points where marks change."""
    p = keep_probabilities(values.abs(), pattern.n)
    edges = torch.cat([p.cumsum(0) % 1, torch.tensor([0.0, 1.0])]).sort().values
    total = torch.zeros_like(values)
    for low, high in itertools.pairwise(edges.tolist()):
        if high - low > 1e-9:
            u = torch.tensor([[(low + high) / 2]], dtype=values.dtype)
            total += (high - low) * prune_unbiased(values[:, None], pattern, u)[:, 0]
    return total


GROUPS = st.lists(st.floats(-10, 10).map(lambda v: round(v, 3)), min_size=2, max_size=8)


@given(GROUPS, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_pruned_gradients_are_right_on_average(entries, n):
    values = torch.tensor(entries, dtype=torch.float64)
    pattern = NM(min(n, len(entries)), len(entries))
    torch.testing.assert_close(exact_mean(values, pattern), values, atol=1e-7, rtol=1e-7)


@given(GROUPS, st.integers(1, 4), st.floats(0, 1, exclude_max=True))
@settings(max_examples=150, deadline=None)
def test_pruned_gradients_are_legal(entries, n, u):
    values = torch.tensor(entries, dtype=torch.float64)[:, None]
    n = min(n, len(entries))
    kept = (
        prune_unbiased(values, NM(n, len(entries)), torch.tensor([[u]], dtype=torch.float64)) != 0
    )
    assert kept.sum() <= n
    p = keep_probabilities(values.abs(), n)
    assert draw(p, torch.tensor([u], dtype=torch.float64), n).sum() <= n


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (2, 8)])
def test_the_variance_is_the_least(n, m):
    """Against a numerical optimum of sum a^2 / p over 0 < p <= 1, sum p = N."""
    from scipy.optimize import minimize

    for seed in range(5):
        a = np.abs(np.random.default_rng(seed).normal(size=m)) + 0.05
        p = keep_probabilities(torch.from_numpy(a), n).numpy()
        found = minimize(
            lambda q, a=a: (a**2 / q).sum(),
            np.full(m, n / m),
            bounds=[(1e-6, 1)] * m,
            constraints={"type": "eq", "fun": lambda q: q.sum() - n},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        assert p.sum() == pytest.approx(n)
        assert (a**2 / p).sum() <= found.fun * (1 + 1e-6)
    a, b = 3.0, -1.0  # 1:2 in closed form: |a| / (|a| + |b|), value sign * (|a| + |b|)
    kept = prune_unbiased(torch.tensor([[a], [b]]), NM(1, 2), torch.tensor([[0.7]]))
    assert kept.flatten().tolist() == [4.0, 0.0]


@pytest.mark.parametrize("method", ["mvue", "s-ste"])
def test_unbiased_update_products(method):
    model, weight, _ = layer(method)
    scale = float(model[0].soft_scale) if method == "s-ste" else 1.0
    used = weight
    if method == "s-ste":
        used = scale * soft_threshold(torch.from_numpy(weight), NM(2, 8)).numpy()
    torch.manual_seed(5)
    x, y, grad, dx, dw = step(model)
    np.testing.assert_allclose(y, x @ used.T, atol=1e-10)
    np.testing.assert_allclose(dx, grad @ used, atol=1e-10)  # BP and the bias read dY as it is
    np.testing.assert_allclose(model[0].bias.grad.numpy(), grad.sum(0), atol=1e-10)
    torch.manual_seed(5)
    torch.randn(12, 19, dtype=torch.float64), torch.randn(12, 24, dtype=torch.float64)
    pruned = prune_unbiased(torch.from_numpy(grad), NM(2, 8)).numpy()
    np.testing.assert_allclose(dw, pruned.T @ x, atol=1e-10)
    assert groups_hold((pruned != 0).T, NM(2, 8), 1)


def test_the_tokens_of_a_convolution_are_its_pixels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False)).double()
    sparsify(model, "mvue", "2:8", include=["0"])
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    y = model(x)
    grad = torch.randn_like(y)
    torch.manual_seed(5)
    y.backward(grad)
    torch.manual_seed(5)
    rows = prune_unbiased(grad.permute(0, 2, 3, 1).reshape(-1, 8), NM(2, 8))
    pruned = rows.view(2, 5, 4, 8).permute(0, 3, 1, 2)
    expected = torch.nn.grad.conv2d_weight(x, (8, 8, 3, 3), pruned, padding=1)
    torch.testing.assert_close(model[0].weight.grad, expected)


# --- S-STE


@given(PATTERNS, st.integers(0, 50), st.booleans())
@settings(max_examples=60, deadline=None)
def test_soft_thresholds_follow_their_formula(nm, seed, ties):
    pattern = NM(*nm)
    weight = weight_of((3, 2 * pattern.m + 1), seed, ties).astype(np.float64)
    found = soft_threshold(torch.from_numpy(weight), pattern).numpy()
    padded = np.pad(weight, ((0, 0), (0, pattern.m - 1))).reshape(3, 3, pattern.m)
    threshold = np.zeros((3, 3, 1))
    if pattern.n < pattern.m:
        threshold = -np.sort(-np.abs(padded), axis=-1)[..., pattern.n, None]
    expected = np.sign(padded) * np.maximum(np.abs(padded) - threshold, 0)
    np.testing.assert_allclose(found, expected.reshape(3, -1)[:, : weight.shape[1]], atol=1e-12)
    assert groups_hold(found != 0, pattern, 1)


def test_the_soft_threshold_is_continuous_where_masks_flip():
    """Two entries change places: the hard mask jumps, the soft weight does not."""
    for eps in (1e-3, 1e-6):
        a = soft_threshold(torch.tensor([[1.0, 1.0 + eps, 2.0, 0.1]]), NM(2, 4))
        b = soft_threshold(torch.tensor([[1.0 + eps, 1.0, 2.0, 0.1]]), NM(2, 4))
        assert (a - b).abs().max() <= 2 * eps


def test_the_scale_is_the_best_and_stays():
    weight = torch.from_numpy(weight_of((16, 32)))
    beta, shrunk = best_scale(weight, NM(2, 4)), soft_threshold(weight, NM(2, 4))

    def error(scale):
        return (weight - scale * shrunk).square().sum()

    assert error(beta) <= min(error(beta * 1.001), error(beta * 0.999))
    assert best_scale(torch.zeros(2, 8), NM(2, 4)) == 1
    model, _, _ = layer("s-ste")
    before = model.state_dict()["0.soft_scale"].clone()
    model[0].weight.data *= 7
    model(torch.zeros(1, 19, dtype=torch.float64))
    assert torch.equal(model.state_dict()["0.soft_scale"], before)


def test_s_ste_refuses_attention_with_the_reason():
    sparse = plan_layers(nn.Sequential(nn.MultiheadAttention(16, 2), nn.Linear(16, 16)), "s-ste")
    reason = sparse["0.in_proj_weight"].dense_because[Phase.FF]
    assert reason == "s-ste keeps a scale beside each weight; use Linear projections"
    with pytest.raises(UnsupportedError, match="keeps a scale beside each weight"):
        plan_layers(nn.Sequential(nn.MultiheadAttention(16, 2)), "s-ste", include=["0"])


# --- fixed masks


@pytest.mark.parametrize("method", ["fixed", "random"])
def test_fixed_masks_stay_while_training(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
    original = model[1].weight.detach().clone()
    sparse = sparsify(model, method, "2:8")
    support = (model[1].weight != 0).clone()
    assert groups_hold(support.numpy(), NM(2, 8), 1) and support.float().mean() == 0.25
    assert torch.equal(model[1].weight, torch.where(support, original, 0))
    largest = torch.from_numpy(select(original.numpy(), NM(2, 8), axis=1))
    assert torch.equal(support, largest) == (method == "fixed")
    recipe = Recipe(epochs=None, steps=30, batch=8, lr=0.1, weight_decay=1e-2)
    train(sparse, labelled(40), recipe, 0)
    assert torch.equal(model[1].weight != 0, support)
    assert not torch.equal(model[1].weight, torch.where(support, original, 0))


def test_the_gradient_of_a_fixed_mask_is_exact():
    model, _, _ = layer("fixed")

    def product(x, w):
        return torch.func.functional_call(model, {"0.weight": w}, (x,))

    x = torch.randn(3, 19, dtype=torch.float64, requires_grad=True)
    w = model[0].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(product, (x, w))


def test_random_masks_depend_on_the_seed_alone():
    supports = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(16, 16))
        sparsify(model, "random", "2:8", include=["0"])
        supports.append(model[0].weight != 0)
    assert torch.equal(supports[0], supports[1]) and not torch.equal(supports[0], supports[2])


# --- all of them


NM_METHODS = sorted(
    name for name, row in METHODS.items() if NM in row.patterns and not row.structure
)


@pytest.mark.parametrize("method", NM_METHODS)
def test_training_is_deterministic_for_a_seed(method):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
        train(sparsify(model, method, "2:8"), labelled(40), Recipe(None, 12, 8), 0)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize("method", ["s-ste", "fixed"])
def test_compiled_equals_eager(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
    sparsify(model, method, "2:8", include=["*"])
    if method == "s-ste":
        model[1].plan = model[1].plan.__class__(**{**vars(model[1].plan), "update": None})
    x = torch.randn(2, 16, 4, requires_grad=True)
    model(x).square().sum().backward()
    eager = [*(p.grad.clone() for p in model.parameters()), x.grad.clone()]
    model.zero_grad(), setattr(x, "grad", None)
    torch._dynamo.reset()
    torch.compile(model, backend="aot_eager", fullgraph=True)(x).square().sum().backward()
    for a, b in zip(eager, [*(p.grad for p in model.parameters()), x.grad], strict=True):
        torch.testing.assert_close(a, b)
