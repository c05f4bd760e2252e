"""Threads of the kernels: they release the interpreter lock, so plain Python threads run them at once.

No setting of PyTorch, Numba or OpenMP is read or changed. The calling thread takes the last part
itself; the others wait between products.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from cosparse.spec import UnsupportedError

T = TypeVar("T")


def check_threads(threads: int) -> None:
    """Raise UnsupportedError unless there is a thread."""
    if threads < 1:
        raise UnsupportedError(f"expected threads >= 1, got {threads}")


def run_parts(run: Callable[[T], None], parts: Sequence[T]) -> None:
    """`run` on every part at once; returns when all have ended, raises what one raised."""
    if len(parts) == 1:
        run(parts[0])
    if len(parts) < 2:
        return
    waiting = [_pool(len(parts) - 1).submit(run, part) for part in parts[:-1]]
    try:
        run(parts[-1])
    finally:
        for one in waiting:
            one.exception()
    for one in waiting:
        one.result()


def bounds(count: int, parts: int, multiple: int = 1) -> list[tuple[int, int]]:
    """[first, last) of at most `parts` runs that cover `count`, cut at multiples of `multiple`."""
    units = -(-count // multiple)
    parts = min(parts, units)
    cuts = [min(count, multiple * (units * i // parts)) for i in range(parts)] + [count]
    return list(pairwise(cuts)) if parts else []


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="cosparse-kernels")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=_pool.cache_clear)
