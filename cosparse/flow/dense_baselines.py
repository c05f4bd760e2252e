"""The dense contestants of one product: PyTorch in this process, NumPy's OpenBLAS in fresh ones."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import IO, Any, Self

from ..spec import Phase, RunError
from . import dense_worker
from .dense_torch import torch_calls
from .dense_worker import rotation_s, sample_s
from .timing import Product

OPENBLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables that make OpenBLAS use kernels for another processor."""

UNPINNED = "unpinned"
CORE_TYPES = {
    "x86_64": ("Haswell", "SkylakeX", "Cooperlake", "Sapphirerapids", "Zen"),
    "aarch64": ("ARMV8", "NEOVERSEN1", "NEOVERSEV1"),
}
"""Values of OPENBLAS_CORETYPE worth trying, by architecture; others run unpinned."""
_PROBE = Product(Phase.FF, 512, 1024, 768)
_PROBE_SAMPLES = 7

Sample = Callable[[], float]
"""Takes one sample, in seconds."""


@dataclass(frozen=True)
class CoreTypes:
    """GFLOP/s of OpenBLAS by core type, each in a process of its own; None where it cannot run."""

    gflop_s: dict[str, float | None]

    @property
    def best(self) -> str:
        """The fastest, by CPU time."""
        found = {name: rate for name, rate in self.gflop_s.items() if rate is not None}
        if not found:
            raise RunError(f"no process with NumPy runs; tried {', '.join(self.gflop_s)}")
        return max(found, key=found.__getitem__)


def probe_core_types(threads: int = 1) -> CoreTypes:
    """Time one product (512 x 768 by 768 x 1024) under every core type, the shortest sample of each."""
    names = (UNPINNED, *CORE_TYPES.get(platform.machine(), ()))
    return CoreTypes({name: _probe(name, threads) for name in names})


def _probe(core_type: str, threads: int) -> float | None:
    try:
        process = _OpenBlas(threads, openblas_environment(core_type))
    except RunError:
        return None  # kernels for an instruction set that this machine lacks
    try:
        shortest = min(process.sample_s(_PROBE, transposed=False) for _ in range(_PROBE_SAMPLES))
    except RunError:
        return None
    finally:
        process.close()
    return 2e-9 * _PROBE.macs / shortest


def openblas_environment(core_type: str) -> dict[str, str]:
    """This process's environment without pins, or pinned to a core type."""
    found = {name: value for name, value in os.environ.items() if name not in OPENBLAS_PINS}
    return found if core_type == UNPINNED else {**found, "OPENBLAS_CORETYPE": core_type}


class DenseBaselines:
    """Use as a context; opening takes about half a second, so share one among layers.

    core_type: of the only process with OpenBLAS; without one there are two, unpinned and as found.
    """

    def __init__(self, threads: int = 1, *, core_type: str | None = None) -> None:
        self.threads = threads
        self._environments = (
            {
                "NumPy/OpenBLAS unpinned": openblas_environment(UNPINNED),
                "NumPy/OpenBLAS as found": dict(os.environ),
            }
            if core_type is None
            else {f"NumPy/OpenBLAS {core_type}": openblas_environment(core_type)}
        )
        self._openblas: dict[str, _OpenBlas] = {}

    def __enter__(self) -> Self:
        import torch

        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        self._openblas = {
            name: _OpenBlas(self.threads, environment)
            for name, environment in self._environments.items()
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import torch

        torch.set_num_threads(self._torch_threads)
        for process in self._openblas.values():
            process.close()

    def libraries(self) -> dict[str, Any]:
        """What each OpenBLAS process reports about itself."""
        return {name: process.library for name, process in self._openblas.items()}

    def contestants(self, product: Product, copies: int = 1) -> dict[str, Sample]:
        """By name: a function that takes one sample, over `copies` of the weight in turn."""
        calls = [torch_calls(product) for _ in range(copies)]
        samples = {name: sampled([c[name] for c in calls], self.threads) for name in calls[0]}
        return samples | dict(self._openblas_samples(product, copies))

    def _openblas_samples(self, product: Product, copies: int) -> Iterator[tuple[str, Sample]]:
        if product.conv is not None:
            return  # NumPy has no convolution
        for name, process in self._openblas.items():
            yield name, partial(process.sample_s, product, transposed=False, copies=copies)
            if product.phase != Phase.WU:
                yield (
                    f"{name}, transposed weight",
                    partial(process.sample_s, product, transposed=True, copies=copies),
                )


def sampled(calls: Sequence[Callable[[], object]], threads: int) -> Sample:
    """One call as often as a sample needs, several one after the other."""
    if len(calls) == 1:
        return partial(sample_s, calls[0], threads)
    return partial(rotation_s, calls, threads)


class _OpenBlas:
    """A process that times NumPy's product; see `dense_worker`."""

    def __init__(self, threads: int, environment: Mapping[str, str]) -> None:
        # -P: the worker's folder must not shadow modules that NumPy imports
        self._process = subprocess.Popen(
            [sys.executable, "-P", dense_worker.__file__, str(threads)],
            env={**environment, "OPENBLAS_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.library: dict[str, str | None] = self._read()

    def sample_s(self, product: Product, transposed: bool, copies: int = 1) -> float:
        stdin = _stream(self._process.stdin)
        request = [str(product.phase), *product.sizes, transposed, copies]
        with suppress(BrokenPipeError):  # where the process has ended, reading says how
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        return float(self._read())

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                _stream(stream).close()
        self._process.wait()

    def _read(self) -> Any:
        line = _stream(self._process.stdout).readline()
        if not line:
            self.close()
            raise RunError(
                f"the process that times OpenBLAS ended with code {self._process.returncode}"
            )
        return json.loads(line)


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both ends were opened as pipes
    return stream
