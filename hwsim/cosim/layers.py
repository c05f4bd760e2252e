"""The programs of a training step, each with operands in DRAM: what `cosparse cosim` gives to the RTL.

Products run under the schedule that `price` takes, updates with the packing of their copies, and SDGP's
gradients are packed by a program before their product. What a weight holds is the caller's; everything else
is random, FP16 of mixed sizes with some zeros.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cosparse.spec import (
    Block,
    BlockTensor,
    Dense,
    Gemm,
    Phase,
    UnsupportedError,
    Workload,
    pack,
)
from cosparse.spec.dtypes import Array

from ..compile.block_rows import block_nests
from ..compile.emit import emit
from ..compile.images import Operand, build, operand_shapes, result_span
from ..compile.lower import gemm_nests
from ..compile.nest import Nests
from ..compile.passes import Pass, emit_pass
from ..compile.search import fastest
from ..compile.weights import MASTERS
from ..config import AcceleratorConfig
from ..isa import Flow
from ..pricing import PlannedProduct, gradient_passes, plan_products, weight_passes
from ..program import Program

MAX_INSTRUCTIONS = 200_000
"""Of a program: the benches' instruction memory has 4 MiB."""

MAX_BYTES = 1 << 28
"""Of a program's DRAM image."""

UNWRITTEN = 0xFF
"""Byte that fills a result before the run: NaN in FP16 and FP32."""

Weights = Callable[[Gemm], Operand | None]
"""The right operand of FF or BP, packed where the product has a pattern; None: a random one."""


@dataclass(frozen=True, eq=False)
class LayerProgram:
    """One program of a step. what: a product's pattern, a pass's name; cycles: of the timing model.

    make: the program and its DRAM image.
    """

    name: str
    phase: str
    what: str
    dataflow: str | None
    cycles: int
    instructions: int
    dram_bytes: int
    make: Callable[[], tuple[Program, Array]]

    @property
    def key(self) -> str:
        """LAYER:PHASE."""
        return f"{self.name}:{self.phase}"


@dataclass(frozen=True)
class LeftOut:
    """A program that does not run here, and why."""

    name: str
    phase: str
    why: str


def random_weights(gemm: Gemm) -> None:
    """No weights: all operands are random."""


def step_programs(
    workload: Workload,
    config: AcceleratorConfig,
    weights: Weights = random_weights,
    seed: int = 0,
) -> Iterator[LayerProgram | LeftOut]:
    """Every program of a step in its order, updates last; programs of nothing are skipped."""
    plan = plan_products(workload, config)
    for gemm in workload.gemms:
        if gemm.macs:
            yield from _of_gemm(gemm, plan, config, weights, seed)
    try:
        for name, pass_ in weight_passes(workload, config).items():
            yield _of_pass(name, Phase.UPDATE, pass_, seed)
    except UnsupportedError as error:
        yield LeftOut("every weight", Phase.UPDATE, str(error))


def _of_gemm(
    gemm: Gemm,
    plan: Callable[[Gemm], PlannedProduct],
    config: AcceleratorConfig,
    weights: Weights,
    seed: int,
) -> Iterator[LayerProgram | LeftOut]:
    try:
        if isinstance(gemm.rhs.pattern, Block):
            yield _of_blocks(gemm, config, weights, seed)
            return
        for number, pass_ in enumerate(gradient_passes(gemm, config)):
            yield _of_pass(gemm.name, f"{gemm.phase} pass {number + 1}", pass_, seed)
        yield _of_product(plan(gemm), config, weights, seed)
    except UnsupportedError as error:
        yield LeftOut(gemm.name, gemm.phase, str(error))


def _of_product(
    planned: PlannedProduct, config: AcceleratorConfig, weights: Weights, seed: int
) -> LayerProgram:
    gemm, schedule = planned.gemm, planned.schedule
    whole = gemm_nests(gemm, config, flat=planned.flat)

    def make() -> tuple[Program, Array]:
        rng = _rng(gemm.name, gemm.phase, seed)
        right = _right(gemm, rng, weights)
        image = _image(gemm, whole, rng, right, flat=planned.flat)
        return emit(schedule.nests, config, f"{gemm.name}:{gemm.phase}"), image

    return LayerProgram(
        name=gemm.name,
        phase=gemm.phase,
        what=_pattern(gemm),
        dataflow=schedule.dataflow,
        cycles=schedule.cycles,
        instructions=schedule.instructions + 1,
        dram_bytes=result_span(gemm, whole, flat=planned.flat).stop,
        make=make,
    )


def _of_blocks(gemm: Gemm, config: AcceleratorConfig, weights: Weights, seed: int) -> LayerProgram:
    """The blocks of this very weight decide what the program does."""
    right = _right(gemm, _rng(gemm.name, gemm.phase, seed), weights)
    assert isinstance(right, BlockTensor)
    whole = block_nests(gemm, right, config)
    best = fastest(whole, Flow.OS, config)
    if best is None:
        raise UnsupportedError(f"{gemm.phase} of '{gemm.name}': no tiling fits the scratchpads")
    nests, counters = best
    program = emit(nests, config, f"{gemm.name}:{gemm.phase}")

    def make() -> tuple[Program, Array]:
        rng = _rng(gemm.name, f"{gemm.phase} left", seed)
        return program, _image(gemm, whole, rng, right, flat=False)

    return LayerProgram(
        name=gemm.name,
        phase=gemm.phase,
        what=_pattern(gemm),
        dataflow=Flow.OS.name,
        cycles=counters[0],
        instructions=len(program),
        dram_bytes=result_span(gemm, whole).stop,
        make=make,
    )


def _of_pass(name: str, phase: str, pass_: Pass, seed: int) -> LayerProgram:
    return LayerProgram(
        name=name,
        phase=phase,
        what=pass_.name,
        dataflow=None,
        cycles=pass_.cycles,
        instructions=pass_.counters["instructions"] + 1,
        dram_bytes=pass_.size_bytes,
        make=lambda: pass_case(pass_, _rng(name, phase, seed)),
    )


def pass_case(pass_: Pass, rng: np.random.Generator) -> tuple[Program, Array]:
    """Masters are FP32, everything else FP16; what the pass writes is overwritten."""
    ordered = sorted(pass_.addresses.items(), key=lambda item: item[1])
    ends = [*(start for _, start in ordered[1:]), pass_.size_bytes]
    image = np.zeros(-(-pass_.size_bytes // 16) * 16, np.uint8)
    for (name, start), end in zip(ordered, ends, strict=True):
        kind = np.float32 if name in MASTERS else np.float16
        count = (end - start) // np.dtype(kind).itemsize
        image[start:end] = halves(rng, (count,)).astype(kind).view(np.uint8)
    return emit_pass(pass_), image


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """FP16 of mixed sizes, some of them +0 and -0."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-4, 2, shape))
    values[rng.random(shape) < 0.05] = 0
    values[rng.random(shape) < 0.02] = -0.0
    return values.astype(np.float16)


def _image(
    gemm: Gemm, whole: Nests, rng: np.random.Generator, right: Operand, *, flat: bool
) -> Array:
    left, _ = operand_shapes(gemm)
    image = build(gemm, whole, halves(rng, left), right, flat=flat).image.copy()
    span = result_span(gemm, whole, flat=flat)
    image[span.start : span.stop] = UNWRITTEN
    return image


def _right(gemm: Gemm, rng: np.random.Generator, weights: Weights) -> Operand:
    """The given weight where it has the product's shape, else random values; packed for the phase."""
    _, shape = operand_shapes(gemm)
    given = weights(gemm) if gemm.phase is not Phase.WU else None
    if given is not None and given.shape == shape:
        return given
    values, pattern = halves(rng, shape), gemm.rhs.pattern
    if isinstance(pattern, Dense):
        return values
    axis = 0 if gemm.phase is Phase.BP else 1
    return pack(values, pattern, axis=axis, conv_groups=gemm.groups)


def _pattern(gemm: Gemm) -> str:
    operand = gemm.sparse_operand
    return "dense" if operand is None else str(operand.pattern)


def _rng(name: str, phase: str, seed: int) -> np.random.Generator:
    """A stream of its own for each program, so that choosing some of them changes no operand."""
    return np.random.default_rng((zlib.crc32(f"{name}:{phase}".encode()), seed))
