"""The result in a few lines: for the terminal, and as facts for the report."""

from collections.abc import Iterator
from typing import Any

from .blocks import Fact
from .format import ratio, times

DENSE = "dense"
GEMM_PHASES = ("FF", "BP", "WU")
EXECUTORS = {"machine": "machine", "rtl": "RTL"}
"""What trains on the accelerator, as a reader knows it."""


def summary_facts(document: dict[str, Any]) -> list[Fact]:
    """The headline numbers that this result has."""
    found = (
        _accuracy(document),
        *_on_accelerator(document),
        _cpu(document),
        _accelerator(document),
        _rtl(document),
        _storage(document),
    )
    return [fact for fact in found if fact is not None]


def methods_of(document: dict[str, Any]) -> list[str]:
    """The scenario's methods in its order, and dense."""
    train = document["scenario"]["train"]
    return list(dict.fromkeys((train["method"], *train["compare"], DENSE)))


def summary_lines(document: dict[str, Any]) -> list[str]:
    """One line a headline number."""
    return [f"{fact.kind:20}  {fact.value}  {fact.label}" for fact in summary_facts(document)]


def accuracy_lines(document: dict[str, Any]) -> list[str]:
    """Mean, deviation and paired difference of every trained method, and what they resolve."""
    rows = [] if document["training"] is None else document["training"]["accuracy"]
    if len(rows) < 3:
        return []  # the summary's own line says it all
    train = document["scenario"]["train"]
    lines = [f"{rows[0]['metric_name']} at {train['pattern']}, {_seeds(train)}, measured"]
    for row in rows:
        mean = "diverged" if row["mean"] is None else f"{row['mean']:.2f}"
        deviation = "" if row["deviation"] is None else f" (deviation {row['deviation']:.2f})"
        against = ""
        if row["difference"] is not None:
            interval = "" if row["half_width"] is None else f" ± {row['half_width']:.2f}"
            against = f"  to dense {row['difference']:+.2f}{interval}"
        lines.append(f"  {row['method']:8} {mean}{deviation}{against}")
    widths = [row["half_width"] for row in rows if row["half_width"] is not None]
    if widths:
        lines.append(
            f"  differences within ± {max(widths):.2f} are not resolved (95 %, all at once)"
        )
    return lines


def _accuracy(document: dict[str, Any]) -> Fact | None:
    if document["training"] is None:
        return None
    rows = {row["method"]: row for row in document["training"]["accuracy"]}
    train = document["scenario"]["train"]
    own, dense = rows[train["method"]], rows.get(DENSE)
    if own["mean"] is None:
        return Fact("diverged", f"{train['method']} {train['pattern']}", "measured")
    unit = " %" if own["metric_name"] == "accuracy" else ""
    method = DENSE if train["method"] == DENSE else f"{train['method']} {train['pattern']}"
    label = f"{own['metric_name']} of {method}"
    if dense is not None and dense["mean"] is not None and own["difference"] is not None:
        interval = "" if own["half_width"] is None else f" ± {own['half_width']:.2f}"
        label += f"; dense {dense['mean']:.2f}{unit}, difference {own['difference']:+.2f}{interval}"
    return Fact(f"{own['mean']:.2f}{unit}", f"{label} ({_seeds(train)})", "measured")


def _on_accelerator(document: dict[str, Any]) -> Iterator[Fact]:
    """Accuracy of the training in FP16, on the machine and on the RTL."""
    trained = document["on_accelerator"]
    if trained is None:
        return
    for executor, name in EXECUTORS.items():
        values = [run["accuracy"] for run in trained["runs"] if run["executor"] == executor]
        if values:
            mean = sum(values) / len(values)
            difference = mean_difference(document, executor)
            against = "" if difference is None else f"; to PyTorch {difference:+.2f} points, paired"
            count = "one seed" if len(values) == 1 else f"{len(values)} seeds"
            label = f"accuracy, trained in FP16 on the {name} of {trained['accelerator']}"
            yield Fact(f"{mean:.2f} %", f"{label} ({count}){against}", "measured")


def paired(document: dict[str, Any], executor: str) -> list[tuple[int, float, float | None]]:
    """(seed, accuracy on the accelerator, accuracy in PyTorch) of every run of an executor."""
    method = document["scenario"]["train"]["method"]
    runs = document["training"]["runs"]
    torch = {run["seed"]: run["metric"] for run in runs if run["method"] == method}
    return [
        (run["seed"], run["accuracy"], torch[run["seed"]])
        for run in document["on_accelerator"]["runs"]
        if run["executor"] == executor
    ]


def mean_difference(document: dict[str, Any], executor: str) -> float | None:
    """Mean paired difference to PyTorch, in points."""
    pairs = [own - other for _, own, other in paired(document, executor) if other is not None]
    return sum(pairs) / len(pairs) if pairs else None


def _seeds(train: dict[str, Any]) -> str:
    count = len(train["seeds"])
    return f"{count} paired seeds" if count > 1 else "one seed"


def _cpu(document: dict[str, Any]) -> Fact | None:
    measured = document["measured"]
    if measured is None:
        return None
    speedup = ratio(measured["dense_s"], measured["sparse_s"])
    dispatched = ratio(measured["dense_s"], measured["dispatched_s"])
    label = (
        "training step's matrix products on CPU kernels against the best dense library "
        f"({times(dispatched)} with dense where it is faster)"
    )
    return Fact(times(speedup), label, "measured")


def _accelerator(document: dict[str, Any]) -> Fact | None:
    simulated = document["simulated"]
    if simulated is None:
        return None
    method = document["scenario"]["train"]["method"]
    step, dense = simulated["methods"][method], simulated["methods"][DENSE]
    products = times(ratio(product_cycles(dense), product_cycles(step)))
    bound = times(ratio(dense["macs"], step["issued_macs"]))
    label = (
        f"whole training step on {simulated['accelerator']['name']} over dense on the same array; "
        f"matrix products alone {products} (simulated), operation bound {bound} (counted)"
    )
    return Fact(times(ratio(dense["cycles"], step["cycles"])), label, "simulated + modelled")


def _rtl(document: dict[str, Any]) -> Fact | None:
    rtl = document["rtl"]
    if rtl is None:
        return None
    if rtl["skipped"]:
        return Fact("not run", f"RTL: {rtl['skipped']}", "counted")
    count = len(rtl["layers"])
    label = (
        f"programs of the training step equal the simulator on the RTL of "
        f"{rtl['accelerator']['name']} (batch {rtl['batch']}): {rtl['cycles_counted']:,} cycles, "
        f"predicted {rtl['cycles_predicted']:,}; {rtl['bytes_compared']:,} bytes compared"
    )
    return Fact(f"{count - rtl['different']} of {count}", label, "counted")


def product_cycles(step: dict[str, Any]) -> int:
    """Cycles of a step's matrix products."""
    return sum(
        split["simulated"]
        for phase, split in step["cycles_by_phase"].items()
        if phase in GEMM_PHASES
    )


def _storage(document: dict[str, Any]) -> Fact | None:
    rows = document["storage"]
    packed, dense = (sum(row[key] for row in rows) for key in ("packed_bits", "dense_bits"))
    share = ratio(packed, dense)
    if share is None:
        return None
    return Fact(f"{100 * share:.1f} %", "of dense FP16: the packed sparse weights", "counted")
