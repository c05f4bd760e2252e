"""The own dense product: against float64, on every vector unit, for every way operands lie in memory."""

from itertools import product

import numpy as np
import pytest

from cosparse.spec import ShapeError, UnsupportedError
from kernels.cpu import dense, isa
from kernels.cpu.dense import dense_matmul
from tests.conformance.conformance import summation_bound

UNITS = [isa.AVX512, isa.AVX2, isa.PORTABLE]
SIZES = [
    (1, 1, 1), (7, 5, 3), (8, 16, 48), (9, 17, 49), (97, 33, 95), (193, 520, 130), (300, 40, 600),
]  # fmt: skip


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request, monkeypatch):
    if request.param not in isa.available_isas():
        pytest.skip(f"this processor has no {request.param.name}")
    monkeypatch.setenv("COSPARSE_CPU_ISA", request.param.name)
    return request.param


def lying(rows, columns, way, seed):
    """A matrix whose elements lie in memory in one of many ways."""
    drawn = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    wide = np.full((rows + 3, columns + 5), np.nan, np.float32)
    wide[2:-1, 4:-1] = drawn
    if way == "rows":
        return drawn
    if way == "columns":
        return np.asfortranarray(drawn)
    if way == "inside":
        return wide[2:-1, 4:-1]
    if way == "backwards":
        return drawn[::-1]
    return np.repeat(drawn, 2, axis=1)[:, ::2]


def bounded(got, a, b):
    exact = a.astype(np.float64) @ b.astype(np.float64)
    magnitudes = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    assert got.dtype == np.float32 and got.shape == exact.shape
    assert (np.abs(got - exact) <= summation_bound(a.shape[1], magnitudes, 2.0**-24)).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products_are_within_the_bound(unit, size):
    m, k, n = size
    for ways in product(("rows", "columns"), repeat=2):
        a, b = lying(m, k, ways[0], 1), lying(k, n, ways[1], 2)
        bounded(dense_matmul(a, b), a, b)


@pytest.mark.parametrize("way", ["inside", "backwards", "apart"])
def test_slices_are_read_where_they_lie(unit, way):
    a, b = lying(50, 70, way, 1), lying(70, 60, way, 2)
    before = a.copy(), b.copy()
    bounded(dense_matmul(a, b), a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])
    bounded(dense_matmul(b.T, a.T), b.T, a.T)


def test_blocks_of_rows_columns_and_k(monkeypatch):
    monkeypatch.setattr(dense, "_DEPTHS", {True: 32, False: 48})
    monkeypatch.setattr(dense, "_PANELS_BYTES", 1)
    for m in (30, 400):
        a, b = lying(m, 100, "columns", 1), lying(100, 250, "rows", 2)
        bounded(dense_matmul(a, b), a, b)


@pytest.mark.parametrize("size", [(200, 40, 30), (30, 40, 200)], ids=str)
def test_threads_share_the_product(size):
    m, k, n = size
    a, b = lying(m, k, "rows", 1), lying(k, n, "columns", 2)
    np.testing.assert_array_equal(dense_matmul(a, b, threads=3), dense_matmul(a, b))


@pytest.mark.parametrize("empty", [(0, 4, 5), (4, 0, 5), (4, 5, 0)], ids=str)
def test_empty_operands(unit, empty):
    m, k, n = empty
    got = dense_matmul(np.ones((m, k), np.float32), np.ones((k, n), np.float32))
    np.testing.assert_array_equal(got, np.zeros((m, n), np.float32))


def test_nan_and_infinity_reach_their_row_and_column_alone(unit):
    a, b = lying(37, 21, "rows", 1), lying(21, 53, "rows", 2)
    a[36, 20], b[3, 52] = np.inf, np.nan
    got = dense_matmul(a, b)
    touched = np.zeros(got.shape, bool)
    touched[36], touched[:, 52] = True, True
    np.testing.assert_array_equal(~np.isfinite(got), touched)
    assert np.isinf(got[36, :52]).all() and np.isnan(got[:, 52]).all()


def test_what_is_no_product_is_refused():
    a = np.ones((3, 4), np.float32)
    with pytest.raises(ShapeError, match=r"expected a \(M, K\) and b \(K, N\), got \(3, 4\) and"):
        dense_matmul(a, a)
    with pytest.raises(UnsupportedError, match="b: expected float32, got float64"):
        dense_matmul(a, np.ones((4, 2)))
    with pytest.raises(UnsupportedError, match="threads"):
        dense_matmul(a, a.T, threads=0)
