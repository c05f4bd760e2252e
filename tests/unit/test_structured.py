"""StructuredFFN's layers: their maps written out by index, their fits, self-guidance and merging."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from algos.factorized import spectral
from algos.factorized.chain import materialise
from algos.factorized.guided import guide_share
from algos.factorized.structures import BlockDense, BlockShuffle, LowRank, why_dense
from cosparse.spec import NM, UnsupportedError

from .factorized_layers import replaced

LAYERS = {
    "wide": lambda: nn.Linear(24, 48),
    "narrow": lambda: nn.Linear(48, 24, bias=False),
    "conv": lambda: nn.Conv2d(16, 32, 3, stride=2, padding=1),
    "same": lambda: nn.Conv2d(32, 16, (1, 3), padding="same", padding_mode="circular", bias=False),
}
INPUTS = {"wide": (3, 5, 24), "narrow": (3, 48), "conv": (2, 16, 7, 6), "same": (2, 32, 3, 4)}
STRUCTURES = {
    "low-rank": LowRank(),
    "block-dense": BlockDense(ratio=0.5),
    "block-shuffle": BlockShuffle(blocks=4),
    "block-dense, spectral": BlockDense(ratio=0.5, initialisation="spectral"),
    "block-shuffle, spectral": BlockShuffle(blocks=4, initialisation="spectral"),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_chain_multiplies_by_its_materialised_weight(kind, structure):
    stock = LAYERS[kind]()
    chain, plans = replaced(copy.deepcopy(stock), STRUCTURES[structure])
    reference = copy.deepcopy(stock)
    reference.weight.data = materialise(chain).detach().reshape(stock.weight.shape)
    x, own = (torch.randn(INPUTS[kind]).requires_grad_() for _ in range(2))
    own.data = x.detach().clone()
    y = chain(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected = reference(own)
    expected.backward(grad)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x.grad, own.grad, atol=1e-5, rtol=1e-4)
    entries = sum(p.numel() for n, p in chain.named_parameters() if "bias" not in n)
    assert entries == STRUCTURES[structure].entries(tuple(stock.weight.shape), NM(2, 8))
    assert set(plans) == {"fc.first.weight", "fc.second.weight"}
    assert not any(plan.is_sparse for plan in plans.values())


def by_index(v, u, x, bias):
    """Block-shuffle written out: v (b, q, in / b), u (b, out / b, q), x (in,)."""
    blocks, width, inputs = v.shape
    h = [
        float(v[block, a] @ x[block * inputs : (block + 1) * inputs])
        for block in range(blocks)
        for a in range(width)
    ]
    y = torch.zeros(blocks * u.shape[1], dtype=x.dtype)
    for j in range(blocks):
        block = torch.tensor([h[i * blocks + j] for i in range(width)], dtype=x.dtype)
        for s in range(u.shape[1]):
            y[s * blocks + j] = u[j, s] @ block
    return y + bias


@pytest.mark.parametrize("kind", ["wide", "narrow"])
@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_block_shuffle_is_its_formula(kind, blocks):
    chain, _ = replaced(LAYERS[kind]().double(), BlockShuffle(blocks=blocks))
    x = torch.randn(INPUTS[kind][-1], dtype=torch.float64)
    bias = chain.offset.bias.detach() if kind == "wide" else 0.0
    expected = by_index(chain.first.weight.detach(), chain.second.weight.detach(), x, bias)
    torch.testing.assert_close(chain(x).detach(), expected)


@pytest.mark.parametrize("kind", ["wide", "conv"])
@pytest.mark.parametrize("structure", [n for n in STRUCTURES if "spectral" not in n])
def test_gradients_are_exact(kind, structure):
    chain, _ = replaced(LAYERS[kind]().double(), STRUCTURES[structure])
    x = torch.randn(INPUTS[kind], dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in chain.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in chain.parameters()]

    def product(x, *values):
        return torch.func.functional_call(chain, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(product, (x, *values), fast_mode=True)


def test_low_rank_starts_as_the_best_fit():
    stock = nn.Linear(24, 48).double()
    chain, _ = replaced(copy.deepcopy(stock), LowRank(ratio=0.5))
    values = torch.linalg.svdvals(stock.weight.detach())
    error = (materialise(chain).squeeze(2) - stock.weight).square().sum()
    torch.testing.assert_close(error.detach(), values[12:].square().sum())
    v, u = chain.first.weight, chain.second.weight
    torch.testing.assert_close(v @ v.T, u.T @ u)  # both carry the root of the values
    torch.testing.assert_close((v @ v.T).diagonal(), values[:12])


def test_block_dense_starts_as_the_best_fit_of_each_block_of_inputs():
    weight = torch.randn(20, 24, dtype=torch.float64)
    v, u = spectral.block_dense(weight, 12, 3)
    product = u @ torch.block_diag(*v)
    for fitted, part in zip(product.chunk(3, 1), weight.chunk(3, 1), strict=True):
        tail = torch.linalg.svdvals(part)[4:].square().sum()
        torch.testing.assert_close((fitted - part).square().sum(), tail)


@pytest.mark.parametrize("shape", [(24, 48), (48, 24), (36, 36)])
@pytest.mark.parametrize("blocks", [3, 4])
def test_block_shuffle_fits_a_weight_of_its_own_structure_exactly(shape, blocks):
    """A fit whose parts were assigned to wrong channels could not be exact."""
    chain, _ = replaced(nn.Linear(shape[1], shape[0], dtype=torch.float64), BlockShuffle(blocks))
    weight = materialise(chain).detach().squeeze(2)
    again, _ = replaced(nn.Linear(shape[1], shape[0], dtype=torch.float64), BlockShuffle(blocks))
    v, u = spectral.block_shuffle(weight, min(shape), blocks)
    again.first.weight.data, again.second.weight.data = v, u
    torch.testing.assert_close(materialise(again).detach().squeeze(2), weight)


@pytest.mark.parametrize("structure", ["low-rank", "block-dense", "block-shuffle"])
def test_orthonormal_factors(structure):
    orthonormal = replace(STRUCTURES[structure], initialisation="orthonormal")
    chain, _ = replaced(nn.Linear(24, 48, dtype=torch.float64), orthonormal)
    for factor in (chain.first.weight, chain.second.weight):
        blocks = factor.detach() if factor.dim() == 3 else factor.detach()[None]
        values = torch.linalg.svdvals(blocks)
        torch.testing.assert_close(values, torch.ones_like(values))


@pytest.mark.parametrize(
    ("structure", "shape", "reason"),
    [
        (BlockShuffle(8), (48, 48), "inner blocks of 6 < 8 channels leave structural zeros"),
        (BlockShuffle(5), (40, 42), "42 channels do not divide into 5 blocks"),
        (BlockDense(blocks=5), (40, 42), "42 channels do not divide into 5 blocks"),
        (LowRank(ratio=0.6), (32, 32), "factors would have 1216 entries, the weight has 1024"),
    ],
)
def test_what_does_not_fit_stays_dense_with_the_reason(structure, shape, reason):
    assert reason in why_dense(structure, shape, 1, NM(2, 8))
    assert "grouped convolution" in why_dense(structure, (64, 16, 3, 3), 4, NM(2, 8))


# --- self-guidance


def test_the_share_of_the_guide_is_half_a_cosine():
    shares = [guide_share(step, 100) for step in range(100)]
    for step in range(50):
        assert shares[step] == pytest.approx(0.5 * (1 + math.cos(math.pi * step / 50)))
    assert shares[0] == 1.0 and shares[25] == pytest.approx(0.5) and set(shares[50:]) == {0.0}
    # On average the guide costs a quarter of its products.
    assert sum(shares) / 100 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_guided_output_and_gradients(kind, share):
    """o = a (G x + bias) + (1 - a) (U V x + bias), by autograd of stock layers."""
    stock = LAYERS[kind]()
    layer, _ = replaced(copy.deepcopy(stock), BlockShuffle(blocks=4, guided=True))
    product = materialise(layer.factors).detach().reshape(stock.weight.shape)
    torch.testing.assert_close(layer.guide.weight.detach(), product)
    layer.guide.weight.data += torch.randn_like(product)
    layer.set_share(share)
    guide, factors = copy.deepcopy(stock), copy.deepcopy(stock)
    guide.weight.data, factors.weight.data = layer.guide.weight.detach().clone(), product
    x, own = (torch.randn(INPUTS[kind]).requires_grad_() for _ in range(2))
    own.data = x.detach().clone()
    y = layer(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    expected = share * guide(own) + (1 - share) * factors(own)
    expected.backward(grad)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x.grad, own.grad, atol=1e-5, rtol=1e-4)
    if share == 0.0:
        assert layer.guide.weight.grad is None
    else:
        torch.testing.assert_close(layer.guide.weight.grad, guide.weight.grad, atol=1e-5, rtol=1e-4)
    if stock.bias is not None:
        sums = guide.bias.grad + factors.bias.grad
        torch.testing.assert_close(layer.guide.bias.grad, sums, atol=1e-5, rtol=1e-4)


def test_the_guide_is_left_out_with_the_probability_of_its_absence():
    layer, _ = replaced(nn.Linear(24, 48), LowRank(guided=True, saves_work=True))
    layer.guide.weight.data += 1.0
    layer.set_share(0.3)
    x = torch.ones(1, 24)
    torch.manual_seed(0)
    alone = layer.factors(x)
    outputs = [layer(x) for _ in range(400)]
    left_out = sum(torch.equal(y, alone) for y in outputs)
    assert abs(left_out - 280) < 4 * math.sqrt(400 * 0.3 * 0.7)
    assert not torch.equal(layer.eval()(x), alone)


# --- merging


def test_a_merged_weight_serves_few_tokens_without_gradients_and_goes_with_training():
    for structure in STRUCTURES.values():
        chain, _ = replaced(nn.Linear(24, 48), structure)
        few, many = torch.randn(2, 2, 24), torch.randn(2, 3, 24)
        expected = [chain(few), chain(many)]
        chain.eval().merge(4)
        chain.merged += 1.0  # tells which product was used
        with torch.no_grad():
            extra = few.sum(-1, keepdim=True)
            torch.testing.assert_close(chain(few), expected[0] + extra, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(chain(many), expected[1])
        torch.testing.assert_close(chain(few), expected[0])
        assert chain.train().merged is None


def test_a_convolution_is_not_merged():
    chain, _ = replaced(LAYERS["conv"](), LowRank())
    with pytest.raises(UnsupportedError, match="expected factors of a Linear"):
        chain.merge(4)
