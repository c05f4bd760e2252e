"""Arrays that are used again when their owner is gone.

A product or a training step makes arrays of megabytes and drops them soon. The C library gives such memory
back to the system, which then clears every page anew: 3 ms of the 4 that two layers of 768 x 3072 take to
pack, 5 of the 18 of a product with 2 MB of results. At most KEPT_BYTES wait for their next use.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from cosparse.spec.dtypes import Array

from .panels import aligned_empty

KEPT_BYTES = 256 << 20
_LARGE_BYTES = 1 << 20
"""Results of fewer bytes are left to NumPy."""
_FREE: defaultdict[tuple[str, int], list[Array]] = defaultdict(list)


def recycled_empty(size: int, dtype: str = "f4") -> Array:
    """An uninitialised flat array; give it to `recycle` with its owner."""
    try:
        return _FREE[dtype, size].pop()
    except IndexError:
        return aligned_empty(size) if dtype == "f4" else np.empty(size, dtype)


def recycle(owner: object, *arrays: Array) -> None:
    """When `owner` is gone, `recycled_empty` may return these arrays."""
    for array in arrays:
        weakref.finalize(owner, _keep, array.reshape(-1)).atexit = False


@contextmanager
def borrowed(*sizes: int) -> Iterator[list[Array]]:
    """Uninitialised flat float32 arrays for the time of one product; nothing may keep them."""
    arrays = [recycled_empty(size) for size in sizes]
    try:
        yield arrays
    finally:
        for array in arrays:
            _keep(array)


class _Loan:
    """Owner of the memory of a result: every view of it holds this object."""

    def __init__(self, flat: Array, shape: tuple[int, int]) -> None:
        self.__array_interface__ = {**flat.__array_interface__, "shape": shape}


def lent_results(rows: int, columns: int) -> Array:
    """An uninitialised (rows, columns) float32 array, used again when no view of it is left."""
    size = rows * columns
    if 4 * size < _LARGE_BYTES:
        return aligned_empty(size).reshape(rows, columns)
    flat = recycled_empty(size)
    loan = _Loan(flat, (rows, columns))
    recycle(loan, flat)
    return np.asarray(loan)


def _keep(array: Array) -> None:
    waiting = sum(
        np.dtype(dtype).itemsize * size * len(each) for (dtype, size), each in list(_FREE.items())
    )
    if waiting + array.nbytes <= KEPT_BYTES:
        _FREE[array.dtype.str[1:], array.size].append(array)
