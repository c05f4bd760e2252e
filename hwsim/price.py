"""Price a workload: cycles and bytes of every operation, under the fastest schedule for each.

A GEMM's cycles are max(compute, bandwidth) + the DRAM latency before its first word + the pass of
SORE where an operand is pruned online. Vector work is a streaming bound and tagged modelled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cosparse.spec import Gemm, Kind, Phase, UnsupportedError, Vector, Workload
from cosparse.spec.errors import unknown_name

from .config import AcceleratorConfig
from .constants import VALUE_BYTES
from .dram import transfer_cycles
from .product import Product, to_product
from .schedule import DATAFLOWS, Schedule
from .tiles import Interleave, ceil_div, interleaves


@dataclass(frozen=True)
class LayerTiming:
    """One operation on the accelerator.

    kind: simulated (GEMMs) or modelled (vector work). compute_cycles and bandwidth_cycles: the
    array's or lanes' time and the memory's, which overlap; prune_cycles: SORE's, before them.
    utilisation: issued MACs / (R * C * cycles). partial_sum_bytes: traffic of the accumulator banks.
    candidates: for each dataflow the cycles of its best schedule, or why it cannot run.
    """

    name: str
    phase: Phase
    kind: Kind
    dataflow: str | None
    interleave: Interleave | None
    cycles: int
    compute_cycles: int
    bandwidth_cycles: int
    prune_cycles: int
    macs: int
    issued_macs: int
    dram_bytes: int
    partial_sum_bytes: int
    utilisation: float
    candidates: Mapping[str, int | str]

    @property
    def bound(self) -> str:
        """What limits the time: "compute" or "bandwidth"."""
        return "compute" if self.compute_cycles >= self.bandwidth_cycles else "bandwidth"


def price(
    workload: Workload, config: AcceleratorConfig, *, dataflows: Sequence[str] = tuple(DATAFLOWS)
) -> list[LayerTiming]:
    """Timings in the workload's order, each GEMM under the fastest of `dataflows` (a tie goes to OS).

    Raises UnsupportedError for an unknown dataflow and for a GEMM that the accelerator refuses.
    """
    for dataflow in dataflows:
        if dataflow not in DATAFLOWS:
            raise UnsupportedError(unknown_name("dataflow", dataflow, DATAFLOWS))
    ordered = [dataflow for dataflow in DATAFLOWS if dataflow in dataflows]
    return [
        price_gemm(op, config, ordered) if isinstance(op, Gemm) else price_vector(op, config)
        for op in workload.ops
    ]


def total(timings: Iterable[LayerTiming], phase: Phase | None = None) -> int:
    """Cycles of all operations, or of one phase's. Operations run one after the other."""
    return sum(timing.cycles for timing in timings if phase is None or timing.phase is phase)


def price_gemm(gemm: Gemm, config: AcceleratorConfig, dataflows: Sequence[str]) -> LayerTiming:
    """The fastest schedule of one GEMM. Raises UnsupportedError where none may run it."""
    if gemm.macs == 0:
        return _empty(gemm)
    product = to_product(gemm, config)
    best: dict[str, Schedule] = {}
    refused: dict[str, str] = {}
    for dataflow in dataflows:
        reason = _dataflow_limit(gemm, dataflow)
        if reason is None:
            best[dataflow] = _fastest(dataflow, product, config)
        else:
            refused[dataflow] = reason
    if not best:
        reasons = "; ".join(refused.values()) or "no dataflow given"
        raise UnsupportedError(f"{gemm.phase} of '{gemm.name}' on {config.name}: {reasons}")
    return _timing(gemm, product, best, refused, config)


def price_vector(op: Vector, config: AcceleratorConfig) -> LayerTiming:
    """max(elements / lanes, bytes / bandwidth): SORE's lanes for PRUNE, WUVE's for everything else.

    SORE takes one value a lane and cycle, M cycles a group.
    """
    lanes = config.sore_lanes if op.phase is Phase.PRUNE else config.wuve_lanes
    compute = ceil_div(op.elements, lanes)
    bandwidth = transfer_cycles(op.bytes, config)
    start = config.dram_latency_cycles if op.elements or op.bytes else 0
    return LayerTiming(
        name=op.name,
        phase=op.phase,
        kind=Kind.MODELLED,
        dataflow=None,
        interleave=None,
        cycles=max(compute, bandwidth) + start,
        compute_cycles=compute,
        bandwidth_cycles=bandwidth,
        prune_cycles=0,
        macs=0,
        issued_macs=0,
        dram_bytes=op.bytes,
        partial_sum_bytes=0,
        utilisation=0.0,
        candidates={},
    )


def _dataflow_limit(gemm: Gemm, dataflow: str) -> str | None:
    if dataflow == "WS" and gemm.phase is Phase.WU:
        return "WU is OS only: both of its operands change with every sample"
    return None


def _fastest(dataflow: str, product: Product, config: AcceleratorConfig) -> Schedule:
    """Ties: less traffic, then fewer interleaved outputs."""
    schedules = (
        schedule
        for interleave in interleaves(config)
        for schedule in DATAFLOWS[dataflow](product, interleave, config)
    )
    return min(schedules, key=lambda s: (s.cycles, s.dram_bytes, s.interleave.slots))


def _prune_cost(product: Product, config: AcceleratorConfig) -> tuple[int, int]:
    """(cycles, bytes) of pruning the left operand: read dense, selected by SORE, written packed."""
    if not product.online_elements:
        return 0, 0
    moved = product.count * (product.online_elements * VALUE_BYTES + product.lhs_bytes)
    selected = ceil_div(product.count * product.online_elements, config.sore_lanes)
    return max(selected, transfer_cycles(moved, config)), moved


def _timing(
    gemm: Gemm,
    product: Product,
    best: Mapping[str, Schedule],
    refused: Mapping[str, str],
    config: AcceleratorConfig,
) -> LayerTiming:
    chosen = min(best.values(), key=lambda schedule: schedule.cycles)
    prune_cycles, prune_bytes = _prune_cost(product, config)
    beside = prune_cycles + config.dram_latency_cycles
    cycles = chosen.cycles + beside
    return LayerTiming(
        name=gemm.name,
        phase=gemm.phase,
        kind=Kind.SIMULATED,
        dataflow=chosen.dataflow,
        interleave=chosen.interleave,
        cycles=cycles,
        compute_cycles=chosen.compute_cycles,
        bandwidth_cycles=chosen.bandwidth_cycles,
        prune_cycles=prune_cycles,
        macs=gemm.macs,
        issued_macs=gemm.issued_macs,
        dram_bytes=chosen.dram_bytes + prune_bytes,
        partial_sum_bytes=chosen.partial_sum_bytes,
        utilisation=gemm.issued_macs / (config.rows * config.cols * cycles),
        candidates={**{name: s.cycles + beside for name, s in best.items()}, **refused},
    )


def _empty(gemm: Gemm) -> LayerTiming:
    """A product without MACs takes no time."""
    return LayerTiming(
        gemm.name, gemm.phase, Kind.SIMULATED, None, None, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, {}
    )
