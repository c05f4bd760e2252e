"""Layers of real size on a real GPU; what only hardware shows: races, alignment, cp.async, wgmma."""

import pytest
import torch

from algos.selection import nm_mask
from cosparse.spec import NM
from kernels.gpu import layouts
from kernels.gpu.configs import config_for
from kernels.gpu.expand import expand_nm
from kernels.gpu.products import multiply, multiply_transposed, weight_gradient
from kernels.gpu.prune_nm import prune_nm
from kernels.gpu.samples import SAMPLES

from .products import activations, assert_matches_dense, assert_product
from .test_decoded import assert_gradient

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SHAPE = (1408, 4096)
ODD = (1000, 1112)


def checked(name, shape, tokens):
    torch.manual_seed(0)
    weight = SAMPLES[name](shape, "cuda", torch.bfloat16)
    dense = layouts.to_dense(weight)
    for count in tokens:
        x = activations((count, shape[1]), torch.bfloat16, "cuda", count)
        first = multiply(weight, x)
        assert_matches_dense(first, dense, x)
        for _ in range(3):  # sums have a fixed order, so a moving bit is a race
            assert torch.equal(multiply(weight, x), first)


@pytest.mark.parametrize("name", ["1:8", "2:8", "2:4", "2:16", "unstructured 80%", "bitmap 80%"])
def test_gathers_of_a_large_layer(name):
    checked(name, SHAPE, (1, 2, 3, 8, 13, 33))
    checked(name, ODD, (1, 5))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith(("vector", "block"))])
def test_tiles_of_a_large_layer(name):
    checked(name, SHAPE, (1, 16, 33, 64, 128, 500))
    checked(name, ODD, (1, 40, 200))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("block")])
def test_gradients_of_a_large_layer(name):
    torch.manual_seed(0)
    weight = SAMPLES[name](SHAPE, "cuda", torch.bfloat16)
    dense = layouts.to_dense(weight)
    for tokens in (64, 500, 1024):
        x = activations((tokens, SHAPE[1]), torch.bfloat16, "cuda", 1)
        dy = activations((tokens, SHAPE[0]), torch.bfloat16, "cuda", 2)
        assert_matches_dense(multiply_transposed(weight, dy), dense.t(), dy)
        side = weight.side
        grid = (SHAPE[0] // side, side, SHAPE[1] // side, side)
        exact, magnitudes = (
            (a.double().t() @ b.double()).reshape(grid).transpose(1, 2)
            for a, b in ((dy, x), (dy.abs(), x.abs()))
        )
        place = (weight.owners.long(), weight.block_columns.long())
        got = weight_gradient(weight, dy, x)
        assert_product(got, exact[place], magnitudes[place], tokens)


@pytest.mark.parametrize("name", ["1:8", "2:8", "2:4", "2:16"])
def test_expanding_a_large_layer(name):
    weight = SAMPLES[name](SHAPE, "cuda", torch.bfloat16)
    assert torch.equal(expand_nm(weight), layouts.to_dense(weight))


def test_a_graph_replay_gives_the_same_bits():
    weight = SAMPLES["block 64 87.5%"](SHAPE, "cuda", torch.bfloat16)
    x = activations((16, SHAPE[1]), torch.bfloat16, "cuda")
    expected = multiply(weight, x)
    assert config_for(weight, 16).splits > 1
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = multiply(weight, x)
    for _ in range(3):
        got.fill_(float("nan"))
        graph.replay()
        assert torch.equal(got, expected)


@pytest.mark.parametrize("pattern", ["1:8", "2:8", "2:4", "2:16"])
def test_pruning_a_large_layer(pattern):
    n, m = map(int, pattern.split(":"))
    master = torch.randn(SHAPE, device="cuda")
    copies = prune_nm(master, n, m, dtype=torch.bfloat16)
    for copy, axis in ((copies.forward, 1), (copies.backward, 0)):
        kept = torch.where(nm_mask(master, NM(n, m), axis=axis), master, 0).to(torch.bfloat16)
        assert torch.equal(layouts.to_dense(copy), kept if axis == 1 else kept.t())


@pytest.mark.parametrize("name", ["2:8", "2:4", "bitmap 80%", "vector 64 87.5%"])
def test_gradients_of_stored_entries_of_a_large_layer(name):
    weight = SAMPLES[name](SHAPE, "cuda", torch.bfloat16)
    for tokens in (16, 500):
        x, dy = (activations((tokens, size), torch.bfloat16, "cuda", 1) for size in SHAPE[::-1])
        assert_gradient(weight, dy, x, None, "cuda")
        if name[0] != "v":
            assert_matches_dense(multiply_transposed(weight, dy), layouts.to_dense(weight).t(), dy)
