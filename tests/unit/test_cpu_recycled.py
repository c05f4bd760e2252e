"""Memory of results is used again, but never while a view of it is left."""

import gc

import numpy as np
import pytest

from kernels.cpu import recycled
from kernels.cpu.recycled import borrowed, lent_results

ROWS, COLUMNS = 600, 701


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(recycled, "_FREE", type(recycled._FREE)(list))


def place(array):
    return array.__array_interface__["data"][0]


def test_a_result_is_used_again_when_its_last_view_is_gone():
    first = lent_results(ROWS, COLUMNS)
    at = place(first)
    assert first.shape == (ROWS, COLUMNS) and first.flags.c_contiguous and first.flags.writeable
    view = first[3:, :5].T
    del first
    gc.collect()
    assert place(lent_results(ROWS, COLUMNS)) != at
    del view
    gc.collect()
    assert at in {place(array) for array in [lent_results(ROWS, COLUMNS) for _ in range(3)]}


def test_other_sizes_have_other_memory():
    first = lent_results(ROWS, COLUMNS)
    at = place(first)
    del first
    assert place(lent_results(ROWS + 1, COLUMNS)) != at


def test_only_so_many_bytes_wait(monkeypatch):
    monkeypatch.setattr(recycled, "KEPT_BYTES", 4 * ROWS * COLUMNS)
    both = [lent_results(ROWS, COLUMNS) for _ in range(2)]
    del both
    assert sum(len(arrays) for arrays in recycled._FREE.values()) == 1


def failing_product():
    with borrowed(64, 128) as (few, many):
        assert (few.size, many.size, few.dtype) == (64, 128, np.float32)
        raise ValueError("told")


def test_what_is_borrowed_is_given_back_after_an_error():
    with pytest.raises(ValueError, match="told"):
        failing_product()
    assert recycled._FREE["f4", 64] and recycled._FREE["f4", 128]
