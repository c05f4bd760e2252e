"""The training step on the simulated accelerator: cycles by phase, speedup, every layer."""

from typing import Any

from ..facts import DENSE
from ..blocks import Section, Table, Text
from ..figures import grouped_bars, reference_line, stacked_bars
from ..format import ratio, times


def accelerator_section(document: dict[str, Any]) -> Section | None:
    simulated = document["simulated"]
    if simulated is None:
        return None
    method = document["scenario"]["train"]["method"]
    steps = simulated["methods"]
    return Section(
        "Accelerator (simulated)",
        (
            Text(_configuration(document)),
            Table(
                ("Method", "Cycles", "Milliseconds", "Speedup over dense", "Operation bound"),
                tuple(_step_row(name, step, steps[DENSE]) for name, step in steps.items()),
                "One training step. Matrix products are simulated by closed tile formulas with "
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
        step["cycles"],
        step["milliseconds"],
        times(ratio(dense["cycles"], step["cycles"])),
        times(ratio(step["macs"], step["issued_macs"])),
    )


def _phases(steps: dict[str, Any]) -> Any:
    phases = list(dict.fromkeys(p for step in steps.values() for p in step["cycles_by_phase"]))
    series = {}
    for phase in phases:
        for kind in ("simulated", "modelled"):
            values = [
                step["cycles_by_phase"].get(phase, {}).get(kind, 0) for step in steps.values()
            ]
            if any(values):
                series[f"{phase}, {kind}"] = values
    return stacked_bars(
        list(steps),
        series,
        axis="cycles",
        caption="Cycles of one training step by phase: matrix products simulated, the rest modelled",
    )


def _layer_speedups(steps: dict[str, Any], method: str) -> Any:
    dense = {(row["name"], row["phase"]): row["cycles"] for row in steps[DENSE]["layers"]}
    gemms = [row for row in steps[method]["layers"] if row["kind"] == "simulated"]
    names = list(dict.fromkeys(row["name"] for row in gemms))
    series: dict[str, list[float | None]] = {}
    for phase in dict.fromkeys(row["phase"] for row in gemms):
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
    parts = [
        f"{phase}: " + ", ".join(f"{flow} in {count}" for flow, count in wins.items())
        for phase, wins in step["dataflow_wins"].items()
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
