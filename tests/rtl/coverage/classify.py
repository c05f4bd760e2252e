"""The bins of the plan that one case meets."""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any
from unittest import mock

import numpy as np

from hwsim.accesses import Job
from hwsim.config import AcceleratorConfig
from hwsim.constants import MATMUL_START_CYCLES
from hwsim.engine.fold import fold_plans
from hwsim.engine.walk import Walk
from hwsim.isa import Flow, Lhs
from hwsim.machine.state import State
from hwsim.machine.stce import matmul
from tests.rtl.matmuls import Case

from .plan import PACKINGS, PRODUCTS, VECTORS, Bin

_CANCELLED = np.float32(2.0**-8)
_SUBNORMAL = np.float32(2.0**-14)


def product_bins(case: Case, config: AcceleratorConfig) -> Iterator[Bin]:
    """Of a MATMUL; nothing for a pattern that is not in the plan. case.pads: before it ran."""
    registers = case.registers
    pattern = _pattern(registers)
    if pattern not in PRODUCTS.axes["pattern"]:
        return iter(())
    flow = Flow(registers["flow"]).name
    edges, stalls = _edges(registers, config), _stalls(case, config)
    axes = ({pattern}, {flow}, {_phase(registers)}, edges, stalls, _numbers(case, config))
    return ((PRODUCTS.name, *values) for values in product(*axes))


def _pattern(registers: dict[str, int]) -> str:
    if registers["use_table"]:
        return "blocks"
    return f"{registers['n']}:{registers['m']}" if registers["packed"] else "dense"


def _phase(registers: dict[str, int]) -> str:
    if registers["lhs"] == Lhs.COLUMN:
        return "WU"
    return "BP" if min(registers["step_y"], registers["step_x"]) < 0 else "FF"


def _edges(registers: dict[str, int], config: AcceleratorConfig) -> set[str]:
    walk = Walk.of(registers, config)
    rows, depth = (walk.channels, walk.tokens) if walk.column_lhs else (walk.tokens, walk.channels)
    height = walk.ir * config.rows if walk.flow is Flow.OS else walk.ir
    cut = {
        "rows": rows % height,
        "columns": walk.columns % (walk.ic * config.cols),
        "group": depth % (walk.m if walk.packed else config.chunk),
    }
    return {name for name, rest in cut.items() if rest} or {"whole"}


def _stalls(case: Case, config: AcceleratorConfig) -> set[str]:
    """What holds the array up between its first entry and its last."""
    walk = Walk.of(case.registers, config)
    if walk.flow is Flow.OS:
        first = walk.chunks()[0].fill_cycles
        tail = config.rows + config.cols - 2 + config.mul_latency + config.add_latency
        drain = case.stalls["drain"] > tail + config.rows * walk.ic * walk.ir
    else:
        plans = fold_plans(walk)
        first = plans[0].load_cycles
        drain = any(one.spacing(two) > one.work(two).cycles for one, two in pairwise(plans))
    kinds = {
        "data": case.stalls["data"] > MATMUL_START_CYCLES + first,
        "adder": case.stalls["adder"] > 0,
        "drain": drain,
    }
    return {name for name, holds in kinds.items() if holds} or {"none"}


def _numbers(case: Case, config: AcceleratorConfig) -> set[str]:
    """Kinds of the operands that the products take, and whether a sum cancels."""
    found: set[str] = set()

    def add(panel: Any, positions: Any, values: Any, sums: Any) -> None:
        found.update(kinds(panel, _SUBNORMAL), kinds(values, _SUBNORMAL))
        with np.errstate(all="ignore"):
            for entry in range(values.shape[1]):
                terms = values[:, entry, None] * panel[positions[:, entry]]
                before = sums.copy()
                sums += terms
                if _cancels(before, terms, sums):
                    found.add("cancellation")

    before = case.pads.acc.bits.copy()
    with mock.patch("hwsim.machine.products.add_products", add):
        matmul(
            State(np.zeros(16, np.uint8), case.pads), Job(case.instruction, case.registers, config)
        )
    assert (case.pads.acc.bits == case.expected).all(), "the sums are not those of the machine"
    case.pads.acc.bits[:] = before
    return found


def _cancels(before: Any, terms: Any, after: Any) -> bool:
    usual = np.isfinite(before) & np.isfinite(terms) & (before != 0) & (terms != 0)
    return bool((usual & (abs(after) < _CANCELLED * abs(before))).any())


def kinds(values: Any, smallest_normal: Any) -> set[str]:
    """Kinds of numbers in an array of floats."""
    size = abs(values)
    found = {
        "NaN": np.isnan(values),
        "infinity": np.isinf(values),
        "zero": size == 0,
        "subnormal": (size > 0) & (size < smallest_normal),
        "normal": (size >= smallest_normal) & np.isfinite(values),
    }
    return {name for name, where in found.items() if where.any()}


def packing_bins(
    registers: dict[str, int], weights: Any, config: AcceleratorConfig
) -> Iterator[Bin]:
    """Of a PRUNE. weights: FP16 bits, (lanes, K), groups along K."""
    n, m = registers["n"], registers["m"]
    pattern = "n = m" if n == m else f"{n}:{m}"
    if pattern not in PACKINGS.axes["pattern"]:
        return iter(())
    lanes, depth = weights.shape
    cut = {"lanes": lanes % config.sore_lanes, "group": depth % m}
    edges = {name for name, rest in cut.items() if rest} or {"whole"}
    numbers = kinds(weights.view(np.float16).astype(np.float32), _SUBNORMAL)
    if _ties(weights & 0x7FFF, n, m):
        numbers.add("tie")
    copy = "BP" if registers["transpose"] else "FF"
    return ((PACKINGS.name, *values) for values in product({pattern}, {copy}, edges, numbers))


def _ties(magnitudes: Any, n: int, m: int) -> bool:
    """Whether in some group the last entry that is kept and the first that is not have one magnitude."""
    if n == m:
        return False
    canonical = np.where(magnitudes > 0x7C00, 0x7E00, magnitudes)
    padded = np.pad(canonical, ((0, 0), (0, -canonical.shape[1] % m)))
    ranked = np.sort(padded.reshape(len(padded), -1, m), axis=2)[:, :, ::-1]
    return bool((ranked[:, :, n - 1] == ranked[:, :, n]).any())


def vector_bins(operation: str, operands: list[Any], results: list[Any]) -> set[Bin]:
    """Of an UPDATE or VECTOR. results: of one type, float16 or float32."""
    result = np.concatenate(results)
    half = result.dtype == np.float16
    numbers = kinds(result, _SUBNORMAL if half else np.finfo(np.float32).smallest_normal)
    finite = all(np.isfinite(each).all() for each in operands)
    if finite and numbers & {"infinity", "NaN"}:
        numbers.add("overflow")
    kind = "FP16" if half else "FP32"
    return {(VECTORS.name, operation, kind, number) for number in numbers}
