"""A study of networks and patterns: speedups, what takes them off the bound, the ablation."""

from collections.abc import Iterator
from statistics import mean
from typing import Any

from ..blocks import Block, Cell, Section, Table, Text
from ..figures import grouped_bars, reference_line
from ..format import ratio, times


def study_section(document: dict[str, Any]) -> Section | None:
    study = document["study"]
    if study is None:
        return None
    blocks: list[Block] = [
        Text(
            f"Training steps of {study['method']} at batch {study['batch']} over dense on the same "
            "accelerator. Our reconstruction: the paper's own configuration, buffers and latencies are "
            "not published, so its figures stand apart and are no target."
        ),
        _speedup_figure(study),
        _speedup_table(study),
        _explanations(study),
    ]
    ablation = [row for row in study["rows"] if row["ablation"]]
    if ablation:
        blocks.append(_ablation(ablation))
    return Section("Study (simulated + modelled)", tuple(blocks))


def speedup(row: dict[str, Any]) -> float:
    """Dense cycles over the method's, whole steps."""
    return float(row["dense_cycles"] / row["cycles"])


def averages(study: dict[str, Any]) -> dict[str, float]:
    """Mean speedup over the networks, by pattern."""
    patterns = dict.fromkeys(row["pattern"] for row in study["rows"])
    return {
        pattern: mean(speedup(row) for row in study["rows"] if row["pattern"] == pattern)
        for pattern in patterns
    }


def _speedup_figure(study: dict[str, Any]) -> Any:
    models = list(dict.fromkeys(row["model"] for row in study["rows"]))
    series = {
        pattern: [
            speedup(row)
            for model in models
            for row in study["rows"]
            if (row["model"], row["pattern"]) == (model, pattern)
        ]
        for pattern in averages(study)
    }
    figure = grouped_bars(
        models,
        series,
        axis="dense cycles / cycles",
        caption="Speedup of a whole training step over dense on the same accelerator",
    )
    return reference_line(figure, 1.0, "dense")


def _speedup_table(study: dict[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            row["model"],
            row["pattern"],
            row["dense_cycles"],
            row["cycles"],
            times(speedup(row)),
            times(ratio(row["macs"], row["issued_macs"])),
        )
        for row in study["rows"]
    ]
    rows += [
        ("average", pattern, None, None, times(s), None) for pattern, s in averages(study).items()
    ]
    columns = ("Network", "Pattern", "Dense cycles", "Cycles", "Speedup", "Operation bound")
    return Table(columns, tuple(rows), "Whole training steps; averages are arithmetic means")


def _explanations(study: dict[str, Any]) -> Table:
    """One column a network and pattern: the bound, each loss, what is left."""
    names = [part["name"] for part in study["rows"][0]["explanation"]]
    columns = ("Speedup", *(f"{row['model']} {row['pattern']}" for row in study["rows"]))
    bound, *losses = names
    rows: list[tuple[Any, ...]] = [
        (bound, *(f"{row['explanation'][0]['speedup']:.3f}" for row in study["rows"]))
    ]
    for position, name in enumerate(losses, start=1):
        cells = (f"{-row['explanation'][position]['loss']:+.3f}" for row in study["rows"])
        rows.append((name, *cells))
    rows.append(("speedup", *(f"{speedup(row):.3f}" for row in study["rows"])))
    caption = "The operation bound, what each loss takes off it, and what is left: columns sum"
    return Table(columns, tuple(rows), caption)


def _ablation(rows: list[dict[str, Any]]) -> Table:
    cells = tuple(cell for row in rows for cell in _ablation_rows(row))
    columns = ("Network", "Pattern", "Accelerator", "Cycles", "Speedup over dense", "Slowdown")
    meanings = "; ".join(f"{v['variant']}: {v['meaning']}" for v in rows[0]["ablation"])
    caption = f"Ablation; dense runs on the same reduced accelerator. {meanings}"
    return Table(columns, cells, caption)


def _ablation_rows(row: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    name = row["model"], row["pattern"]
    yield *name, "complete", row["cycles"], times(speedup(row)), None
    for variant in row["ablation"]:
        over_dense = times(variant["dense_cycles"] / variant["cycles"])
        slowdown = times(variant["cycles"] / row["cycles"])
        yield *name, variant["variant"], variant["cycles"], over_dense, slowdown
