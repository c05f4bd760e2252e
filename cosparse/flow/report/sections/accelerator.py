"""The training step on the simulated accelerator: cycles by phase, speedup, every layer."""

from collections.abc import Iterable
from typing import Any

from ..blocks import Section, Table, Text
from ..facts import DENSE, methods_of, simulated_cycles
from ..figures import grouped_bars, reference_line, stacked_bars
from ..format import ratio, times

GEMM_PHASES = ("FF", "BP", "WU")
_STEP_COLUMNS = (
    "Method",
    "Simulated",
    "Modelled",
    "Step (sum)",
    "Step, ms",
    "Products, speedup",
    "Step, speedup",
    "Operation bound",
)


def accelerator_section(document: dict[str, Any]) -> Section | None:
    simulated = document["simulated"]
    if simulated is None:
        return None
    method = document["scenario"]["train"]["method"]
    steps = {name: simulated["methods"][name] for name in methods_of(document)}
    return Section(
        "Accelerator (simulated)",
        (
            Text(_configuration(document)),
            Table(
                _STEP_COLUMNS,
                tuple(_step_row(name, step, steps[DENSE]) for name, step in steps.items()),
                "Cycles of one training step. Matrix products are simulated by closed tile formulas with "
                "fill, drain, edges and a bandwidth bound; vector work, update and pruning are "
                "modelled as streaming bounds. The operation bound is dense over issued MACs of "
                "the matrix products.",
            ),
            _phases(steps),
            _layer_speedups(steps, method),
            Text(_dataflows(steps[method])),
            _layer_table(steps, method),
        ),
    )


def _configuration(document: dict[str, Any]) -> str:
    config = document["simulated"]["accelerator"]
    note = (
        " This preset exists in simulation only."
        if document["simulated"]["simulation_only"]
        else ""
    )
    return (
        f"{config['name']}: {config['rows']} x {config['cols']} processing elements, multiply "
        f"latency {config['mul_latency']}, add latency {config['add_latency']}, interleave up to "
        f"{config['interleave']}, {config['dram_bytes_per_cycle']} bytes of DRAM bandwidth a cycle, "
        f"{config['clock_mhz']} MHz assumed; batch {document['scenario']['batch']}.{note}"
    )


def _step_row(name: str, step: dict[str, Any], dense: dict[str, Any]) -> tuple[Any, ...]:
    return (
        name,
        _cycles(step, step["cycles_by_phase"], "simulated"),
        _cycles(step, step["cycles_by_phase"], "modelled"),
        step["cycles"],
        step["milliseconds"],
        times(ratio(simulated_cycles(dense), simulated_cycles(step))),
        times(ratio(dense["cycles"], step["cycles"])),
        times(ratio(step["macs"], step["issued_macs"])),
    )


def _phases(steps: dict[str, Any]) -> Any:
    parts: dict[str, tuple[tuple[str, ...], str]] = {
        **{f"{phase}, simulated": ((phase,), "simulated") for phase in GEMM_PHASES},
        "vector work, modelled": (GEMM_PHASES, "modelled"),
        "update, modelled": (("UPDATE",), "modelled"),
        "pruning, modelled": (("PRUNE",), "modelled"),
    }
    series = {
        name: [_cycles(step, phases, kind) for step in steps.values()]
        for name, (phases, kind) in parts.items()
    }
    return stacked_bars(
        list(steps),
        {name: values for name, values in series.items() if any(values)},
        axis="cycles",
        caption="Cycles of one training step by phase: matrix products simulated, the rest modelled",
    )


def _cycles(step: dict[str, Any], phases: Iterable[str], kind: str) -> int:
    by_phase = step["cycles_by_phase"]
    return sum(by_phase.get(phase, {}).get(kind, 0) for phase in phases)


def _layer_speedups(steps: dict[str, Any], method: str) -> Any:
    dense = {(row["name"], row["phase"]): row["cycles"] for row in steps[DENSE]["layers"]}
    gemms = [row for row in steps[method]["layers"] if row["kind"] == "simulated"]
    names = list(dict.fromkeys(row["name"] for row in gemms))
    series: dict[str, list[float | None]] = {}
    for phase in GEMM_PHASES:
        cycles = {row["name"]: row["cycles"] for row in gemms if row["phase"] == phase}
        series[phase] = [ratio(dense.get((name, phase)), cycles.get(name)) for name in names]
    figure = grouped_bars(
        names,
        series,
        axis="dense cycles / cycles",
        caption=f"Speedup of {method} over dense on the same array, by layer and phase (simulated)",
    )
    return reference_line(figure, 1.0, "dense")


def _dataflows(step: dict[str, Any]) -> str:
    wins = step["dataflow_wins"]
    parts = [
        f"{phase}: " + ", ".join(f"{flow} in {count}" for flow, count in wins[phase].items())
        for phase in GEMM_PHASES
        if phase in wins
    ]
    return "Fastest dataflow by number of matrix products. " + "; ".join(parts) + "."


def _layer_table(steps: dict[str, Any], method: str) -> Table:
    dense = {(row["name"], row["phase"]): row["cycles"] for row in steps[DENSE]["layers"]}
    rows = tuple(
        (
            row["name"],
            row["phase"],
            row["dataflow"],
            row["interleave"],
            row["cycles"],
            times(ratio(dense.get((row["name"], row["phase"])), row["cycles"])),
            f"{100 * row['utilisation']:.0f} %",
            row["bound"],
            _other_dataflow(row),
        )
        for row in steps[method]["layers"]
        if row["kind"] == "simulated"
    )
    columns = ("Layer", "Phase", "Dataflow", "Ic x Ir", "Cycles", "Speedup", "Utilisation", "Bound")
    return Table((*columns, "Other dataflow"), rows, f"Every matrix product of the {method} step")


def _other_dataflow(row: dict[str, Any]) -> str:
    others = {name: cost for name, cost in row["candidates"].items() if name != row["dataflow"]}
    texts = [
        f"{name} {cost:,}" if isinstance(cost, int) else f"{name} refused"
        for name, cost in others.items()
    ]
    return ", ".join(texts)
