"""How the timing kernels are compiled: cached on disk, without the interpreter lock."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from zlib import crc32

from numba import njit
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

SOURCES: tuple[str, ...] = (
    "bursts.py",
    "compile/blocking.py",
    "compile/blocks.py",
    "compile/clock.py",
    "compile/counts.py",
    "compile/evaluate.py",
    "compile/loops.py",
    "compile/matmul_work.py",
    "compile/nest.py",
    "compile/repeats.py",
    "compile/search.py",
    "compile/state.py",
    "compile/transfers.py",
    "compile/walk.py",
    "config.py",
    "config_vector.py",
    "constants.py",
    "decoded.py",
    "durations.py",
    "energy.py",
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


def _unowned(_context: Any, array: Any) -> Any:
    """`array` without its reference count, for kernels that hand arrays on in their inner loops.

    Numba counts references at every call, atomically, which took half of the timing kernels' time. The
    caller must keep the array itself alive.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), build


unowned: Any = intrinsic(_unowned)


_fingerprint = crc32(b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES))
