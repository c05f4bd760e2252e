"""A training step on many configurations at once: the sums of what `price` says of each, exactly.

What configurations share is worked out once, and nothing is estimated:

- Scratchpads and the interleave limit decide which tilings run, not what a tiling takes. Configurations
  that differ in nothing else are one group, whose tilings are timed once (`compile.step`).
- Updates, packing and streaming work do not depend on the interleave, nor on the latencies of multiplier
  and adder; they are worked out once for the groups that differ in these alone. The memory decides what
  their tiles take, not what they are.
- The clock decides no cycle. Equal products and equal weights are priced once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cosparse.spec import Gemm, Kind, Phase, UnsupportedError, Vector, Workload

from .compile.evaluate import shape_vector
from .compile.lower import gemm_nests
from .compile.nest import NEST, Nests
from .compile.passes import PassSearch
from .compile.sections import Cost
from .compile.step import (
    COLUMN,
    FALLBACK,
    REFUSED,
    RUNS,
    TOTALS,
    WANTED,
    price_products,
)
from .config import AcceleratorConfig
from .config_vector import CONFIG_FIELDS, CONFIG_POSITION, config_vector
from .pricing import (
    LayerTiming,
    PassSearches,
    Weight,
    anonymous_product,
    gradient_searches,
    input_products,
    is_narrow,
    pass_bytes,
    pass_events,
    trained_weights,
    vector_timing,
    weight_timing,
)
from .rules import (
    accumulator_word_bytes,
    activation_word_bytes,
    half_bytes,
    weight_word_bytes,
)
from .schedule import refusal
from .support import DATAFLOWS, supports

Table = npt.NDArray[np.int64]

LIMIT_FIELDS = ("interleave", "activation_kib", "weight_kib", "accumulator_kib")
"""Fields that decide which tilings run and nothing else."""
LATENCY_FIELDS = ("mul_latency", "add_latency")
"""Fields that only products depend on."""

MEMORY_FIELDS = ("axi_bytes", "axi_ports", "dram_bytes_per_cycle", "dram_latency_cycles",
                 "burst_beats", "outstanding")  # fmt: skip
"""Fields that decide what a transfer takes and not what is transferred."""

_POSITION = {name: CONFIG_POSITION[name] for name in (*LIMIT_FIELDS, *LATENCY_FIELDS, "clock_mhz")}
_CLOCK = _POSITION["clock_mhz"]
_LIMITS = [_POSITION[name] for name in LIMIT_FIELDS]
_LATENCIES = [_POSITION[name] for name in LATENCY_FIELDS]
_SHARED = [
    position for position in range(len(CONFIG_FIELDS)) if position not in {*_POSITION.values()}
]
_MEMORY = [CONFIG_POSITION[name] for name in MEMORY_FIELDS]
_ARRAY = [position for position in _SHARED if position not in _MEMORY]
GROUP_ORDER = (*_ARRAY, *_MEMORY, *_LATENCIES)
"""Positions of the fields that a group shares, in the order in which groups should follow each other."""

_PHASES = list(Phase)


@dataclass(frozen=True, eq=False)
class StepTotals:
    """table: (configurations, TOTALS). refused: why a configuration cannot run the step, by its row."""

    table: Table
    refused: dict[int, str]


class StepPricer:
    """Prices one workload as `price` does with the same options, on any number of configurations.

    Not for threads: it keeps what the groups before have in common with the next one.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        dataflows: Sequence[str] = tuple(DATAFLOWS),
        fallback: str | None = None,
        pregenerate: bool = True,
    ) -> None:
        self._products = _Products(workload, dataflows, fallback)
        self._streams = _Streams(workload, pregenerate)

    def totals(self, configs: Table) -> StepTotals:
        """configs: (configurations, CONFIG_FIELDS), `config_vector` of each. Every one must be legal."""
        table = np.zeros((len(configs), len(TOTALS)), np.int64)
        refused: dict[int, str] = {}
        for rows in groups_of(configs):
            limits, place = np.unique(configs[rows][:, _LIMITS], axis=0, return_inverse=True)
            found, why = self._group(_config_of(configs[rows[0]]), limits)
            table[rows] = found[place]
            refused |= {
                int(row): why[number]
                for row, number in zip(rows, place.tolist(), strict=True)
                if number in why
            }
        table[list(refused)] = 0
        return StepTotals(table, refused)

    def _group(self, config: AcceleratorConfig, kib: Table) -> tuple[Table, dict[int, str]]:
        """Totals under each row of LIMIT_FIELDS, and why a row is refused."""
        limits = _words(config, kib)
        try:
            nests = self._products.on(config)
            streams = self._streams.on(config)
            table, refused = streams.totals(limits[:, 1:])
            beside, misfits = self._products.beside(streams, limits[:, 1:], table)
            refused = refused | misfits | self._products.add(nests, config, limits, beside, table)
        except UnsupportedError as error:
            nothing = np.zeros((len(kib), len(TOTALS)), np.int64)
            return nothing, dict.fromkeys(range(len(kib)), str(error))
        return table, refused


def totals_of(timings: Iterable[LayerTiming]) -> Table:
    """(TOTALS,) of what `price` returned."""
    return sum((_row(timing) for timing in timings), np.zeros(len(TOTALS), np.int64))


def groups_of(configs: Table) -> Iterator[Table]:
    """Rows of each group, groups in GROUP_ORDER."""
    shared = configs[:, GROUP_ORDER]
    order = np.lexsort(shared.T[::-1])
    borders = np.flatnonzero((np.diff(shared[order], axis=0) != 0).any(axis=1)) + 1
    yield from (rows for rows in np.split(order, borders) if len(rows))


def _config_of(vector: Table) -> AcceleratorConfig:
    return AcceleratorConfig(
        name="this array", **dict(zip(CONFIG_FIELDS, vector.tolist(), strict=True))
    )


def _words(config: AcceleratorConfig, kib: Table) -> Table:
    """LIMITS of `search` for rows of LIMIT_FIELDS: (rows, 4)."""
    words = (activation_word_bytes, weight_word_bytes, accumulator_word_bytes)
    found = kib.copy()
    for column, word_bytes in enumerate(words, start=1):
        found[:, column] = half_bytes(kib[:, column]) // word_bytes(config)
    return found


def _row(timing: LayerTiming, times: int = 1) -> Table:
    """(TOTALS,) of one operation that occurs `times` times."""
    row = np.zeros(len(TOTALS), np.int64)
    row[_PHASES.index(timing.phase)] = timing.cycles
    modelled = timing.kind is Kind.MODELLED
    bound = timing.array_cycles < timing.bandwidth_cycles
    named = {
        "modelled_cycles": timing.cycles if modelled else 0,
        "sore_cycles": timing.prune_cycles,
        "array_cycles": timing.array_cycles,
        "bandwidth_cycles": timing.bandwidth_cycles,
        "bandwidth_bound_cycles": timing.cycles if timing.array and bound else 0,
        "ws_cycles": timing.cycles if timing.dataflow == "WS" else 0,
        **timing.array,
        **{item.name: getattr(timing.events, item.name) for item in fields(timing.events)},
    }
    for name, value in named.items():
        row[COLUMN[name]] = value
    return times * row


# --- products


@dataclass(frozen=True, eq=False)
class _Nests:
    """Products as nests, one after the other, ready for `price_products`."""

    nests: Nests
    ends: Table


class _Products:
    """The different products of a workload, in the order in which they occur first."""

    def __init__(self, workload: Workload, dataflows: Sequence[str], fallback: str | None) -> None:
        self._stems = input_products(workload)
        first: dict[Gemm, Gemm] = {}
        times: dict[Gemm, int] = {}
        for gemm in workload.gemms:
            if gemm.macs > 0:
                same = anonymous_product(gemm)
                first.setdefault(same, gemm)
                times[same] = times.get(same, 0) + 1
        self.gemms = list(first.values())
        self.times = np.array(list(times.values()), np.int64)
        self._phases = np.array([_PHASES.index(gemm.phase) for gemm in self.gemms], np.int64)
        self._allowed = np.array(
            [_allowed(gemm, dataflows, fallback) for gemm in self.gemms], np.int64
        ).reshape(-1, len(DATAFLOWS))
        self._nests: dict[tuple[int, ...], _Nests] = {}

    def add(
        self,
        nests: _Nests,
        config: AcceleratorConfig,
        limits: Table,
        beside: Table,
        table: Table,
    ) -> dict[int, str]:
        """Add the products to `table`, a row for each of `limits`. Returns why rows are refused."""
        refused = np.zeros(len(limits), np.int64)
        price_products(
            nests.nests,
            nests.ends,
            self._allowed,
            self.times,
            self._phases,
            beside,
            shape_vector(config),
            config_vector(config),
            limits,
            table,
            refused,
        )
        return {
            int(row): _misfit(self.gemms[refused[row]], "tiling")
            for row in np.flatnonzero(refused != RUNS)
        }

    def on(self, config: AcceleratorConfig) -> _Nests:
        """What nests depend on is little; they are made once for it. Raises UnsupportedError."""
        key = (config.rows, config.group_max, config.n_max, config.activation_lanes)
        if key not in self._nests:
            self._nests[key] = self._make(config)
        return self._nests[key]

    def _make(self, config: AcceleratorConfig) -> _Nests:
        found = []
        for gemm in self.gemms:
            reason = supports(gemm, config)
            if reason is not None:
                raise UnsupportedError(f"{gemm.phase} of '{gemm.name}': {reason}")
            flat = gemm.name in self._stems and is_narrow(gemm, config)
            found.append(gemm_nests(gemm, config, flat=flat))
        ends = np.cumsum([len(nests) for nests in found], dtype=np.int64)
        return _Nests(np.concatenate(found) if found else np.zeros(0, NEST), ends)

    def beside(
        self, streams: "_StreamsOn", limits: Table, table: Table
    ) -> tuple[Table, dict[int, str]]:
        """(products, limits, 2), cycles and bytes of SORE's passes, and why rows are refused.

        Events of the passes are added to `table`.
        """
        found = np.zeros((len(self.gemms), len(limits), 2), np.int64)
        refused: dict[int, str] = {}
        for position, gemm in enumerate(self.gemms):
            for costs in streams.gradients(gemm, limits):
                found[position] += costs.figures[costs.place]
                table += self.times[position] * costs.events[costs.place]
                misfits = np.flatnonzero(costs.place == 0).tolist()
                refused |= dict.fromkeys(misfits, _misfit(gemm, "tile"))
        return found, refused


def _misfit(op: Gemm | Vector, what: str) -> str:
    return f"{op.phase} of '{op.name}': no {what} fits the scratchpads"


def _allowed(gemm: Gemm, dataflows: Sequence[str], fallback: str | None) -> list[int]:
    levels = dict.fromkeys(dataflows, WANTED)
    levels = ({} if fallback is None else {fallback: FALLBACK}) | levels
    return [
        REFUSED if refusal(gemm, name) is not None else levels.get(name, REFUSED)
        for name in DATAFLOWS
    ]


# --- updates, packing and streaming work


class _Streams:
    """Everything beside the products: what occurs, and how often."""

    def __init__(self, workload: Workload, pregenerate: bool) -> None:
        weights = trained_weights(workload, pregenerate)
        self.modelled: list[Vector] = []
        self.weights: dict[tuple[Phase, bool, Weight], Vector] = {}
        self.times: dict[tuple[Phase, bool, Weight], int] = {}
        for op in workload.vectors:
            weight = weights.get(op.name)
            if weight is None or op.phase not in (Phase.UPDATE, Phase.PRUNE):
                self.modelled.append(op)
                continue
            same = (op.phase, op.name.endswith(".FF"), weight)
            self.weights.setdefault(same, op)
            self.times[same] = self.times.get(same, 0) + 1
        self._last: tuple[tuple[int, ...], _StreamsOn] | None = None
        self._passes: tuple[tuple[int, ...], _PassesOn] | None = None

    def on(self, config: AcceleratorConfig) -> "_StreamsOn":
        """The latest one is kept: groups that differ in LATENCY_FIELDS alone follow each other."""
        key = tuple(config_vector(config)[_SHARED].tolist())
        if self._last is None or self._last[0] != key:
            self._last = key, _StreamsOn(self, config, self._passes_on(config))
        return self._last[1]

    def _passes_on(self, config: AcceleratorConfig) -> "_PassesOn":
        """The latest ones are kept: groups that differ in MEMORY_FIELDS follow each other."""
        key = tuple(config_vector(config)[_ARRAY].tolist())
        if self._passes is None or self._passes[0] != key:
            self._passes = key, _PassesOn(config)
        return self._passes[1]


class _PassesOn:
    """Passes on configurations that differ in their memories and limits."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._searches = PassSearches()
        self._gradients: dict[Gemm, list[PassSearch]] = {}

    def of_weight(self, op: Vector, weight: Weight) -> tuple[PassSearch, ...]:
        """See `PassSearches.of`."""
        return self._searches.of(op, weight, self._config)

    def of_gradient(self, gemm: Gemm) -> list[PassSearch]:
        """See `gradient_searches`."""
        if gemm not in self._gradients:
            self._gradients[gemm] = list(gradient_searches(gemm, self._config))
        return self._gradients[gemm]


@dataclass(frozen=True, eq=False)
class _Costs:
    """A pass within each row of limits. place: (limits,) which of the different costs it has.

    figures: (costs, 2) cycles and bytes. events: (costs, TOTALS) of nothing but events. Cost 0 stands where
    no tile fits.
    """

    place: Table
    figures: Table
    events: Table


class _StreamsOn:
    """That work on configurations that differ in their limits alone."""

    def __init__(self, streams: _Streams, config: AcceleratorConfig, passes: "_PassesOn") -> None:
        self._streams, self._config, self._passes = streams, config, passes
        self._known: dict[bytes, tuple[Table, dict[int, str]]] = {}

    def totals(self, limits: Table) -> tuple[Table, dict[int, str]]:
        """A fresh table (limits, TOTALS), and why rows are refused. limits: (limits, 3) words."""
        different, place = np.unique(limits, axis=0, return_inverse=True)
        key = different.tobytes()
        if key not in self._known:
            self._known = {key: self._totals(different)}
        table, refused = self._known[key]
        rows = enumerate(place.tolist())
        return table[place], {row: refused[number] for row, number in rows if number in refused}

    def _totals(self, limits: Table) -> tuple[Table, dict[int, str]]:
        table = np.zeros((len(limits), len(TOTALS)), np.int64)
        refused: dict[int, str] = {}
        table += self._modelled
        for same, op in self._streams.weights.items():
            searches = self._passes.of_weight(op, same[2])
            costs_of = [one.costs_on(self._config, limits) for one in searches]
            chosen = list(zip(*costs_of, strict=True))
            times = self._streams.times[same]
            rows: dict[tuple[int, ...], Table] = {}
            for row, costs in enumerate(chosen):
                held = [cost for cost in costs if cost is not None]
                if len(held) < len(costs):
                    refused[row] = _misfit(op, "tile")
                    continue
                which = tuple(map(id, costs))
                if which not in rows:
                    rows[which] = _row(weight_timing(op, held, self._config), times)
                table[row] += rows[which]
        return table, refused

    @cached_property
    def _modelled(self) -> Table:
        return totals_of(vector_timing(op, self._config) for op in self._streams.modelled)

    def gradients(self, gemm: Gemm, limits: Table) -> Iterator[_Costs]:
        """SORE's passes beside a product."""
        for search in self._passes.of_gradient(gemm):
            yield self._costs(search.costs_on(self._config, limits))

    def _costs(self, costs: list[Cost | None]) -> _Costs:
        held = list({id(cost): cost for cost in costs if cost is not None}.values())
        number = {id(cost): position for position, cost in enumerate(held, start=1)}
        place = np.array([number.get(id(cost), 0) for cost in costs], np.int64)
        figures = np.array([(0, 0), *((one.cycles, pass_bytes(one)) for one in held)], np.int64)
        nothing = np.zeros(len(TOTALS), np.int64)
        events = np.stack([nothing, *(_events(one, self._config) for one in held)])
        return _Costs(place, figures, events)


def _events(cost: Cost, config: AcceleratorConfig) -> Table:
    row = np.zeros(len(TOTALS), np.int64)
    events = pass_events(cost, config)
    for item in fields(events):
        row[COLUMN[item.name]] = getattr(events, item.name)
    return row
