"""How the timing kernels are compiled: cached on disk, without the interpreter lock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

SOURCES: tuple[str, ...] = (
    "bursts.py",
    "compile/blocking.py",
    "compile/counts.py",
    "compile/evaluate.py",
    "compile/matmul_work.py",
    "compile/nest.py",
    "compile/regimes.py",
    "compile/search.py",
    "compile/state.py",
    "compile/transfers.py",
    "compile/walk.py",
    "config.py",
    "config_vector.py",
    "constants.py",
    "decoded.py",
    "durations.py",
    "isa.py",
    "jit.py",
    "timing.py",
)
"""Modules whose kernels are called, or whose numbers are frozen, in kernels of other modules."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as a Numba kernel; other kernels may call it.

    Numba itself recompiles a cached kernel only when the kernel's own file changes. The file of its
    cache carries the qualified name, which therefore names the state of all SOURCES.
    """
    function.__qualname__ += f"_{_fingerprint:08x}"
    kernel: Callable[P, R] = njit(**OPTIONS)(function)
    return kernel


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as a part of the kernels that call it; a call costs tens of nanoseconds."""
    part: Callable[P, R] = njit(inline="always", nogil=True, error_model="numpy")(function)
    return part


_fingerprint = crc32(b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES))
