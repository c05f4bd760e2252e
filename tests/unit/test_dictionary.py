"""DSFormer's factorisation W ~ S D against NumPy, and its layers against the formulas of their gradients."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algos import nm_mask
from algos.factorized import pursuit, storage
from algos.factorized.structures import Dictionary
from algos.factorized.views import as_rows, from_rows
from cosparse.spec import NM, PatternError, select

from .factorized_layers import replaced


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def matching_pursuit(row, dictionary, pattern):
    """One row by the textbook: (coefficients, picked atoms)."""
    norms = np.linalg.norm(dictionary, axis=1)
    picked = []
    for _ in range(len(dictionary) // pattern.m * pattern.n):
        fitted = np.linalg.lstsq(dictionary[picked].T, row, rcond=None)[0] if picked else []
        residual = row - (dictionary[picked].T @ fitted if picked else 0)
        match = np.abs(dictionary @ residual) / norms
        for atom in range(len(dictionary)):
            group = [p for p in picked if p // pattern.m == atom // pattern.m]
            if atom in picked or len(group) == pattern.n:
                match[atom] = -1
        picked.append(int(np.argmax(match)))
    coefficients = np.zeros(len(dictionary))
    coefficients[picked] = np.linalg.lstsq(dictionary[picked].T, row, rcond=None)[0]
    return coefficients, sorted(picked)


@pytest.mark.parametrize("pattern", [NM(3, 16), NM(1, 4), NM(2, 8)], ids=str)
def test_pursuit_equals_the_textbook(pattern):
    random = np.random.default_rng(0)
    weight, dictionary = random.normal(size=(9, 20)), random.normal(size=(16, 20))
    coefficients, support = pursuit.pursue(
        torch.from_numpy(weight), torch.from_numpy(dictionary), pattern
    )
    for row, found, kept in zip(weight, coefficients.numpy(), support.numpy(), strict=True):
        expected, picked = matching_pursuit(row, dictionary, pattern)
        assert kept.nonzero()[0].tolist() == picked
        np.testing.assert_allclose(found, expected, atol=1e-7)


@given(
    st.integers(0, 99),
    st.sampled_from([(1, 2), (2, 4), (1, 8), (3, 8), (5, 24)]),
    st.integers(1, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_group_of_a_row_has_exactly_n_positions(seed, pattern, groups, degenerate):
    pattern = NM(*pattern)
    atoms = pattern.m * groups
    random = torch.randn(80, 7, generator=seeded(seed), dtype=torch.float64)
    weight = random[:3].repeat(30, 1)[:80] if degenerate else random
    found = pursuit.factorize(weight, atoms, pattern, alternations=2, generator=seeded(seed))
    assert (found.support.unflatten(1, (groups, pattern.m)).sum(2) == pattern.n).all()
    assert (found.coefficients[~found.support] == 0).all()
    assert found.product.isfinite().all()


def test_the_dictionary_is_the_least_squares_fit_and_the_best_pair_is_kept():
    weight = torch.randn(60, 24, generator=seeded(0), dtype=torch.float64)
    found = pursuit.factorize(weight, 16, NM(2, 8), generator=seeded(1))
    normal = found.coefficients.T @ (weight - found.product)
    assert normal.abs().max() < 1e-6 * weight.norm()
    first = pursuit.factorize(weight, 16, NM(2, 8), alternations=1, generator=seeded(1))
    assert pursuit.relative_error(weight, found.product) < pursuit.relative_error(
        weight, first.product
    )


def test_an_atom_that_no_row_uses_becomes_a_row_that_is_fitted_worst():
    """Half of the rows are zero; such an atom is never picked with a coefficient."""
    weight = torch.zeros(20, 8, dtype=torch.float64)
    weight[:3] = torch.randn(3, 8, generator=seeded(0), dtype=torch.float64)
    coefficients = torch.zeros(20, 4, dtype=torch.float64)
    coefficients[0, 0] = 1.0
    dictionary = torch.eye(4, 8, dtype=torch.float64)
    residual = weight - coefficients @ dictionary
    revived = pursuit._revive(weight, residual, coefficients, dictionary)
    worst = residual.norm(dim=1).argsort(descending=True, stable=True)[:3]
    assert torch.equal(revived[1:], weight[worst])
    assert torch.equal(coefficients @ revived, coefficients @ dictionary)


def union_of_subspaces(seed):
    """256 x 48: every row is a mix of 3 of 32 directions."""
    random = np.random.default_rng(seed)
    directions, weight = random.normal(size=(32, 48)), np.zeros((256, 48))
    for row in weight:
        row += random.normal(size=3) @ directions[random.choice(32, 3, replace=False)]
    return torch.from_numpy(weight)


def test_a_union_of_subspaces_is_fitted_where_svd_of_equal_storage_is_not():
    weight = union_of_subspaces(0)
    found = pursuit.factorize(weight, 32, NM(3, 32), generator=seeded(0), alternations=20)
    bits = storage.dictionary_bits(256, 48, 32, NM(3, 32))
    assert bits == 16 * 32 * 48 + 256 * 3 * (16 + 5)
    rank = storage.rank_of_bits(256, 48, bits)
    assert storage.low_rank_bits(256, 48, rank) <= bits < storage.low_rank_bits(256, 48, rank + 1)
    values = torch.linalg.svdvals(weight)
    svd = float((values[rank:].square().sum() / values.square().sum()).sqrt())
    assert pursuit.relative_error(weight, found.product) < 0.5 * svd


def test_the_same_seed_gives_the_same_factors():
    weight = torch.randn(40, 16, generator=seeded(0))
    one, two, other = (
        pursuit.factorize(weight, 8, NM(2, 8), generator=seeded(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(one.coefficients, two.coefficients)
    assert torch.equal(one.dictionary, two.dictionary)
    assert not torch.equal(one.dictionary, other.dictionary)


def test_runners_up_have_what_they_would_get_alone_and_stay_below_the_kept():
    weight = torch.randn(30, 20, generator=seeded(0))
    pattern = NM(2, 8)
    found = pursuit.factorize(weight, 16, pattern, alternations=2, generator=seeded(1))
    dense = pursuit.with_runners_up(weight, found, pattern)
    assert torch.equal(nm_mask(dense, pattern, axis=1), found.support)
    assert torch.equal(dense[found.support], found.coefficients[found.support])
    residual = (weight - found.product).double().numpy()
    for row, atom in (~found.support).nonzero().tolist():
        direction = found.dictionary[atom].double().numpy()
        alone = residual[row] @ direction / (direction @ direction)
        group = slice(atom // 8 * 8, atom // 8 * 8 + 8)
        kept = found.coefficients[row, group].abs()[found.support[row, group]].min()
        limit = 0.9 * float(kept)
        expected = max(-limit, min(limit, alone))
        assert float(dense[row, atom]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("atoms", "message"), [(41, "1 to 40 atoms"), (12, "multiple of M = 8")])
def test_atoms_that_do_not_fit_are_refused(atoms, message):
    with pytest.raises(PatternError, match=message):
        pursuit.factorize(torch.ones(40, 16), atoms, NM(2, 8))


def test_the_rows_of_a_convolution_are_its_taps():
    weight = torch.randn(6, 5, 3, 2)
    rows = as_rows(weight)
    assert torch.equal(rows[(4 * 3 + 2) * 2 + 1], weight[4, :, 2, 1])
    assert torch.equal(from_rows(rows, (6, 5, 3, 2)), weight)


# --- the layers


def numpy_of(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


@pytest.mark.parametrize("exact", [False, True])
def test_factor_space_training_follows_its_formula(exact):
    """FF by S_FF, BP by S_BP (or by S_FF); dS reaches every coefficient, dD is exact for that dZ."""
    layer, plans = replaced(nn.Linear(24, 40), Dictionary(ratio=0.7), exact=exact)
    x = torch.randn(3, 4, 24, requires_grad=True)
    y = layer(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    s, d, wide, g, bias = numpy_of(
        layer.second.weight, layer.first.weight, x.flatten(0, 1), grad.flatten(0, 1), layer[-1].bias
    )
    kept = {axis: select(s.astype(np.float32), NM(2, 8), axis=axis) for axis in (0, 1)}
    s_ff, s_bp = np.where(kept[1], s, 0), np.where(kept[1 if exact else 0], s, 0)
    z = wide @ d.T
    for found, expected in (
        (y.flatten(0, 1), z @ s_ff.T + bias),
        (layer.second.weight.grad, g.T @ z),
        (layer.first.weight.grad, (g @ s_bp).T @ wide),
        (x.grad.flatten(0, 1), g @ s_bp @ d),
        (layer.second.bias.grad, g.sum(0)),
    ):
        np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-5)
    assert plans["fc.second.weight"].ff == NM(2, 8)
    assert plans["fc.second.weight"].bp == (None if exact else NM(2, 8))


CONVOLUTION = {"kernel_size": 3, "stride": 2, "padding": 1}
LAYERS = {
    "linear": lambda: nn.Linear(32, 40),
    "conv": lambda: nn.Conv2d(32, 40, **CONVOLUTION),
    "circular": lambda: nn.Conv2d(32, 40, 3, padding=1, padding_mode="circular", bias=False),
}
INPUTS = {"linear": (2, 3, 32), "conv": (2, 32, 5, 6), "circular": (2, 32, 5, 6)}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("training", ["factors", "fixed", "weight"])
@pytest.mark.parametrize("nonzeros", [None, 3])
def test_the_layer_multiplies_by_the_fit_of_its_weight(kind, training, nonzeros):
    stock = LAYERS[kind]()
    structure = Dictionary(training=training, nonzeros=nonzeros, alternations=3)
    torch.manual_seed(5)
    layer, plans = replaced(copy.deepcopy(stock), structure)
    pattern = NM(2, 8) if nonzeros is None else NM(3, 16)
    torch.manual_seed(5)
    fit = pursuit.factorize(as_rows(stock.weight), 16, pattern, alternations=3)
    reference = copy.deepcopy(stock)
    reference.weight.data = from_rows(fit.product, tuple(stock.weight.shape))
    x = torch.randn(INPUTS[kind])
    torch.testing.assert_close(layer.eval()(x), reference(x), atol=1e-5, rtol=1e-4)
    sparse = [plan for plan in plans.values() if plan.is_sparse]
    assert [plan.ff for plan in sparse] == ([] if training == "weight" else [pattern])


@pytest.mark.parametrize("kind", LAYERS)
def test_conventional_training_has_exact_gradients(kind):
    layer, _ = replaced(LAYERS[kind]().double(), Dictionary(training="fixed", alternations=1))
    x = torch.randn(INPUTS[kind], dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def product(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x).sum(0)

    assert torch.autograd.gradcheck(product, (x.requires_grad_(), *values), fast_mode=True)


def test_conventional_training_keeps_its_support():
    layer, _ = replaced(nn.Linear(32, 40), Dictionary(training="fixed"))
    before = layer.second.dense_weight().detach() != 0
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(4, 32)).square().mean().backward()
        optimizer.step()
    assert torch.equal(layer.second.dense_weight().detach() != 0, before)
    assert layer.second.values.numel() == 40 * 16 // 8 * 2


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_weight_space_training_passes_the_gradient_of_the_product(kind):
    stock = LAYERS[kind]()
    layer, _ = replaced(copy.deepcopy(stock), Dictionary(training="weight", every=2))
    x = torch.randn(INPUTS[kind], requires_grad=True)
    y = layer(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    rows = layer.coefficients @ layer.dictionary
    reference = copy.deepcopy(stock)
    reference.weight.data = from_rows(rows, tuple(stock.weight.shape))
    own = x.detach().clone().requires_grad_()
    reference(own).backward(grad)
    torch.testing.assert_close(y, reference(own))
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad)
    torch.testing.assert_close(x.grad, own.grad)


def test_weight_space_training_refactorises_every_second_forward_from_the_dictionary_before():
    layer, _ = replaced(nn.Linear(32, 40), Dictionary(training="weight", every=2))
    x = torch.randn(4, 32)
    layer(x)
    for moved in (False, True):
        with torch.no_grad():
            layer.weight += 0.1 * torch.randn_like(layer.weight)
        before = layer.dictionary.clone()
        layer(x)
        expected = pursuit.refresh(layer.weight, before, NM(2, 8))
        assert torch.equal(layer.dictionary, expected.dictionary if moved else before)
    kept = layer.dictionary.clone()
    layer.eval()(x)
    assert torch.equal(layer.dictionary, kept) and int(layer.forwards) == 3
