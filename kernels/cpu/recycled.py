"""Arrays that are used again when their owner is gone.

A training step makes copies of megabytes and drops them at its end. The C library gives such memory back to
the system, which then clears every page anew: 3 ms of the 4 that two layers of 768 x 3072 take to pack.
"""

import weakref
from collections import defaultdict

import numpy as np

from cosparse.spec.dtypes import Array

from .panels import aligned_empty

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
