"""Cut, compile, run and compare the product of a layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

import numpy as np

from cosparse.spec import BlockTensor, Dense, Phase
from hwsim import engine
from hwsim.accesses import Access, Job, accesses, transfer_bytes
from hwsim.banks import Banks
from hwsim.compile.block_rows import block_nests
from hwsim.compile.blocking import INTERLEAVES, fits, set_blocks
from hwsim.compile.emit import emit
from hwsim.compile.evaluate import evaluate_programs, shape_vector
from hwsim.compile.images import build, result, result_span
from hwsim.compile.lower import gemm_nests
from hwsim.compile.strips import split_width
from hwsim.isa import Flow, Op, Unit
from hwsim.legality import require_legal
from hwsim.machine import Memory, run
from hwsim.timing import cycles

BLOCK_BYTES = (256, 1024, 4096, 16384, 131072)
"""Limits of an operand's block."""

UNWRITTEN = 0xFF
"""Byte that fills the result before the run: NaN in FP16 and FP32."""


@dataclass(frozen=True)
class Tiling:
    """How a product is cut; the compiler's own loop order where `order` is None.

    strips: of columns, into which token rows are split first.
    """

    flow: int
    interleave: tuple[int, int]
    block_bytes: int
    order: int | None = None
    strips: int = 1


@dataclass(frozen=True)
class Cut:
    """whole: nests as they are lowered, which say where the operands lie. nests: as they run."""

    whole: Any
    nests: Any


TILINGS = tuple(
    Tiling(*choice) for choice in product(Flow, INTERLEAVES, BLOCK_BYTES, (None, 0, 1), (1, 2))
)
MIXED_TILINGS = tuple(Random(0).sample(TILINGS, len(TILINGS)))
"""All of them, so that the first few differ in everything."""


def nests_of(case, config):
    """Uncut."""
    if isinstance(case.right, BlockTensor):
        return block_nests(case.gemm, case.right, config)
    return gemm_nests(case.gemm, config, flat=case.flat)


def cut(case, config, tiling: Tiling) -> Cut | None:
    """The case cut in this way, or None where it does not fit."""
    whole, shape = nests_of(case, config), shape_vector(config)
    weights = case.gemm.phase is not Phase.WU
    nests = split_width(whole, tiling.strips) if weights else whole.copy()
    for nest in nests:
        nest["flow"] = tiling.flow if weights and nest["segments"] == 0 else Flow.OS
        if not set_blocks(nest, *tiling.interleave, tiling.block_bytes, shape):
            return None
        if not fits(nest, shape, config.interleave):
            return None
        if tiling.order is not None:
            nest["order"] = tiling.order
    return Cut(whole, nests)


def cuts(case, config, limit: int = len(TILINGS)) -> list[Cut]:
    """The different ways in which the case can be cut, up to `limit` of them."""
    found: dict[bytes, Cut] = {}
    for tiling in MIXED_TILINGS:
        made = cut(case, config, tiling)
        if made is not None:
            found.setdefault(made.nests.tobytes(), made)
        if len(found) == limit:
            break
    return list(found.values())


def check_bits(case, made: Cut, config, expected) -> None:
    """Legal; the expected bits and flag, padding +0; nothing outside the result is touched."""
    program = emit(made.nests, config)
    image = build(case.gemm, made.whole, case.left, case.right, flat=case.flat).image.copy()
    span = result_span(case.gemm, made.whole, flat=case.flat)
    image[span.start : span.stop] = UNWRITTEN
    require_legal(program, config, len(image))
    after = run(program, config, Memory(image))
    got = result(case.gemm, made.whole, after.memory, flat=case.flat)
    np.testing.assert_array_equal(bits_of(got), bits_of(expected), strict=True)
    finite = bool(np.isfinite(expected).all())
    assert after.nonfinite == (expected.dtype == np.float16 and not finite)
    stored = after.memory.image[span.start : span.stop]
    assert not finite or not padding_of(case, stored).any()
    image[span.start : span.stop] = stored
    assert (after.memory.image == image).all()
    assert all(
        access.first in span and access.last in span
        for op, _, access in transfers_of(program, config)
        if op is Op.STORE
    )


def padding_of(case, stored: np.ndarray) -> np.ndarray:
    """Lanes of the stored result past its channels; none of WU, which leaves parts unwritten."""
    gemm = case.gemm
    if gemm.phase is Phase.WU:
        return stored[:0]
    transposed = not isinstance(gemm.lhs.pattern, Dense)
    rows, used = (gemm.n, gemm.m) if transposed else (gemm.batch * gemm.m, gemm.groups * gemm.n)
    return stored.view(np.uint16).reshape(rows, -1)[:, used:]


def bits_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


def check_time(made: Cut, config) -> None:
    """Engine, timing of the program and timing of the tiled layer agree; so do the bytes."""
    program = emit(made.nests, config)
    trace = engine.run(program, config, trace=False)
    counted = evaluate_programs([made.nests], config)[0]
    assert trace.cycles == cycles(program, config) == counted[0]
    moved = (trace.dram_bytes_read, trace.dram_bytes_written)
    assert moved == tuple(counted[1:3]) == program_bytes(program, config)
    assert len(program) == counted[4] + 1


def program_bytes(program, config) -> tuple[int, int]:
    """DRAM bytes that the program's LOADs and STOREs name."""
    moved = {Op.LOAD: 0, Op.STORE: 0}
    for op, registers, _ in transfers_of(program, config):
        moved[op] += transfer_bytes(registers)
    return moved[Op.LOAD], moved[Op.STORE]


def transfers_of(program, config) -> Iterator[tuple[Op, Mapping[str, int], Access]]:
    """Op, registers and DRAM side of every LOAD and STORE."""
    banks = Banks(Unit.DMA)
    for instruction in program:
        if instruction.op is Op.CONFIG and instruction.unit is Unit.DMA:
            banks.write(instruction)
        elif instruction.op in (Op.LOAD, Op.STORE):
            registers = banks.read(instruction.args["bank"])
            dram = accesses(Job(instruction, registers, config))[0]
            yield instruction.op, registers, dram
