"""Timing sparse CPU kernels against named dense baselines of the same run.

Samples of all contestants are interleaved and reported as medians with their range: CPU time for one
thread, wall time for more (on shared machines wall time includes what others take). The baseline
of a ratio is the fastest dense contestant. Weight repacking is not in the time; bringing activations
into the kernel's layout and results out of it is. Convolutions are timed as the products after
im2col, for both sides. WU has no sparse kernel: its time is the dense one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from ..spec import (
    Kind,
    Measurement,
    PackedTensor,
    Pattern,
    PatternError,
    Phase,
    RunError,
    Spread,
    UnsupportedError,
    pack,
    parse_pattern,
)
from ..spec.dtypes import Array
from . import dense_worker
from .dense_worker import clock_of, sample_s
from .provenance import machine, versions

OPENBLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Environment variables that make OpenBLAS use kernels for another processor."""

PATTERNS = ("2:4", "2:8", "1:16", "16:2:8", "block 16x16 @ 0.2")


@dataclass(frozen=True)
class LayerShape:
    """A weight (outputs, inputs); `tokens` is None where it is the batch."""

    outputs: int
    inputs: int
    tokens: int | None = None


LAYERS: dict[str, LayerShape] = {
    "BERT-base attention": LayerShape(768, 768),
    "BERT-base FFN up": LayerShape(3072, 768),
    "BERT-base FFN down": LayerShape(768, 3072),
    "ResNet-50 stage 2 3x3": LayerShape(128, 9 * 128, 28 * 28),
    "ResNet-50 stage 3 3x3": LayerShape(256, 9 * 256, 14 * 14),
    "ResNet-50 stage 3 1x1": LayerShape(1024, 256, 14 * 14),
    "digits-cnn block 1": LayerShape(64, 9 * 32, 32 * 4 * 4),
    "digits-cnn block 2": LayerShape(64, 9 * 64, 32 * 4 * 4),
}
"""Linear layers, and convolutions after im2col (one image; 32 images of the digits)."""

QUICK_SHAPES = {name: LAYERS[name] for name in ("BERT-base attention", "digits-cnn block 1")}


@dataclass(frozen=True)
class Timed:
    """Median and range of repeated samples of one product, in seconds."""

    median_s: float
    spread: Spread

    @classmethod
    def from_samples(cls, samples: list[float]) -> Self:
        return cls(median(samples), Spread(min(samples), max(samples), len(samples)))


@dataclass(frozen=True)
class Product:
    """What is timed. Sizes are of one convolution group; inputs include the taps."""

    phase: Phase
    tokens: int
    outputs: int
    inputs: int
    conv_groups: int = 1

    @property
    def macs(self) -> int:
        return self.tokens * self.outputs * self.inputs * self.conv_groups

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.tokens, self.outputs, self.inputs, self.conv_groups


@dataclass(frozen=True)
class GemmTiming:
    """One product, timed sparse and dense in the same run."""

    product: Product
    sparse: Timed
    dense: dict[str, Timed]
    """By the name of the baseline."""
    issued_macs: int
    """Multiply-accumulates of the sparse kernel."""
    threads: int
    clock: str

    @property
    def baseline(self) -> str:
        """Name of the fastest dense contestant."""
        return min(self.dense, key=lambda name: self.dense[name].median_s)

    @property
    def sparse_s(self) -> float:
        return self.sparse.median_s

    @property
    def dense_s(self) -> float:
        return self.dense[self.baseline].median_s

    @property
    def ratio(self) -> float:
        """Sparse over dense time; below 1 the sparse kernel is faster."""
        return self.sparse_s / self.dense_s

    @property
    def spreads(self) -> dict[str, Spread]:
        """Range of every contestant; the sparse kernel is "sparse"."""
        return {"sparse": self.sparse.spread} | {n: t.spread for n, t in self.dense.items()}


class DenseBaselines:
    """The dense contestants: PyTorch in this process, OpenBLAS in two fresh ones.

    Use as a context; opening takes about half a second, so share one among layers.
    """

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

    def contestants(self, product: Product) -> dict[str, Callable[[], float]]:
        """By name: a function that takes one sample, in seconds."""
        return _torch_contestants(product, self.threads) | {
            name: partial(process.sample_s, product) for name, process in self._openblas.items()
        }


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

    def sample_s(self, product: Product) -> float:
        stdin = _stream(self._process.stdin)
        stdin.write(json.dumps([str(product.phase), *product.sizes]) + "\n")
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


def time_gemm(
    phase: Phase | str,
    weight: PackedTensor | tuple[int, int],
    tokens: int,
    *,
    conv_groups: int = 1,
    threads: int = 1,
    repeats: int = 5,
    budget_s: float = 0.3,
    baselines: DenseBaselines | None = None,
) -> GemmTiming:
    """Time one phase of one layer.

    weight: the packed copy of the phase (axis 1 for FF, 0 for BP), or, for a product that runs dense,
    the (outputs, inputs * taps) of each of `conv_groups` groups; its sparse time is then the dense
    one. WU is always dense. tokens: output pixels for a convolution. Sampling stops after `repeats`
    rounds or `budget_s` seconds, one round at least. Raises UnsupportedError for a copy of the other
    phase.
    """
    phase = Phase(phase)
    product = _product_of(phase, weight, tokens, conv_groups)
    sparse: dict[str, Callable[[], float]] = {}
    issued = product.macs
    if isinstance(weight, PackedTensor) and phase != Phase.WU:
        sparse["sparse"], issued = _sparse_contestant(weight, product, threads)
    with nullcontext(baselines) if baselines else DenseBaselines(threads) as opened:
        contestants = opened.contestants(product) | sparse
        timed = time_interleaved(contestants, repeats=repeats, budget_s=budget_s)
    own = timed.pop("sparse", None) or min(timed.values(), key=lambda dense: dense.median_s)
    return GemmTiming(product, own, timed, issued, threads, clock_of(threads)[0])


def time_dense(
    product: Product, baselines: DenseBaselines, *, repeats: int = 5, budget_s: float = 0.3
) -> dict[str, Timed]:
    """Time every dense contestant on one product."""
    return time_interleaved(baselines.contestants(product), repeats=repeats, budget_s=budget_s)


def time_layer(
    packed: PackedTensor,
    x: Array,
    *,
    threads: int = 1,
    repeats: int = 5,
    budget_s: float = 0.3,
) -> Timed:
    """Time `kernels.matmul` of a weight prepared once. x: (tokens, in) for FF, (tokens, out) for BP."""
    import kernels

    prepared = kernels.prepare(packed)
    call = partial(kernels.matmul, prepared, x, threads=threads)
    contestants = {"sparse": partial(sample_s, call, threads)}
    return time_interleaved(contestants, repeats=repeats, budget_s=budget_s)["sparse"]


def time_interleaved(
    contestants: Mapping[str, Callable[[], float]], *, repeats: int, budget_s: float
) -> dict[str, Timed]:
    """Sample all contestants in turn, after one round that compiles and warms up."""
    for sample in contestants.values():
        sample()
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    deadline = time.perf_counter() + budget_s
    for _ in range(max(1, repeats)):
        for name, sample in contestants.items():
            samples[name].append(sample())
        if time.perf_counter() > deadline:
            break
    return {name: Timed.from_samples(values) for name, values in samples.items()}


def bench_cpu(
    shapes: Mapping[str, LayerShape] | None = None,
    patterns: Iterable[str | Pattern] = PATTERNS,
    batches: Iterable[int] = (128,),
    threads: int = 1,
    repeats: int = 5,
) -> list[Measurement]:
    """FF of every layer, pattern and batch against the dense baselines.

    A pattern that does not fit a layer is left out. Five kinds of measurement a case, with metric
    "time" (one a contestant), "ratio", "rate" (dense MACs counted) and "nonzero rate".
    """
    parsed = [parse_pattern(p) if isinstance(p, str) else p for p in patterns]
    measurements: list[Measurement] = []
    with DenseBaselines(threads) as baselines:
        setting = describe_machine(baselines)
        for name, shape in (LAYERS if shapes is None else shapes).items():
            counts = list(batches) if shape.tokens is None else [shape.tokens]
            for packed in _packed_layers(shape, parsed):
                for tokens in counts:
                    timing = time_gemm(
                        Phase.FF, packed, tokens,
                        threads=threads, repeats=repeats, budget_s=2.0, baselines=baselines,
                    )  # fmt: skip
                    measurements += to_measurements(name, str(packed.pattern), timing, setting)
    return measurements


def to_measurements(
    op: str, pattern: str, timing: GemmTiming, setting: Mapping[str, Any]
) -> list[Measurement]:
    """The numbers of one timing, each with what is needed to obtain it again."""
    provenance = {
        "pattern": pattern,
        "tokens": timing.product.tokens,
        "outputs": timing.product.outputs,
        "inputs": timing.product.inputs,
        "threads": timing.threads,
        "clock": timing.clock,
        "baseline": timing.baseline,
        "machine": dict(setting),
    }

    def measured(
        backend: str, metric: str, value: float, unit: str, spread: Spread | None = None
    ) -> Measurement:
        phase = str(timing.product.phase)
        return Measurement(
            op, phase, backend, metric, Kind.MEASURED, value, unit, spread, provenance
        )

    times = {"cpu": timing.sparse} | timing.dense
    return [
        *(measured(n, "time", t.median_s, "s", t.spread) for n, t in times.items()),
        measured("cpu", "ratio", timing.ratio, "sparse time / best dense time"),
        measured("cpu", "rate", 2e-9 * timing.product.macs / timing.sparse_s, "GFLOP/s"),
        measured("cpu", "nonzero rate", 2e-9 * timing.issued_macs / timing.sparse_s, "GFLOP/s"),
    ]


def describe_machine(baselines: DenseBaselines) -> dict[str, Any]:
    """Processor, environment pins, versions, and what each OpenBLAS process found."""
    return {**machine(), "versions": versions(), "openblas": baselines.libraries()}


def format_table(measurements: Iterable[Measurement]) -> str:
    """Plain text: one line a layer, pattern and token count."""
    cases: dict[tuple[Any, ...], dict[tuple[str, str], Measurement]] = {}
    for item in measurements:
        key = (item.op, item.provenance["pattern"], item.provenance["tokens"])
        cases.setdefault(key, {})[item.backend, item.metric] = item
    header = (
        "layer",
        "pattern",
        "tokens",
        "sparse ms",
        "dense ms",
        "ratio",
        "GFLOP/s",
        "on nonzeros",
        "best dense",
    )
    rows = [header, *(_table_row(key, case) for key, case in cases.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _table_row(
    key: tuple[Any, ...], case: Mapping[tuple[str, str], Measurement]
) -> tuple[str, ...]:
    ratio = case["cpu", "ratio"]
    baseline = ratio.provenance["baseline"]
    return (
        *(str(part) for part in key),
        f"{1e3 * case['cpu', 'time'].value:.3f}",
        f"{1e3 * case[baseline, 'time'].value:.3f}",
        f"{ratio.value:.2f}",
        f"{case['cpu', 'rate'].value:.1f}",
        f"{case['cpu', 'nonzero rate'].value:.1f}",
        baseline,
    )


def _packed_layers(shape: LayerShape, patterns: Iterable[Pattern]) -> Iterable[PackedTensor]:
    weight = np.random.default_rng(0).standard_normal((shape.outputs, shape.inputs), np.float32)
    for pattern in patterns:
        try:
            yield pack(weight, pattern, axis=1)
        except PatternError:
            continue


def _product_of(
    phase: Phase, weight: PackedTensor | tuple[int, int], tokens: int, conv_groups: int
) -> Product:
    if isinstance(weight, tuple):
        return Product(phase, tokens, *weight, conv_groups)
    layout = weight.layout
    if phase != Phase.WU and layout.axis != (1 if phase == Phase.FF else 0):
        raise UnsupportedError(
            f"timing {phase}: expected a weight packed with axis {int(phase == Phase.FF)}, "
            f"got axis {layout.axis}"
        )
    inputs = layout.taps * weight.shape[1]
    return Product(phase, tokens, layout.outputs, inputs, layout.conv_groups)


def _sparse_contestant(
    packed: PackedTensor, product: Product, threads: int
) -> tuple[Callable[[], float], int]:
    """A function that takes one sample of the sparse kernel, and its multiply-accumulates."""
    from kernels import cpu

    prepared = cpu.prepare(packed)
    random = np.random.default_rng(0)
    if packed.layout.taps * packed.layout.conv_groups == 1:
        x = random.standard_normal((product.tokens, prepared.panel_rows), np.float32)
        call = partial(cpu.matmul, prepared, x, threads=threads)
    else:
        rows = random.standard_normal((prepared.panel_rows, product.tokens), np.float32)
        call = partial(cpu.multiply_pixels, prepared, rows, threads=threads)
    return partial(sample_s, call, threads), prepared.products_per_token * product.tokens


def _torch_contestants(product: Product, threads: int) -> dict[str, Callable[[], float]]:
    import torch

    phase = str(product.phase)
    first, second = (torch.from_numpy(a) for a in dense_worker.operands(phase, *product.sizes))
    calls: dict[str, Callable[[], object]] = {
        "torch mm": partial(dense_worker.product, phase, first, second)
    }
    if product.phase == Phase.FF and product.conv_groups == 1:
        calls["torch linear"] = partial(torch.nn.functional.linear, first, second)
    return {name: partial(sample_s, call, threads) for name, call in calls.items()}


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both ends were opened as pipes
    return stream
