"""What limits a step on the accelerator: its cycles by cause, of one priced step or of many summed ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cosparse.spec import GEMM_PHASES, Phase
from hwsim import LayerTiming

LIMITS: dict[str, str] = {
    "compute": "the array multiplies, rows and columns without a result included",
    "bandwidth": "loads and stores that nothing hides",
    "update": "UPDATE and PRUNE, and gradients pruned before a product",
    "drain": "drain, skew and start of MATMULs",
    "adder": "the adder's loop is not filled",
    "feeder": "activations do not arrive",
    "vector": "norms, activations and the like (modelled)",
}
"""Limit -> what its cycles go to."""

_OF_CAUSE = {
    "issue": "compute",
    "edges": "compute",
    "adder": "adder",
    "data": "feeder",
    "drain": "drain",
    "start": "drain",
}

TOTALS_READ = (
    *("rows", "cols", "cycles", "array_cycles", "update_cycles", "prune_cycles"),
    *("sore_cycles", "modelled_cycles", *_OF_CAUSE),
)
"""Figures of a sweep that `limits_of_totals` reads."""

Values = NDArray[np.float64]


def limits_of(timings: Sequence[LayerTiming], pes: int) -> dict[str, float]:
    """Cycles of the step by entry of LIMITS; they sum to the step's. pes: R * C."""
    cycles = dict.fromkeys(LIMITS, 0.0)
    for timing in timings:
        if timing.phase in (Phase.UPDATE, Phase.PRUNE):
            cycles["update"] += timing.cycles
        elif timing.phase in GEMM_PHASES and timing.array:
            for cause, part in timing.array.items():
                cycles[_OF_CAUSE[cause]] += part / pes
            cycles["update"] += timing.prune_cycles
            cycles["bandwidth"] += timing.cycles - timing.array_cycles - timing.prune_cycles
        else:
            cycles["vector"] += timing.cycles
    return cycles


def limits_of_totals(totals: Mapping[str, Values]) -> dict[str, Values]:
    """The same for many points at once. totals: (points,) each of TOTALS_READ, as a sweep stores them."""
    pes = totals["rows"] * totals["cols"]
    cycles = {name: np.zeros(len(pes)) for name in LIMITS}
    for cause, limit in _OF_CAUSE.items():
        cycles[limit] += totals[cause] / pes
    cycles["update"] += totals["update_cycles"] + totals["prune_cycles"] + totals["sore_cycles"]
    cycles["vector"] += totals["modelled_cycles"]
    rest = totals["array_cycles"] + cycles["update"] + cycles["vector"]
    cycles["bandwidth"] += totals["cycles"] - rest
    return cycles
