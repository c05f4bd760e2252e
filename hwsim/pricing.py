"""Price a workload: exact cycles of every operation's program, under the fastest schedule for each.

Matrix products, the SGD update with both packed copies, and online pruning are programs of the
accelerator (simulated). Everything else is a streaming bound (modelled). Each operation is a program
of its own and runs alone; its cycles include start, drain and HALT.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat

from cosparse.spec import (
    NM,
    Block,
    Dense,
    Gemm,
    Kind,
    Pattern,
    Phase,
    UnsupportedError,
    Vector,
    Workload,
)
from cosparse.spec.errors import unknown_name

from .compile.counts import count
from .compile.passes import (
    Pass,
    PassSearch,
    conv_gradient_search,
    gradient_search,
    prune_search,
    transpose_search,
    update_pass,
    update_search,
)
from .compile.sections import Cost
from .config import AcceleratorConfig
from .constants import INSTRUCTION_BYTES, VALUE_BYTES
from .dram import ceil_div, transfer_cycles
from .energy import EventCounts
from .schedule import Schedule, schedules
from .support import DATAFLOWS


@dataclass(frozen=True)
class Interleave:
    """Outputs that one PE works on in turn: `columns` (Ic) times `rows` (Ir)."""

    columns: int
    rows: int


@dataclass(frozen=True)
class LayerTiming:
    """One operation on the accelerator.

    kind: simulated or modelled. cycles: of its program, array_cycles: the MATMULs' durations,
    bandwidth_cycles: the least that the memory needs for its bytes; the two overlap. prune_cycles:
    SORE's passes before (and after) the product. utilisation: issued MACs / (R * C * cycles).
    array: PE-cycles of the array by cause, which sum to R * C * array_cycles.
    candidates: for each dataflow the cycles of its best schedule, or why it cannot run.
    """

    name: str
    phase: Phase
    kind: Kind
    cycles: int
    bandwidth_cycles: int
    dram_bytes: int
    dataflow: str | None = None
    interleave: Interleave | None = None
    array_cycles: int = 0
    prune_cycles: int = 0
    macs: int = 0
    issued_macs: int = 0
    utilisation: float = 0.0
    array: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[str, int | str] = field(default_factory=dict)
    events: EventCounts = EventCounts()

    @property
    def bound(self) -> str:
        """What limits the time: "compute" or "bandwidth"."""
        return "compute" if self.array_cycles >= self.bandwidth_cycles else "bandwidth"


def price(
    workload: Workload,
    config: AcceleratorConfig,
    *,
    dataflows: Sequence[str] = tuple(DATAFLOWS),
    fallback: str | None = None,
    pregenerate: bool = True,
) -> list[LayerTiming]:
    """Timings in the workload's order, each GEMM under the fastest of `dataflows` (a tie goes to OS).

    fallback: the dataflow of products that run in none of `dataflows`. pregenerate: whether the packed
    copies are made with the update, or by a pass over the FP16 weight before each phase that reads one.
    Raises UnsupportedError for an unknown dataflow and for a GEMM that the accelerator refuses.
    """
    for dataflow in (*dataflows, *([fallback] if fallback else [])):
        if dataflow not in DATAFLOWS:
            raise UnsupportedError(unknown_name("dataflow", dataflow, DATAFLOWS))
    pricer = _Pricer(workload, config, dataflows, fallback, pregenerate)
    return [pricer.timing(op) for op in workload.ops]


def total(timings: Iterable[LayerTiming], phase: Phase | None = None) -> int:
    """Cycles of all operations, or of one phase's. Operations run one after the other."""
    return sum(timing.cycles for timing in timings if phase is None or timing.phase is phase)


def product_schedules(
    workload: Workload, config: AcceleratorConfig, gemm: Gemm
) -> dict[str, Schedule]:
    """The fastest schedule of one product in each dataflow. Raises UnsupportedError where none runs it."""
    return _Pricer(workload, config, tuple(DATAFLOWS), None, True).schedules(gemm)[0]


def is_flat(workload: Workload, config: AcceleratorConfig, gemm: Gemm) -> bool:
    """Whether a convolution's input lies in memory as an im2col matrix: the host stores a stem's."""
    return gemm.name in input_products(workload) and is_narrow(gemm, config)


@dataclass(frozen=True)
class PlannedProduct:
    """A product under its fastest schedule. flat: its im2col matrix lies in memory."""

    gemm: Gemm
    schedule: Schedule
    flat: bool


def plan_products(
    workload: Workload, config: AcceleratorConfig
) -> Callable[[Gemm], PlannedProduct]:
    """What plans a product of the workload as `price` does; equal products are scheduled once.

    It raises UnsupportedError where the accelerator refuses the product in every dataflow.
    """

    @cache
    def fastest(gemm: Gemm, flat: bool) -> Schedule:
        found, refused = schedules(gemm, config, tuple(DATAFLOWS), flat=flat)
        if not found:
            raise UnsupportedError("; ".join(f"{name}: {why}" for name, why in refused.items()))
        return min(found.values(), key=lambda one: one.cycles)

    def plan(gemm: Gemm) -> PlannedProduct:
        flat = is_flat(workload, config, gemm)
        return PlannedProduct(gemm, fastest(anonymous_product(gemm), flat), flat)

    return plan


def weight_passes(workload: Workload, config: AcceleratorConfig) -> dict[str, Pass]:
    """The update of each trained weight with the packing of its copies, by the weight's name."""
    weights = trained_weights(workload, True)
    return {
        op.name: update_pass(weight.shape, weight.conv_groups, weight.ff, weight.bp, config)
        for op in workload.vectors
        if op.phase is Phase.UPDATE and (weight := weights.get(op.name)) is not None
    }


class _Pricer:
    """Prices the operations of one workload; equal products are scheduled once."""

    def __init__(
        self,
        workload: Workload,
        config: AcceleratorConfig,
        dataflows: Sequence[str],
        fallback: str | None,
        pregenerate: bool,
    ) -> None:
        self._config = config
        self._dataflows = [name for name in DATAFLOWS if name in dataflows]
        self._fallback = [] if fallback is None else [fallback]
        self._stems = input_products(workload)
        self._weights = trained_weights(workload, pregenerate)
        self._known: dict[Gemm, LayerTiming] = {}
        self._passes = PassSearches()

    def timing(self, op: Gemm | Vector) -> LayerTiming:
        """One operation."""
        if isinstance(op, Gemm):
            return self._gemm(op)
        weight = self._weights.get(op.name)
        if weight is not None and op.phase in (Phase.UPDATE, Phase.PRUNE):
            costs = [one.cost_on(self._config) for one in self._passes.of(op, weight, self._config)]
            return weight_timing(op, costs, self._config)
        return vector_timing(op, self._config)

    def _gemm(self, gemm: Gemm) -> LayerTiming:
        anonymous = anonymous_product(gemm)
        if anonymous not in self._known:
            self._known[anonymous] = self._schedule(gemm)
        return replace(self._known[anonymous], name=gemm.name)

    def _schedule(self, gemm: Gemm) -> LayerTiming:
        if gemm.macs == 0:
            return LayerTiming(gemm.name, gemm.phase, Kind.SIMULATED, 0, 0, 0)
        return _gemm_timing(gemm, *self.schedules(gemm), self._config)

    def schedules(self, gemm: Gemm) -> tuple[dict[str, Schedule], dict[str, str]]:
        """The fastest schedule in each dataflow, and why others cannot run; at least one can."""
        flat = gemm.name in self._stems and is_narrow(gemm, self._config)
        found, refused = schedules(gemm, self._config, self._dataflows, flat=flat)
        if not found and self._fallback:
            found, refused = schedules(gemm, self._config, self._fallback, flat=flat)
        if found:
            return found, refused
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise UnsupportedError(
            f"{gemm.phase} of '{gemm.name}' on {self._config.name}: {reasons or 'no dataflow given'}"
        )


def anonymous_product(gemm: Gemm) -> Gemm:
    """The same product without names; layers of equal shape share a schedule."""
    lhs, rhs = replace(gemm.lhs, tensor="lhs"), replace(gemm.rhs, tensor="rhs")
    return replace(gemm, name="", lhs=lhs, rhs=rhs)


def input_products(workload: Workload) -> frozenset[str]:
    """Products that read the network's input, which the host prepares: it stores an im2col matrix.

    The first product of the network, unless it has a gradient of its input; and those directly after it
    that are trained without such a gradient, in a step that has both BP and WU.
    """
    order = {
        phase: [gemm.name for gemm in workload.gemms if gemm.phase is phase] for phase in Phase
    }
    trained, passed = set(order[Phase.WU]), set(order[Phase.BP])
    found = set()
    for name in order[Phase.FF] or reversed(order[Phase.WU]):
        if name in passed:
            break
        found.add(name)
        if not passed or name not in trained:
            break
    return frozenset(found)


def is_narrow(gemm: Gemm, config: AcceleratorConfig) -> bool:
    """Whether a dense convolution's channels fill less than half of R rows."""
    if gemm.conv is None or gemm.conv.taps == 1 or gemm.sparse_operand is not None:
        return False
    channels = gemm.m // gemm.conv.taps if gemm.phase is Phase.WU else gemm.channels
    return 2 * channels < config.rows


def _gemm_timing(
    gemm: Gemm,
    found: Mapping[str, Schedule],
    refused: Mapping[str, str],
    config: AcceleratorConfig,
) -> LayerTiming:
    chosen = min(found.values(), key=lambda schedule: schedule.cycles)
    passes = [one.cost_on(config) for one in gradient_searches(gemm, config)]
    beside, moved = sum(one.cycles for one in passes), sum(map(pass_bytes, passes))
    counts = count(chosen.nests, config, chosen.instructions)
    cycles = chosen.cycles + beside
    first = chosen.nests[0]
    return LayerTiming(
        name=gemm.name,
        phase=gemm.phase,
        kind=Kind.SIMULATED,
        cycles=cycles,
        bandwidth_cycles=transfer_cycles(chosen.dram_bytes + moved, config),
        dram_bytes=chosen.dram_bytes + moved,
        dataflow=chosen.dataflow,
        interleave=Interleave(int(first["ic"]), int(first["ir"])),
        array_cycles=chosen.array_cycles,
        prune_cycles=beside,
        macs=gemm.macs,
        issued_macs=gemm.issued_macs,
        utilisation=gemm.issued_macs / (config.rows * config.cols * cycles),
        array=counts.array,
        candidates={**{name: s.cycles + beside for name, s in found.items()}, **refused},
        events=sum((pass_events(one, config) for one in passes), counts.events),
    )


def gradient_passes(gemm: Gemm, config: AcceleratorConfig) -> Iterator[Pass]:
    """Passes of a product whose gradient is pruned online; see `gradient_searches`."""
    return (one.pass_on(config) for one in gradient_searches(gemm, config))


def gradient_searches(gemm: Gemm, config: AcceleratorConfig) -> Iterator[PassSearch]:
    """SDGP: dY packed by SORE before the product, and its result turned back to channels last.

    A convolution's gradient is packed once for each tap, shifted as that tap meets it; with a stride
    there is no program for the shift, so that each tap is charged as a pass over the input's pixels.
    """
    pattern = gemm.lhs.pattern
    if isinstance(pattern, NM):
        if gemm.conv is not None and gemm.conv.stride == (1, 1):
            yield conv_gradient_search(gemm.conv, gemm.channels, pattern, config)
        else:
            yield from repeat(gradient_search(gemm.m, gemm.channels, pattern, config), gemm.taps)
        yield transpose_search(gemm.n, gemm.m, config)


def pass_bytes(one: Cost) -> int:
    """DRAM bytes of a pass."""
    return one.counters["bytes_read"] + one.counters["bytes_written"]


def pass_events(one: Cost, config: AcceleratorConfig) -> EventCounts:
    """A pass moves every byte through a scratchpad once on each side."""
    counters = one.counters
    return EventCounts(
        dram_bytes_read=counters["bytes_read"],
        dram_bytes_written=counters["bytes_written"],
        accumulator_bytes_written=counters["bytes_read"],
        accumulator_bytes_read=counters["bytes_written"],
        instruction_bytes=counters["instructions"] * INSTRUCTION_BYTES,
        sore_values=counters["sore_busy"] * config.sore_lanes,
        wuve_elements=counters["wuve_busy"] * config.wuve_lanes,
    )


@dataclass(frozen=True)
class Weight:
    """One trained weight: its shape, and the pattern of each copy that a product reads."""

    shape: tuple[int, ...]
    conv_groups: int
    ff: Pattern | None
    bp: Pattern | None
    pregenerate: bool


def trained_weights(workload: Workload, pregenerate: bool) -> dict[str, Weight]:
    """By the names of their UPDATE and PRUNE operations; only SGD's update is in the hardware.

    SORE ranks no blocks: what is packed into blocks is left out, and priced as streaming work.
    """
    shapes = {tensor.name: tensor.shape for tensor in workload.tensors}
    readers = {(op.rhs.tensor, op.phase): op for op in workload.gemms}
    found: dict[str, Weight] = {}
    for op in workload.vectors:
        if op.phase is not Phase.UPDATE or op.kind != "sgd_momentum" or op.name not in shapes:
            continue
        read = {phase: readers.get((op.name, phase)) for phase in (Phase.FF, Phase.BP)}
        shape = shapes[op.name]
        if len(shape) < 2 or not any(read.values()):
            continue
        groups = max(gemm.groups for gemm in read.values() if gemm is not None)
        ff, bp = (gemm.rhs.pattern if gemm else None for gemm in read.values())
        if isinstance(ff, Block) or isinstance(bp, Block):
            continue
        weight = Weight(shape, groups, ff, bp, pregenerate)
        found |= dict.fromkeys((op.name, f"{op.name}.FF", f"{op.name}.BP"), weight)
    return found


def weight_timing(op: Vector, costs: Sequence[Cost], config: AcceleratorConfig) -> LayerTiming:
    """UPDATE with the dense copies; PRUNE is what a packed copy adds to it. costs: `PassSearches.of`."""
    after, *others = costs
    cycles, moved, events = after.cycles, pass_bytes(after), pass_events(after, config)
    for before in others:
        cycles, moved = cycles - before.cycles, moved - pass_bytes(before)
        events = _beyond(events, pass_events(before, config))
    return LayerTiming(
        name=op.name,
        phase=op.phase,
        kind=Kind.SIMULATED,
        cycles=cycles,
        bandwidth_cycles=transfer_cycles(max(0, moved), config),
        dram_bytes=moved,
        events=events,
    )


def _beyond(events: EventCounts, others: EventCounts) -> EventCounts:
    """What `events` has more than `others`."""
    mine, theirs = vars(events), vars(others)
    return EventCounts(**{name: max(0, mine[name] - theirs[name]) for name in mine})


class PassSearches:
    """The passes of weights on one configuration, searched once for equal weights."""

    def __init__(self) -> None:
        self._update: Callable[..., PassSearch] = cache(update_search)
        self._prune: Callable[..., PassSearch] = cache(prune_search)

    def of(self, op: Vector, weight: Weight, config: AcceleratorConfig) -> tuple[PassSearch, ...]:
        """The pass that includes `op`; after it the one before `op` came in, if there is one."""
        shape, groups = weight.shape, weight.conv_groups
        dense_ff, dense_bp = (_if_dense(pattern) for pattern in (weight.ff, weight.bp))
        bare = self._update(shape, groups, dense_ff, dense_bp, config)
        if op.phase is Phase.UPDATE:
            return (bare,)
        forward = op.name.endswith(".FF")
        if not weight.pregenerate:
            ff, bp = (weight.ff, None) if forward else (None, weight.bp)
            return (self._prune(shape, groups, ff, bp, config),)
        with_ff = self._update(shape, groups, weight.ff, dense_bp, config)
        if forward:
            return with_ff, bare
        return self._update(shape, groups, weight.ff, weight.bp, config), with_ff


def _if_dense(pattern: Pattern | None) -> Pattern | None:
    return pattern if isinstance(pattern, Dense) else None


def vector_timing(op: Vector, config: AcceleratorConfig) -> LayerTiming:
    """max(elements / lanes, bytes / bandwidth): SORE's lanes for PRUNE, WUVE's for everything else."""
    lanes = config.sore_lanes if op.phase is Phase.PRUNE else config.wuve_lanes
    bandwidth = transfer_cycles(op.bytes, config)
    start = config.dram_latency_cycles if op.elements or op.bytes else 0
    return LayerTiming(
        name=op.name,
        phase=op.phase,
        kind=Kind.MODELLED,
        cycles=max(ceil_div(op.elements, lanes), bandwidth) + start,
        bandwidth_cycles=bandwidth,
        dram_bytes=op.bytes,
        events=_vector_events(op),
    )


def _vector_events(op: Vector) -> EventCounts:
    """Results are written once in FP16; whatever else moves is read."""
    written = min(op.bytes, op.elements * VALUE_BYTES)
    return EventCounts(
        dram_bytes_read=op.bytes - written,
        dram_bytes_written=written,
        accumulator_bytes_written=op.bytes,
        accumulator_bytes_read=op.bytes,
        wuve_elements=op.elements,
    )
