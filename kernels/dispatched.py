"""A packed weight that runs dense where dense is faster, and says so.

    layer = Dispatched(packed)
    y = layer.matmul(x)               # sparse or dense, whichever was faster here
    layer.choose("matmul", x).reason  # "sparse: 0.41 of the time of torch linear (...)"

Both sides are timed once for every shape class: operation, sizes, pattern, threads, and the number of
tokens or images rounded up to a power of two. The result is kept on disk beside the compiled kernels,
under a hash that covers the processor, the kernels' source and the libraries' versions, so that a later
process times nothing. Sparse must be faster by `MARGIN`: at a tie the dense side, which
has no surprises, runs. A dense weight is held only by layers that run dense.
"""

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from cosparse.spec import PackedTensor, UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.errors import unknown_name

from . import dispatch
from .choice import TIMED_EARLIER, Choice, faster_side
from .dense import Dense, conv_builders, linear_builders
from .geometry import Pair, check_forward, check_linear, pair

if TYPE_CHECKING:
    from .cpu import PreparedWeight

_SPARSE = "sparse"
_ROUNDS = 7
_BUDGET_S = 1.0
"""Sampling ends after so many rounds or seconds, three rounds at least."""
_LEAST_ROUNDS = 3
_SAMPLE_S = 5e-4
CLOSE = 1.2
"""Contestants within this factor of the fastest are timed again, by themselves."""
COLD_ROWS = 8
"""Products of so few tokens use a weight once: they are timed over copies of it in turn."""
_COLD_BYTES = 32 << 20
"""At least so many bytes of dense weight in all copies, more than a second-level cache."""
_MOST_COPIES = 8


class Dispatched:
    """A packed weight and what was chosen for it; see the module's text.

    prepared: the packed weight as `kernels.prepare` returns it, where the caller has it.
    Raises UnsupportedError for a format without CPU kernels or fewer than one thread.
    """

    def __init__(
        self,
        packed: PackedTensor,
        *,
        threads: int = 1,
        prepared: "PreparedWeight | None" = None,
    ) -> None:
        if threads < 1:
            raise UnsupportedError(f"dispatch: expected threads >= 1, got {threads}")
        self.packed = packed
        self.threads = threads
        self._prepared = prepared or dispatch.prepare(packed)
        self._chosen: dict[tuple[Any, ...], tuple[Choice, Dense]] = {}
        self._by_shape: dict[tuple[Any, ...], Dense] = {}

    def matmul(self, x: Array) -> Array:
        """As `kernels.matmul`: x W^T with the FF copy, dy W with the BP copy."""
        known = self._by_shape.get(x.shape)
        if known is not None and x.dtype == np.float32 and x.flags.c_contiguous:
            return known(x)  # checks and look-ups would take as long as a small product
        x = check_linear(self.packed.layout, x)
        run = self._by_shape[x.shape] = self._side("matmul", x, {})[1]
        return run(x)

    def conv2d(self, x: Array, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1) -> Array:
        """As `kernels.conv2d`. Images may be channels-last in memory; so may be the result."""
        steps = _steps(stride, padding, dilation)
        key = (x.shape, x.dtype, x.flags.c_contiguous, *steps.values())
        if key not in self._by_shape:
            check_forward(self.packed.layout, x[:0], **steps)
            self._by_shape[key] = self._side("conv2d", x, steps)[1]
        return self._by_shape[key](x)

    def choose(
        self,
        operation: str,
        x: Array,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
    ) -> Choice:
        """What `operation` ("matmul" or "conv2d") runs for such an input, timed if it is not known."""
        if operation == "matmul":
            return self._side(operation, check_linear(self.packed.layout, x), {})[0]
        if operation == "conv2d":
            steps = _steps(stride, padding, dilation)
            check_forward(self.packed.layout, x[:0], **steps)
            return self._side(operation, x, steps)[0]
        raise UnsupportedError(unknown_name("operation", operation, ("matmul", "conv2d")))

    @property
    def choices(self) -> list[Choice]:
        """Those made so far, in order."""
        return [choice for choice, _ in self._chosen.values()]

    def copied(self) -> "Dispatched":
        """The same choices over weights of their own in memory, for benchmarks that rotate weights."""
        return Dispatched(self.packed, threads=self.threads, prepared=apart(self._prepared))

    def _side(self, operation: str, x: Array, steps: dict[str, Any]) -> tuple[Choice, Dense]:
        key = (operation, _size_class(x, operation), *steps.values())
        if key not in self._chosen:
            self._chosen[key] = self._choose(operation, x, steps)
        return self._chosen[key]

    def _choose(self, operation: str, x: Array, steps: dict[str, Any]) -> tuple[Choice, Dense]:
        run = getattr(dispatch.module_of("cpu", self.packed), operation)
        sparse: Dense = partial(_sparse, run, self._prepared, self.threads, steps)
        shape_class = self._shape_class(operation, x, steps)
        kept = _read_kept(shape_class)
        if kept is not None and kept.side == "sparse":
            return kept, sparse
        builders = self._builders(operation, x, steps)
        if kept is not None:
            call = builders[kept.library]() if kept.library in builders else None
            if call is not None:
                return kept, call
        dense = {name: call for name, build in builders.items() if (call := build()) is not None}
        rotated = {name: [call] for name, call in dense.items()} | {_SPARSE: [sparse]}
        for _ in range(_copies(self.packed, x) - 1):
            elsewhere = self._builders(operation, x, steps)
            for name in dense:
                rotated[name] += [call for call in [elsewhere[name]()] if call is not None]
            again = apart(self._prepared)
            rotated[_SPARSE].append(partial(_sparse, run, again, self.threads, steps))
        choice = _timed_choice(shape_class, rotated, x, self.threads)
        _write_kept(choice)
        return choice, sparse if choice.side == "sparse" else dense[choice.library]

    def _builders(
        self, operation: str, x: Array, steps: dict[str, Any]
    ) -> dict[str, Callable[[], Dense | None]]:
        """Dense libraries by name; each is built when it is called, on a weight of its own.

        One that finds the weight in a cache because another has just used it would look faster than it is.
        """
        layout, weight = self.packed.layout, self.packed.unpack()
        if operation == "matmul":
            if layout.conv_groups > 1:
                return {}  # a group of rows has its own columns: no library has that as one product
            right = weight if layout.axis == 1 else weight.T
            return {
                name: partial(_on_own_weight, build, right, x, self.threads)
                for name, build in linear_builders().items()
            }
        geometry = {**steps, "groups": layout.conv_groups}
        return {
            name: partial(_on_own_weight, build, weight, x, self.threads, **geometry)
            for name, build in conv_builders().items()
        }

    def _shape_class(self, operation: str, x: Array, steps: dict[str, Any]) -> str:
        packed = self.packed
        parts = {
            "operation": operation,
            "shape": list(packed.shape),
            "axis": packed.axis,
            "groups": packed.layout.conv_groups,
            "pattern": str(packed.pattern),
            "sizes": _size_class(x, operation),
            **steps,
            "threads": self.threads,
        }
        return json.dumps(parts)


def apart(prepared: "PreparedWeight") -> "PreparedWeight":
    """The same weight elsewhere in memory. The layouts that kernels make of it are made anew."""
    arrays = {
        name: getattr(prepared, name).copy() for name in ("tap_pointers", "columns", "values")
    }
    return replace(prepared, **arrays)


def _sparse(
    run: Callable[..., Array], prepared: Any, threads: int, steps: dict[str, Any], x: Array
) -> Array:
    return run(prepared, x, threads=threads, **steps)


def _on_own_weight(
    build: Callable[..., Dense | None], weight: Array, *arguments: Any, **geometry: Any
) -> Dense | None:
    return build(weight.copy(order="C"), *arguments, **geometry)


def _steps(stride: Pair, padding: Pair, dilation: Pair) -> dict[str, Any]:
    return {"stride": pair(stride), "padding": pair(padding), "dilation": pair(dilation)}


def _size_class(x: Array, operation: str) -> tuple[Any, ...]:
    """Tokens or images rounded up to a power of two; the size of images and their order in memory."""
    count = 1 << max(0, len(x) - 1).bit_length()
    if operation == "matmul":
        return (count,)
    return (count, *x.shape[2:], "contiguous" if x.flags.c_contiguous else "strided")


def _copies(packed: PackedTensor, x: Array) -> int:
    if len(x) > COLD_ROWS or x.ndim != 2:
        return 1
    return min(_MOST_COPIES, -(-_COLD_BYTES // (4 * math.prod(packed.shape))))


def _timed_choice(
    shape_class: str, contestants: dict[str, list[Dense]], x: Array, threads: int
) -> Choice:
    times = _interleaved(contestants, x, threads)
    best = min(times.values())
    close = {name: contestants[name] for name, seconds in times.items() if seconds < CLOSE * best}
    if len(close) > 1:  # too close to call: those alone once more
        times |= _interleaved(close, x, threads)
    sparse_s = times.pop(_SPARSE)
    library = min(times, key=times.__getitem__, default="")
    dense_s = times.get(library, math.inf)
    return Choice(shape_class, faster_side(sparse_s, dense_s), sparse_s, dense_s, library)


def _interleaved(contestants: dict[str, list[Dense]], x: Array, threads: int) -> dict[str, float]:
    """Median CPU seconds of one thread, shortest wall seconds of more, of contestants in turn.

    A contestant's calls are the same product with copies of the weight.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for calls in contestants.values():
        for call in calls:
            call(x)  # compiles, and touches what is touched once
    deadline = time.perf_counter() + _BUDGET_S
    for done in range(_ROUNDS):
        if done >= _LEAST_ROUNDS and time.perf_counter() > deadline:
            break
        for name, calls in contestants.items():
            samples[name].append(_sample_s(calls, x, clock))
    typical = median if threads == 1 else min
    return {name: typical(values) for name, values in samples.items()}


def _sample_s(calls: list[Dense], x: Array, clock: Callable[[], float]) -> float:
    """Seconds of a call: of a round of copies, or of as many calls as a sample needs.

    A single weight is brought into the caches first, as every contestant has left them otherwise.
    """
    if len(calls) == 1:
        calls[0](x)
    start, count = clock(), 0
    while True:
        for call in calls:
            call(x)
        count += len(calls)
        seconds = clock() - start
        if len(calls) > 1 or seconds > _SAMPLE_S:
            return seconds / count


# --- choices on disk


def kept_choices() -> list[Choice]:
    """Those of this machine with these kernels and libraries, that any process made."""
    paths = sorted(_folder().glob(f"choice-{_machine_key()}-*.json"))
    found = [_read(path) for path in paths]
    return [choice for choice in found if choice is not None]


def _read_kept(shape_class: str) -> Choice | None:
    choice = _read(_path(shape_class))
    return choice if choice is not None and choice.shape_class == shape_class else None


def _read(path: Path) -> Choice | None:
    """A whole and sensible file, or None: what is damaged is timed again."""
    try:
        choice = Choice(**json.loads(path.read_text(encoding="utf-8")))
        sensible = choice.side in ("sparse", "dense") and min(choice.sparse_s, choice.dense_s) > 0
    except (OSError, ValueError, TypeError):
        return None
    return replace(choice, source=TIMED_EARLIER) if sensible else None


def _write_kept(choice: Choice) -> None:
    from .cpu.objects import write_whole

    with suppress(OSError):  # a folder that cannot be written costs the next process its timing
        write_whole(_path(choice.shape_class), json.dumps(asdict(choice)).encode())


def _folder() -> Path:
    from .cpu.objects import cache_directory

    return cache_directory()


def _path(shape_class: str) -> Path:
    name = hashlib.sha256(shape_class.encode()).hexdigest()[:16]
    return _folder() / f"choice-{_machine_key()}-{name}.json"


def _machine_key() -> str:
    from .cpu import isa

    pins = sorted(item for item in os.environ.items() if item[0].startswith(("OPENBLAS_", "MKL_")))
    parts = (_processor(), isa.current().name, _sources(), _libraries(), pins)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@cache
def _processor() -> str:
    import llvmlite.binding as llvm

    cpuinfo = Path("/proc/cpuinfo")
    named = [
        line
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ())
        if line.startswith("model name")
    ]
    return f"{llvm.get_host_cpu_name()} {named[0] if named else platform.processor()}"


@cache
def _sources() -> str:
    """Hash of the CPU kernels, the dense side and the way of timing, so that other ones are timed again."""
    digest, here = hashlib.sha256(), Path(__file__).parent
    timing = [here / name for name in ("choice.py", "dense.py", "dispatched.py")]
    for path in [*timing, *sorted((here / "cpu").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(_version(name) for name in ("numpy", "torch", "llvmlite"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
