"""Timing sparse CPU kernels against named dense baselines of the same run.

Samples of all contestants are interleaved and reported as medians with their range: CPU time for one
thread, wall time for more (on shared machines wall time includes what others take). The baseline
of a ratio is the fastest dense contestant of that product.

Preparing a weight is in no time, sparse or dense. The rest is: a linear layer goes from (tokens, in)
to (tokens, out), and a convolution from images to images, with im2col, layouts and their undoing.
WU has no sparse kernel: its time is the dense one.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from ..spec import (
    ConvGeometry,
    PackedTensor,
    Phase,
    UnsupportedError,
)
from ..spec.dtypes import Array
from .dense_baselines import DenseBaselines
from .dense_worker import clock_of, sample_s
from .provenance import machine, versions
from .timing import GemmTiming, Product, Timed, time_interleaved


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


def describe_machine(baselines: DenseBaselines) -> dict[str, Any]:
    """Processor, environment pins, versions, and what each OpenBLAS process found."""
    return {**machine(), "versions": versions(), "openblas": baselines.libraries()}


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
