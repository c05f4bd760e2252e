"""The products of a training step under many limits at once, in one compiled call.

Limits are those of `search`: what scratchpads and the interleave limit decide. Everything else of the
configuration is the same, so that every tiling is timed once.
"""

from typing import Any

import numpy as np

from hwsim.config_vector import CONFIG_POSITION
from hwsim.constants import INSTRUCTION_BYTES
from hwsim.energy import EVENTS
from hwsim.isa import Flow, Unit
from hwsim.jit import compiled

from .blocking import TILINGS
from .clock import new_clock
from .counts import ARRAY, TRAFFIC
from .evaluate import COUNTERS
from .nest import NEST
from .search import COUNTED, MAX_STRIPS, search

PHASE_CYCLES = ("ff_cycles", "bp_cycles", "wu_cycles", "update_cycles", "prune_cycles")
"""In the order of `cosparse.spec.Phase`."""

TOTALS = (
    *PHASE_CYCLES,
    "modelled_cycles",
    "sore_cycles",
    "array_cycles",
    "bandwidth_cycles",
    "bandwidth_bound_cycles",
    "ws_cycles",
    *ARRAY,
    *EVENTS,
)
"""What a step is summed up to; `hwsim.step` describes each."""

COLUMN = {name: position for position, name in enumerate(TOTALS)}

FLOWS = (int(Flow.OS), int(Flow.WS))
"""Dataflows in the order in which a tie is decided."""
REFUSED, FALLBACK, WANTED = range(3)
"""Whether a product runs in a dataflow: not, only where no wanted one runs, or as wanted."""

_OS, _WS = FLOWS
_ARRAY_CYCLES = COLUMN["array_cycles"]
_SORE_CYCLES, _WS_CYCLES = COLUMN["sore_cycles"], COLUMN["ws_cycles"]
_BANDWIDTH_CYCLES = COLUMN["bandwidth_cycles"]
_BANDWIDTH_BOUND = COLUMN["bandwidth_bound_cycles"]
_FIRST_ARRAY, _PARTS = COLUMN[ARRAY[0]], len(ARRAY)
_MACS, _LUTRAM, _IDLE = (COLUMN[name] for name in ("macs_fp16", "lutram_reads", "idle_slots"))
_INSTRUCTION_BYTES = COLUMN["instruction_bytes"]
_TRAFFIC = np.array([COLUMN[name] for name in TRAFFIC])
_ISSUE, _EDGES, _ADDER = (ARRAY.index(name) for name in ("issue", "edges", "adder"))
_UNITS = len(Unit)
_CYCLES, _READ, _WRITTEN, _BUSY, _INSTRUCTIONS = range(len(COUNTERS))
_COUNTERS = len(COUNTERS)

_BURST_BEATS, _AXI_BYTES = CONFIG_POSITION["burst_beats"], CONFIG_POSITION["axi_bytes"]
_BANDWIDTH = CONFIG_POSITION["dram_bytes_per_cycle"]
_LATENCY, _OUTSTANDING = CONFIG_POSITION["dram_latency_cycles"], CONFIG_POSITION["outstanding"]

RUNS = -1


@compiled
def price_products(
    nests: Any,
    ends: Any,
    allowed: Any,
    times: Any,
    phases: Any,
    beside: Any,
    shape: Any,
    config: Any,
    limits: Any,
    totals: Any,
    refused: Any,
) -> None:
    """Add a step's products to `totals`, (limits, TOTALS).

    Product p is the uncut nests from ends[p-1] to ends[p] and occurs times[p] times in a phase. allowed:
    (products, FLOWS), REFUSED to WANTED. beside: (products, limits, 2) cycles and DRAM bytes of SORE's
    passes. refused: (limits,) the first product that no tiling runs, or RUNS.
    """
    w, channel = new_clock(config)
    rows, flows = limits.shape[0], len(FLOWS)
    counted = np.zeros((flows, TILINGS, COUNTED), np.int64)
    timed = np.zeros((flows, TILINGS, _COUNTERS), np.int64)
    fastest = np.full((flows, rows), -1, np.int64)
    refused[:] = RUNS
    begin = 0
    for product in range(ends.shape[0]):
        whole = nests[begin : ends[product]].copy()
        begin = ends[product]
        cut = np.zeros(whole.shape[0] * MAX_STRIPS, NEST)
        for flow in range(flows):
            fastest[flow] = -1
            if allowed[product, flow] != REFUSED:
                for position in range(whole.shape[0]):
                    whole[position].flow = FLOWS[flow]
                search(
                    whole, shape, config, limits, w, channel, cut, counted[flow], timed[flow],
                    fastest[flow],
                )  # fmt: skip
        for row in range(rows):
            flow = _faster(allowed[product], timed, fastest[:, row])
            if flow < 0:
                if refused[row] == RUNS:
                    refused[row] = product
                continue
            tiling = fastest[flow, row]
            _add(
                timed[flow, tiling], counted[flow, tiling], times[product], phases[product], flow,
                beside[product, row], config, totals[row],
            )  # fmt: skip


@compiled
def _faster(allowed: Any, timed: Any, tilings: Any) -> int:
    """The dataflow of the least cycles among those that are wanted, else among the others; -1: none."""
    for level in (WANTED, FALLBACK):
        chosen = -1
        for flow in range(len(FLOWS)):
            if allowed[flow] != level or tilings[flow] < 0:
                continue
            cycles = timed[flow, tilings[flow], _CYCLES]
            if chosen < 0 or cycles < timed[chosen, tilings[chosen], _CYCLES]:
                chosen = flow
        if chosen >= 0:
            return chosen
    return -1


@compiled
def _add(
    timed: Any,
    counted: Any,
    times: int,
    phase: int,
    flow: int,
    beside: Any,
    config: Any,
    total: Any,
) -> None:
    """One product, `times` times."""
    cycles = timed[_CYCLES] + beside[0]
    moved = timed[_READ] + timed[_WRITTEN] + beside[1]
    bandwidth = transfer_cycles(moved, config)
    total[phase] += times * cycles
    total[_SORE_CYCLES] += times * beside[0]
    total[_ARRAY_CYCLES] += times * timed[_BUSY]
    total[_BANDWIDTH_CYCLES] += times * bandwidth
    if timed[_BUSY] < bandwidth:
        total[_BANDWIDTH_BOUND] += times * cycles
    if flow == 1:
        total[_WS_CYCLES] += times * cycles
    for part in range(_PARTS):
        total[_FIRST_ARRAY + part] += times * counted[part]
    total[_MACS] += times * counted[_ISSUE]
    total[_LUTRAM] += times * counted[_ISSUE]
    total[_IDLE] += times * (counted[_EDGES] + counted[_ADDER])
    total[_INSTRUCTION_BYTES] += times * (timed[_INSTRUCTIONS] + _UNITS) * INSTRUCTION_BYTES
    for event in range(len(_TRAFFIC)):
        total[_TRAFFIC[event]] += times * counted[_PARTS + event]


@compiled
def transfer_cycles(moved: int, config: Any) -> int:
    """`hwsim.dram.transfer_cycles`."""
    burst = config[_BURST_BEATS] * config[_AXI_BYTES]
    bursts = -(-moved // burst)
    cycles = -(-burst // config[_BANDWIDTH])
    slots = bursts * (config[_LATENCY] + cycles)
    return max(bursts * cycles, -(-slots // config[_OUTSTANDING]))
