"""Accuracy by method: means, paired differences, and what the number of seeds can resolve."""

from typing import Any

from ..blocks import Section, Table, Text
from ..figures import grouped_bars, lines
from ..format import signed


def accuracy_section(document: dict[str, Any]) -> Section | None:
    training = document["training"]
    if training is None:
        return None
    rows = training["accuracy"]
    unit = "%" if rows[0]["metric_name"] == "accuracy" else ""
    return Section(
        "Accuracy by method",
        (
            Text(_statement(document, rows)),
            Table(
                ("Method", "Mean", "Deviation", "Difference to dense", "95 % interval", "Seeds"),
                tuple(_row(row) for row in rows),
                f"Measured: {rows[0]['metric_name']} on the test data"
                + (", in percent" if unit else "; lower is better"),
            ),
            _bars(rows),
            _curves(training["runs"]),
        ),
    )


def _statement(document: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    seeds = len(document["scenario"]["train"]["seeds"])
    widths = [row["half_width"] for row in rows if row["half_width"] is not None]
    data = document["data"]
    tests = f"{data['test']:,} test {'bytes' if data['task'] == 'language' else 'samples'}"
    if not widths:
        return (
            f"{tests}, {seeds} seed(s): too few to say how sure a difference is. "
            "Methods share initial weights and batches seed by seed."
        )
    unit = "points" if rows[0]["metric_name"] == "accuracy" else rows[0]["metric_name"]
    return (
        f"{tests}, {seeds} paired seeds: methods share initial weights and batches seed by seed. "
        f"Differences within ±{max(widths):.2g} {unit} are not resolved (95 %, for all methods at "
        "once: deviations pooled, Bonferroni)."
    )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    interval = "–" if row["half_width"] is None else f"± {row['half_width']:.2f}"
    mean = "diverged" if row["mean"] is None else f"{row['mean']:.2f}"
    deviation = "–" if row["deviation"] is None else f"{row['deviation']:.2f}"
    return (row["method"], mean, deviation, signed(row["difference"]), interval, len(row["values"]))


def _bars(rows: list[dict[str, Any]]) -> Any:
    name = rows[0]["metric_name"]
    figure = grouped_bars(
        [row["method"] for row in rows],
        {name: [row["mean"] for row in rows]},
        axis="accuracy (%)" if name == "accuracy" else name,
        caption="Mean over seeds; the bar is one standard deviation (measured). The axis does not "
        "start at zero.",
        errors={name: [row["deviation"] for row in rows]},
    )
    means = [row["mean"] for row in rows if row["mean"] is not None]
    spread = max([row["deviation"] or 0 for row in rows], default=0)
    if means:
        margin = max(1.5 * spread, 0.3 * (max(means) - min(means)), 0.01 * max(means))
        figure.layout["yaxis"]["range"] = [min(means) - margin, max(means) + margin]
    return figure


def _curves(runs: list[dict[str, Any]]) -> Any:
    first = runs[0]["seed"]
    series = {
        run["method"]: (
            [point["step"] for point in run["history"]],
            [point["loss"] for point in run["history"]],
        )
        for run in runs
        if run["seed"] == first
    }
    return lines(
        series,
        x_axis="optimizer step",
        y_axis="training loss",
        caption=f"Training loss of seed {first} (measured)",
    )
