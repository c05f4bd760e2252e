"""The study's table as text, and its page with plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cosparse

from ..report import write_pages
from ..report.blocks import Heading, Section, Table, Text
from ..report.figures import grouped_bars, reference_line
from .cells import Grid
from .records import Record
from .table import Contrast, Row, contrasts_of, rows_of

COLUMNS = ("cell", "seeds", "metric", "loss", "95 % bounds", "verdict", "operations", "flips",
           "noise dropped / kept")  # fmt: skip
STATEMENT = (
    "Losses are paired by seed against dense: accuracy points, or percent of bits per byte. The bounds are "
    "one-sided at 95 % each. A cell holds when its upper bound is within the margin; otherwise it reads not "
    "resolved. Cells without seeds were not run. Tasks are never averaged. The BDWP paper's tasks (CIFAR, "
    "Tiny-ImageNet, ImageNet) are others: its 0.56 % gave the margin and is no result to compare with."
)


def lines_of(grid: Grid, records: Mapping[str, Record]) -> list[tuple[str, ...]]:
    """Heads and rows for a terminal, task by task."""
    table = [("task", *COLUMNS)]
    return table + [(row.task, *_cells(row)) for row in rows_of(grid, records)]


def contrast_lines(grid: Grid, records: Mapping[str, Record]) -> list[str]:
    return [
        f"{one.task}: {one.text}: {_bounded(one)}, {one.verdict}"
        for one in contrasts_of(grid, records)
    ]


def write_study(grid: Grid, records: Mapping[str, Record], folder: Path) -> tuple[Path, Path]:
    """Write study.html and study.md; returns their paths."""
    rows, sections = rows_of(grid, records), [Section("How to read this", (Text(STATEMENT),))]
    sections += [
        _section(grid, task, [row for row in rows if row.task == task])
        for task in dict.fromkeys(row.task for row in rows)
    ]
    contrasts = contrasts_of(grid, records)
    if contrasts:
        table = Table(
            ("task", "comparison", "gain and 95 % bounds", "verdict"),
            tuple((one.task, one.text, _bounded(one), one.verdict) for one in contrasts),
            "Paired by seed; bounds one-sided at 95 % each.",
        )
        sections.append(Section("Methods against each other", (table,)))
    folder.mkdir(parents=True, exist_ok=True)
    done = sum(row.done for row in rows if "control" not in row.label)
    planned = sum(grid.seeds.values())
    dates = sorted(one.about["versions"]["torch"] for one in records.values() if one.about)
    about = f"{grid.summary}; {done} of {planned} runs are there"
    date = f"torch {dates[-1]}" if dates else "nothing was run"
    heading = Heading(f"Accuracy study {grid.name}", about, cosparse.__version__, date)
    return write_pages(heading, sections, folder, "study")


def _section(grid: Grid, name: str, rows: Sequence[Row]) -> Section:
    task = grid.task(name)
    table = Table(COLUMNS, tuple(_cells(row) for row in rows), f"Measured; losses in {task.unit}.")
    shown = [row for row in rows if row.loss.mean is not None and row.verdict != "baseline"]
    if not shown:
        return Section(name, (table,))
    halves = [
        None if row.loss.upper is None else row.loss.upper - (row.loss.mean or 0) for row in shown
    ]
    figure = grouped_bars(
        [row.label for row in shown],
        {"loss": [row.loss.mean for row in shown]},
        axis=f"loss against dense, {task.unit}",
        caption="Mean paired loss with its one-sided 95 % bounds.",
        errors={"loss": halves},
    )
    return Section(name, (table, reference_line(figure, task.margin, "margin of the claim")))


def _cells(row: Row) -> tuple[str, ...]:
    window = row.windows[-1] if row.windows else {}
    noise = window.get("noise_dropped")
    ratio = "-" if not noise or not window["noise_kept"] else f"{noise / window['noise_kept']:.2f}"
    bounds = "-"
    if row.loss.lower is not None and row.loss.upper is not None and row.verdict != "baseline":
        bounds = f"{row.loss.lower:+.2f} .. {row.loss.upper:+.2f}"
    diverged = f", {row.loss.diverged} diverged" if row.loss.diverged else ""
    return (
        row.label,
        f"{row.done} of {row.planned}{diverged}",
        "-" if row.mean is None else f"{row.mean:.3f}",
        "-" if row.loss.mean is None else f"{row.loss.mean:+.2f}",
        bounds,
        row.verdict,
        "-" if row.cost is None else f"{row.cost:.2f}",
        f"{window['flips']:.1e}" if window else "-",
        ratio,
    )


def _bounded(one: Contrast) -> str:
    gain = one.gain
    if gain.mean is None or gain.lower is None or gain.upper is None:
        return "too few pairs"
    return f"{gain.mean:+.2f} ({gain.lower:+.2f} .. {gain.upper:+.2f})"
