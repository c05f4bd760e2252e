"""Timing sparse CPU kernels against named dense baselines of the same run.

Samples of all contestants are interleaved and reported as medians with their range: CPU time for one
thread, wall time for more (on shared machines wall time includes what others take). The baseline
of a ratio is the fastest dense contestant of that product.

Preparing a weight is in no time, sparse or dense. The rest is: a linear layer goes from (tokens, in)
to (tokens, out), and a convolution from images to images, with im2col, layouts and their undoing.
WU has no sparse kernel: its time is the dense one.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..spec import (
    ConvGeometry,
    Kind,
    Measurement,
    PackedTensor,
    Pattern,
    PatternError,
    Phase,
    Spread,
    UnsupportedError,
    pack,
    parse_pattern,
)
from ..spec.dtypes import Array
from .dense_baselines import DenseBaselines
from .dense_worker import clock_of, sample_s
from .provenance import machine, versions
from .timing import GemmTiming, Product, Timed, time_interleaved

PATTERNS = ("2:4", "2:8", "1:16", "16:2:8", "block 16x16 @ 0.2")


@dataclass(frozen=True)
class LayerShape:
    """A weight (outputs, inputs), or (outputs, inputs, *conv.kernel)."""

    outputs: int
    inputs: int
    conv: ConvGeometry | None = None

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.outputs, self.inputs, *(self.conv.kernel if self.conv else ()))


def same_conv(batch: int, size: int, kernel: int, stride: int = 1) -> ConvGeometry:
    """A square convolution that keeps the image size but for its stride."""
    out, padding = -(-size // stride), kernel // 2
    return ConvGeometry(
        batch,
        (size, size),
        (out, out),
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
        (1, 1),
    )


LAYERS: dict[str, LayerShape] = {
    "BERT-base attention": LayerShape(768, 768),
    "BERT-base FFN up": LayerShape(3072, 768),
    "BERT-base FFN down": LayerShape(768, 3072),
    "ResNet-50 stage 2 3x3": LayerShape(128, 128, same_conv(1, 28, 3)),
    "ResNet-50 stage 3 3x3": LayerShape(256, 256, same_conv(1, 14, 3)),
    "ResNet-50 stage 3 1x1": LayerShape(1024, 256, same_conv(1, 14, 1)),
    "digits-cnn block 1": LayerShape(64, 32, same_conv(32, 8, 3, stride=2)),
    "digits-cnn block 2": LayerShape(64, 64, same_conv(32, 4, 3)),
}
"""Linear layers, and convolutions of one image, or of 32 of the digits."""

QUICK_SHAPES = {name: LAYERS[name] for name in ("BERT-base attention", "digits-cnn block 1")}


def time_gemm(
    product: Product,
    packed: PackedTensor | None = None,
    *,
    threads: int = 1,
    repeats: int = 5,
    budget_s: float = 0.3,
    baselines: DenseBaselines | None = None,
) -> GemmTiming:
    """Time one phase of one layer.

    packed: the copy of the phase (axis 1 for FF, 0 for BP); without one the product runs dense, and
    its sparse time is the dense one. Sampling stops after `repeats` rounds or `budget_s` seconds,
    one round at least. Raises UnsupportedError for a copy of another phase.
    """
    sparse: dict[str, Callable[[], float]] = {}
    issued = product.macs
    if packed is not None:
        sparse["sparse"], issued = _sparse_contestant(packed, product, threads)
    with nullcontext(baselines) if baselines else DenseBaselines(threads) as opened:
        contestants = opened.contestants(product) | sparse
        timed = time_interleaved(contestants, repeats=repeats, budget_s=budget_s)
    own = timed.pop("sparse", None) or min(timed.values(), key=lambda dense: dense.median_s)
    return GemmTiming(product, own, timed, issued, threads, clock_of(threads)[0])


def product_of(phase: Phase, packed: PackedTensor, work: int | ConvGeometry) -> Product:
    """The product of a packed weight with so many tokens, or as the convolution it is given."""
    layout = packed.layout
    conv = None if isinstance(work, int) else work
    tokens = work if isinstance(work, int) else work.batch * work.out_hw[0] * work.out_hw[1]
    inputs = layout.taps * packed.shape[1]
    return Product(phase, tokens, layout.outputs, inputs, layout.conv_groups, conv)


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
            works = list(batches) if shape.conv is None else [shape.conv]
            for packed in _packed_layers(shape, parsed):
                for work in works:
                    timing = time_gemm(
                        product_of(Phase.FF, packed, work), packed,
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
    weight = np.random.default_rng(0).standard_normal(shape.weight_shape, np.float32)
    for pattern in patterns:
        try:
            yield pack(weight, pattern, axis=1)
        except PatternError:
            continue


def _sparse_contestant(
    packed: PackedTensor, product: Product, threads: int
) -> tuple[Callable[[], float], int]:
    """A function that takes one sample of the sparse kernel, and its multiply-accumulates."""
    from kernels import cpu

    axes = {Phase.FF: 1, Phase.BP: 0}
    if axes.get(product.phase) != packed.axis:
        raise UnsupportedError(
            f"timing {product.phase}: expected a weight packed for FF (axis 1) or BP (axis 0), "
            f"got axis {packed.axis}"
        )
    prepared = cpu.prepare(packed)
    call = partial(_sparse_call(prepared, product), threads=threads)
    return partial(sample_s, call, threads), prepared.products_per_token * product.tokens


def _sparse_call(prepared: Any, product: Product) -> Callable[..., Array]:
    from kernels import cpu

    random, layout = np.random.default_rng(0), prepared.layout
    channels, conv = layout.conv_groups * layout.reduction, product.conv
    if conv is None:
        x = random.standard_normal((product.tokens, channels), np.float32)
        return partial(cpu.matmul, prepared, x)
    forward = product.phase == Phase.FF
    hw = conv.in_hw if forward else conv.out_hw
    images = random.standard_normal((conv.batch, channels, *hw), np.float32)
    steps: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
    }
    if forward:
        return partial(cpu.conv2d, prepared, images, **steps)
    return partial(cpu.conv2d_input_gradient, prepared, images, conv.in_hw, **steps)
