"""Which dataflow wins for which shape of matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

from cosparse.spec import Gemm, Workload
from hwsim import LayerTiming


@dataclass(frozen=True)
class DataflowCell:
    """One shape. gain: cycles of the best other dataflow over the winner's; None without another."""

    phase: str
    m: int
    k: int
    n: int
    pattern: str
    winner: str
    cycles: int
    gain: float | None
    products: int
    """How many products of the step have this shape."""


def dataflow_map(workload: Workload, timings: Sequence[LayerTiming]) -> list[DataflowCell]:
    """The distinct shapes of a step's products, the largest first. timings: of the same workload."""
    cells: dict[tuple[str, int, int, int, str], DataflowCell] = {}
    for op, timing in zip(workload.ops, timings, strict=True):
        if not isinstance(op, Gemm) or timing.dataflow is None:
            continue
        key = (op.phase.value, op.m, op.k, op.n, str(op.rhs.pattern))
        products = 1 + (cells[key].products if key in cells else 0)
        cells[key] = DataflowCell(*key, timing.dataflow, timing.cycles, _gain(timing), products)
    return sorted(cells.values(), key=lambda cell: -cell.m * cell.k * cell.n)


def _gain(timing: LayerTiming) -> float | None:
    others = [
        cycles
        for name, cycles in timing.candidates.items()
        if name != timing.dataflow and isinstance(cycles, int)
    ]
    return min(others) / timing.cycles if others else None
