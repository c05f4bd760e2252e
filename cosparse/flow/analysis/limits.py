"""What limits a step on the accelerator: the cycles of a priced step by cause."""

from collections.abc import Sequence

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
