"""Products with factorised weights against NumPy float64 on the weight that the factors stand for."""

import numpy as np
import pytest
import torch

from cosparse.spec import ShapeError, UnsupportedError, pack, parse_pattern
from kernels import factors, strided
from kernels.cpu import dot_assembly, isa
from kernels.cpu.support import Support

from .conformance import activations, summation_bound, weights

ROUNDOFF = 2.0**-24
TOKENS = (1, 7, 16, 130, 300)


@pytest.fixture(params=["avx512", "avx2", "portable"])
def unit(request, monkeypatch):
    if isa.ISAS[request.param] not in isa.available_isas():
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("COSPARSE_CPU_ISA", request.param)


def near(got, left, right, terms=None, magnitudes=None):
    """`got` is left @ right within the bound of float32 sums, each array float64."""
    exact = left @ right
    magnitudes = np.abs(left) @ np.abs(right) if magnitudes is None else magnitudes
    assert got.dtype == np.float32 and got.shape == exact.shape
    terms = left.shape[1] if terms is None else terms
    assert (np.abs(got - exact) <= summation_bound(terms, magnitudes, ROUNDOFF)).all()


def support_of(shape, density, seed=2):
    random = np.random.default_rng(seed)
    size = shape[0] * shape[1]
    positions = np.sort(random.choice(size, int(density * size), replace=False))
    values = random.standard_normal(len(positions)).astype(np.float32)
    dense = np.zeros(size)
    dense[positions] = values
    return Support(positions, shape), values, dense.reshape(shape), positions


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("density", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("shape", [(70, 173), (64, 1100)], ids=str)
def test_a_fixed_support_in_all_three_products(shape, density, threads, unit):
    support, values, dense, positions = support_of(shape, density)
    for tokens in TOKENS:
        x, dy = activations((tokens, 2 * shape[1]))[:, ::2], activations((tokens, shape[0]), 3)
        wide_x, wide_dy = x.astype(np.float64), dy.astype(np.float64)
        near(support.matmul(values, x, threads=threads), wide_x, dense.T)
        near(support.input_gradient(values, dy, threads=threads), wide_dy, dense)
        got = support.gradient(dy, x, threads=threads)
        row, column = np.divmod(positions, shape[1])
        exact = (wide_dy.T @ wide_x)[row, column]
        magnitudes = (np.abs(wide_dy).T @ np.abs(wide_x))[row, column]
        assert (np.abs(got - exact) <= summation_bound(tokens, magnitudes, ROUNDOFF)).all()


def test_values_change_and_positions_do_not(unit):
    support, values, dense, _ = support_of((40, 60), 0.1)
    x = activations((20, 60))
    first = support.matmul(values, x)
    np.testing.assert_array_equal(support.matmul(2 * values, x), 2 * first)
    near(support.matmul(values, x), x.astype(np.float64), dense.T)


def test_absent_entries_meet_no_infinity(unit):
    support, values, dense, _ = support_of((24, 40), 0.05)
    x, dy = activations((17, 40)), activations((17, 24), 3)
    x[:, ~dense.any(axis=0)], dy[:, ~dense.any(axis=1)] = np.inf, np.nan
    assert np.isfinite(support.matmul(values, x)).all()
    assert np.isfinite(support.input_gradient(values, dy)).all()
    assert np.isfinite(support.gradient(dy, x)).all()
    column = int(np.flatnonzero(dense.any(axis=0))[0])
    x[3, column] = np.nan
    assert (np.isnan(support.matmul(values, x)[3]) == (dense[:, column] != 0)).all()


def test_empty_supports_and_batches(unit):
    none = np.zeros(0, np.float32)
    empty = Support(np.zeros(0, np.int64), (5, 9))
    assert not empty.matmul(none, activations((3, 9))).any()
    assert empty.gradient(activations((3, 5)), activations((3, 9))).shape == (0,)
    support, values, _, _ = support_of((5, 9), 0.3)
    assert support.matmul(values, activations((0, 9))).shape == (0, 5)
    assert not support.gradient(activations((0, 5)), activations((0, 9))).any()


@pytest.mark.parametrize(
    "positions", [[3, 3], [5, 4], [-1, 2], [0, 12], [[1, 2]]], ids=["twice", "down", "<", ">", "2d"]
)
def test_positions_that_are_none(positions):
    with pytest.raises(ShapeError, match=r"ascending positions in 3 x 4 places"):
        Support(np.array(positions), (3, 4))


def test_what_a_support_refuses(monkeypatch):
    support, values, _, _ = support_of((5, 9), 0.3)
    with pytest.raises(ShapeError, match=r"expected \(tokens, 9\), got \(2, 8\)"):
        support.matmul(values, activations((2, 8)))
    with pytest.raises(ShapeError, match=rf"expected \({len(values)},\) values"):
        support.matmul(values[1:], activations((2, 9)))
    with pytest.raises(ShapeError, match="expected 3 tokens of dy, got 2"):
        support.gradient(activations((2, 5)), activations((3, 9)))
    with pytest.raises(UnsupportedError, match="threads"):
        support.matmul(values, activations((2, 9)), threads=0)
    monkeypatch.setattr("kernels.cpu.support._MOST_ENTRIES", 2)
    with pytest.raises(UnsupportedError, match="at most 2 entries"):
        Support(np.arange(3), (3, 4))


@pytest.mark.parametrize("library", ["torch", "NumPy"])
@pytest.mark.parametrize("threads", [1, 2])
def test_block_diagonal(threads, library, monkeypatch):
    if library == "NumPy":
        monkeypatch.setattr(strided, "torch_module", lambda: None)
    blocks = weights((3, 20, 14)).astype(np.float32)
    dense = np.zeros((60, 42))
    for i, block in enumerate(blocks):
        dense[20 * i : 20 * i + 20, 14 * i : 14 * i + 14] = block
    x, dy = activations((33, 84))[:, ::2], activations((33, 60), 3)
    wide_x, wide_dy = x.astype(np.float64), dy.astype(np.float64)
    near(factors.block_diagonal(blocks, x, threads=threads), wide_x, dense.T, 14)
    found = factors.block_diagonal_input_gradient(blocks, dy, threads=threads)
    near(found, wide_dy, dense, 20)
    found = factors.block_diagonal_gradient(dy, x, 3, threads=threads)
    for i, block in enumerate(found):
        near(block, wide_dy[:, 20 * i : 20 * i + 20].T, wide_x[:, 14 * i : 14 * i + 14])


def test_dense_times_sparse():
    dense, sparse = weights((24, 40)).astype(np.float32), weights((50, 24), 4)
    pattern = parse_pattern("2:8")
    ahead, back = (pack(sparse, pattern, axis=axis, dtype="float32") for axis in (1, 0))
    x, dy = activations((33, 40)), activations((33, 50), 3)
    wide = [array.astype(np.float64) for array in (dense, ahead.unpack(), back.unpack(), x, dy)]
    d, s, s_back, wide_x, wide_dy = wide
    inner = wide_x @ d.T
    size = np.abs(wide_x) @ np.abs(d.T)
    near(factors.dense_sparse(dense, ahead, x), inner, s.T, 40 + 24, size @ np.abs(s.T))
    found = factors.dense_sparse_gradients(dense, back, dy, x)
    inner_dy, size_dy = wide_dy @ s_back, np.abs(wide_dy) @ np.abs(s_back)
    near(found.x, inner_dy, d, 50 + 24, size_dy @ np.abs(d))
    near(found.dense, inner_dy.T, wide_x, 50 + 33, size_dy.T @ np.abs(wide_x))
    near(found.sparse, wide_dy.T, inner, 40 + 33, np.abs(wide_dy).T @ size)


@pytest.mark.parametrize("library", ["torch", "NumPy"])
def test_low_rank_and_sparse(library, monkeypatch):
    if library == "NumPy":
        monkeypatch.setattr(strided, "torch_module", lambda: None)
    support, values, sparse, positions = support_of((50, 40), 0.05)
    down, up = activations((6, 40), 5), activations((50, 6), 6)
    weight = factors.LowRankSparse(down, up, support, values, 0.75)
    x, dy = activations((33, 40)), activations((33, 50), 3)
    a, b, wide_x, wide_dy = (array.astype(np.float64) for array in (down, up, x, dy))
    whole = 0.75 * b @ a + sparse
    size = 0.75 * np.abs(b) @ np.abs(a) + np.abs(sparse)
    y, inner = factors.low_rank_sparse(weight, x)
    near(y, wide_x, whole.T, 50, np.abs(wide_x) @ size.T)
    found = factors.low_rank_sparse_gradients(weight, dy, x, inner)
    near(found.x, wide_dy, whole, 60, np.abs(wide_dy) @ size)
    dw, size_dw = wide_dy.T @ wide_x, np.abs(wide_dy).T @ np.abs(wide_x)
    near(found.down, 0.75 * b.T, dw, 90, 0.75 * np.abs(b.T) @ size_dw)
    near(found.up, 0.75 * dw, a.T, 90, 0.75 * size_dw @ np.abs(a.T))
    places = np.unravel_index(positions, (50, 40))
    difference = np.abs(found.values - dw[places])
    assert (difference <= summation_bound(33, size_dw[places], ROUNDOFF)).all()


def test_factors_that_do_not_fit_are_told():
    support, values, _, _ = support_of((16, 24), 0.1)
    x = activations((2, 24))
    with pytest.raises(ShapeError, match=r"\(rank, 24\) and \(16, rank\)"):
        factors.LowRankSparse(weights((4, 23)), weights((16, 4)), support, values)
    sparse = pack(weights((16, 8)), parse_pattern("2:8"), axis=1)
    with pytest.raises(ShapeError, match=r"dense factor: expected \(8, in\)"):
        factors.dense_sparse(weights((9, 24)), sparse, x)
    with pytest.raises(ShapeError, match=r"x: expected \(tokens, 15\)"):
        factors.block_diagonal(weights((3, 4, 5)), x)
    with pytest.raises(ShapeError, match="do not split into 5 parts"):
        factors.block_diagonal_gradient(activations((2, 10)), x, 5)


def test_the_callers_threads_are_restored():
    found = torch.get_num_threads()
    blocks = weights((2, 4, 4)).astype(np.float32)
    for threads in (1, 2, 3):
        factors.block_diagonal(blocks, activations((5, 8)), threads=threads)
        assert torch.get_num_threads() == found
    with pytest.raises(ShapeError, match="do not fit"):
        factors.product(blocks[0], blocks[0][:3], threads=found + 1)
    with pytest.raises(ShapeError), strided.dense_threads(found + 1):
        strided.add_product(blocks[0], blocks[0][:3], blocks[0])
    assert torch.get_num_threads() == found


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("library", ["torch", "NumPy"])
def test_a_product_lands_in_a_slice_and_nowhere_else(library, beta, monkeypatch):
    if library == "NumPy":
        monkeypatch.setattr(strided, "torch_module", lambda: None)
    out = np.full((6, 12), 8.0, np.float32)
    if beta == 0:
        out[:, 4:9] = np.nan
    left, right = np.ones((6, 3), np.float32), np.ones((3, 5), np.float32)
    strided.add_product(out[:, 4:9], left, right, alpha=2.0, beta=beta)
    assert (out[:, 4:9] == 6 + 8 * beta).all()
    assert (out[:, :4] == 8).all() and (out[:, 9:] == 8).all()


@pytest.mark.skipif(isa.AVX512 not in isa.available_isas(), reason="no AVX-512")
def test_a_row_s_line_is_loaded_once():
    """Loads of a line do not grow with the entries that meet it."""
    text = dot_assembly._dots_assembly(8, 16)
    assert text.count("load <16 x float>") == 8 + 8 * (4 + 1)
