"""The dense contestants of one product: PyTorch in this process, NumPy's OpenBLAS in fresh ones."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import IO, Any, Self

from ..spec import Phase, RunError
from . import dense_worker
from .dense_torch import torch_calls
from .dense_worker import sample_s
from .timing import Product

OPENBLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables that make OpenBLAS use kernels for another processor."""

Sample = Callable[[], float]
"""Takes one sample, in seconds."""


class DenseBaselines:
    """Use as a context; opening takes about half a second, so share one among layers."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._openblas: dict[str, _OpenBlas] = {}

    def __enter__(self) -> Self:
        import torch

        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        found = dict(os.environ)
        unpinned = {name: value for name, value in found.items() if name not in OPENBLAS_PINS}
        self._openblas = {
            "NumPy/OpenBLAS unpinned": _OpenBlas(self.threads, unpinned),
            "NumPy/OpenBLAS as found": _OpenBlas(self.threads, found),
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

    def contestants(self, product: Product) -> dict[str, Sample]:
        """By name: a function that takes one sample."""
        calls = torch_calls(product)
        samples = {name: partial(sample_s, call, self.threads) for name, call in calls.items()}
        return samples | dict(self._openblas_samples(product))

    def _openblas_samples(self, product: Product) -> Iterator[tuple[str, Sample]]:
        if product.conv is not None:
            return  # NumPy has no convolution
        for name, process in self._openblas.items():
            yield name, partial(process.sample_s, product, transposed=False)
            if product.phase != Phase.WU:
                yield (
                    f"{name}, transposed weight",
                    partial(process.sample_s, product, transposed=True),
                )


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

    def sample_s(self, product: Product, transposed: bool) -> float:
        stdin = _stream(self._process.stdin)
        stdin.write(json.dumps([str(product.phase), *product.sizes, transposed]) + "\n")
        stdin.flush()
        return float(self._read())

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            _stream(stream).close()
        self._process.wait()

    def _read(self) -> Any:
        line = _stream(self._process.stdout).readline()
        if not line:
            code = self._process.wait()
            raise RunError(f"the process that times OpenBLAS ended with code {code}")
        return json.loads(line)


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both ends were opened as pipes
    return stream
