"""Arrays that are used again when their owner is gone.

A training step makes copies of megabytes and drops them at its end. The C library gives such memory back to
the system, which then clears every page anew: 3 ms of the 4 that two layers of 768 x 3072 take to pack.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from cosparse.spec.dtypes import Array

from .panels import aligned_empty

_MOST_KEPT = 4
"""Arrays of a size that products keep."""
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
        flat = array.reshape(-1)
        weakref.finalize(owner, _FREE[array.dtype.str[1:], array.size].append, flat)


@contextmanager
def borrowed(*sizes: int) -> Iterator[list[Array]]:
    """Uninitialised flat float32 arrays for the time of one product; nothing may keep them."""
    arrays = [recycled_empty(size) for size in sizes]
    try:
        yield arrays
    finally:
        for array in arrays:
            if len(_FREE["f4", array.size]) < _MOST_KEPT:
                _FREE["f4", array.size].append(array)
