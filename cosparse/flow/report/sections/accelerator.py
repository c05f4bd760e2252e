"""The training step on the simulated accelerator: cycles by phase, speedup, every layer."""

from collections.abc import Iterable
from typing import Any

from ..blocks import Section, Table, Text
from ..facts import DENSE, GEMM_PHASES, methods_of, product_cycles
from ..figures import grouped_bars, reference_line, stacked_bars
from ..format import ratio, times

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
                "Cycles of one training step. Matrix products, the SGD update and the packing of the "
                "copies are programs whose every cycle is simulated (loads, stores, fill, drain, "
                "edges); other vector work is modelled as a streaming bound. The operation bound is "
                "dense over issued MACs of "
                "the matrix products.",
            ),
            _phases(steps),
            _array_time(steps, document["simulated"]["accelerator"]),
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
        times(ratio(product_cycles(dense), product_cycles(step))),
        times(ratio(dense["cycles"], step["cycles"])),
        times(ratio(dense["macs"], step["issued_macs"])),
    )


def _phases(steps: dict[str, Any]) -> Any:
    parts: dict[str, tuple[tuple[str, ...], str]] = {
        **{f"{phase}, simulated": ((phase,), "simulated") for phase in GEMM_PHASES},
        "vector work, modelled": (GEMM_PHASES, "modelled"),
        "update, simulated": (("UPDATE",), "simulated"),
        "update, modelled": (("UPDATE",), "modelled"),
        "packed copies, simulated": (("PRUNE",), "simulated"),
        "packed copies, modelled": (("PRUNE",), "modelled"),
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


_CAUSES = {
    "issue": "multiply-accumulates",
    "edges": "rows and columns without a result",
    "adder": "adder's loop not filled",
    "data": "feeder",
    "drain": "drain and skew",
    "start": "start of a MATMUL",
}


def _array_time(steps: dict[str, Any], config: dict[str, Any]) -> Table:
    """Where the cycles of the matrix products go, by method."""
    pes = config["rows"] * config["cols"]
    gemms = {name: [row for row in step["layers"] if row["array"]] for name, step in steps.items()}
    totals = {name: sum(row["cycles"] for row in rows) for name, rows in gemms.items()}
    table: list[tuple[Any, ...]] = []
    for cause, words in _CAUSES.items():
        parts = {
            name: sum(row["array"][cause] for row in rows) / pes for name, rows in gemms.items()
        }
        table.append((words, *(_percent(parts[name], totals[name]) for name in gemms)))
    waits = {
        name: sum(row["cycles"] - row["array_cycles"] for row in rows)
        for name, rows in gemms.items()
    }
    table.append(
        ("loads and stores that nothing hides", *(_percent(waits[n], totals[n]) for n in gemms))
    )
    caption = "Share of the matrix products' cycles by cause (simulated)"
    return Table(("Cycles go to", *gemms), tuple(table), caption)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _cycles(step: dict[str, Any], phases: Iterable[str], kind: str) -> int:
    by_phase = step["cycles_by_phase"]
    return sum(by_phase.get(phase, {}).get(kind, 0) for phase in phases)


def _layer_speedups(steps: dict[str, Any], method: str) -> Any:
    dense = {(row["name"], row["phase"]): row["cycles"] for row in steps[DENSE]["layers"]}
    gemms = [row for row in steps[method]["layers"] if row["array"]]
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
        if row["array"]
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
