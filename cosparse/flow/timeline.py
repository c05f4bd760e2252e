"""What the accelerator's units do, cycle by cycle, in one product of the step.

The product is the longest among those whose program is short enough to be traced; the engine runs
it, and the whole trace goes to timeline.json for ui.perfetto.dev.
"""

from pathlib import Path
from typing import Any

from cosparse.spec import UnsupportedError, Workload
from hwsim.compile.emit import emit
from hwsim.config import AcceleratorConfig
from hwsim.engine import run
from hwsim.engine.records import InstructionRecord, Trace
from hwsim.isa import Op
from hwsim.pricing import PlannedProduct, plan_products
from hwsim.trace import write_trace

from .store import replacing

MAX_INSTRUCTIONS = 2_000
"""Of the traced program: below a second of work, a few MB of trace."""
EXCERPT_SPANS = 80
"""Instructions in the excerpt, from the start of the program."""

FILE = "timeline.json"


def trace_step(
    workload: Workload, config: AcceleratorConfig, folder: Path
) -> dict[str, Any] | None:
    """Write FILE into `folder`; returns the "timeline" section of a result.

    None where every program is longer than MAX_INSTRUCTIONS.
    """
    chosen = _longest(workload, config)
    if chosen is None:
        return None
    name = f"{chosen.gemm.name}:{chosen.gemm.phase.value}"
    trace = run(emit(chosen.schedule.nests, config, name), config)
    with replacing(folder / FILE) as partial:
        write_trace(trace, partial)
    return {
        "product": name,
        "file": FILE,
        "cycles": trace.cycles,
        "instructions": len({record.index for record in trace.instructions}),
        "spans": _excerpt(trace),
        "units": {unit.name: _shares(trace, unit) for unit in trace.units},
    }


def _longest(workload: Workload, config: AcceleratorConfig) -> PlannedProduct | None:
    plan = plan_products(workload, config)
    found = []
    for gemm in workload.gemms:
        try:
            planned = plan(gemm)
        except UnsupportedError:
            continue  # priced as refused, and said so there
        if planned.schedule.instructions <= MAX_INSTRUCTIONS:
            found.append(planned)
    return max(found, key=lambda one: one.schedule.cycles, default=None)


def _excerpt(trace: Trace) -> list[dict[str, Any]]:
    shown: list[InstructionRecord] = [r for r in trace.instructions if r.op is not Op.HALT]
    return [
        {"unit": r.unit.name, "op": r.op.name, "start": r.issue, "end": r.free}
        for r in shown[:EXCERPT_SPANS]
    ]


def _shares(trace: Trace, unit: Any) -> dict[str, int]:
    """Cycles of a unit: busy, and each kind of stall."""
    cycles = trace.units[unit]
    return {"busy": cycles.busy, **{stall.value: n for stall, n in cycles.stalls.items()}}
