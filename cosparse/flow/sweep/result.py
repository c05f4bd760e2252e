"""What a sweep gives back: counts, and the points in its store as rows, tables and files."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosparse.spec import InputError
from cosparse.spec.errors import MissingToolError, unknown_name

from .objectives import columns_of, parse_objective
from .samplers import costs_of
from .store import RESULT_COLUMNS, Store

SHOWN = 5
"""Points that a table shows."""
_SHOWN = ("model", "method", "pattern", "batch", "dataflow", "rows", "cols", "interleave",
          "activation_kib", "weight_kib", "accumulator_kib", "dram_bytes_per_cycle",
          "milliseconds", "energy_j", "lut", "bram36", "accuracy")  # fmt: skip
"""Columns of these tables."""


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A sweep that is complete. sweep: its number in the store at `path`.

    points: of the sweep; refused: those of them that the accelerator cannot run. evaluated: in this run;
    reused: found in the store. left_out: combinations of the axes by the rule that they break.
    """

    path: Path
    sweep: int
    name: str
    points: int
    refused: int
    evaluated: int
    reused: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    objectives: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Points evaluated a second."""
        return self.evaluated / self.seconds if self.seconds else 0.0

    def rows(self, *columns: str) -> Iterator[dict[str, Any]]:
        """The points as mappings, by number; columns: of RESULT_COLUMNS, by default all."""
        chosen = _known(columns)
        with Store.open(self.path, read=True) as store:
            for values in store.results(self.sweep, chosen):
                yield dict(zip(chosen, values, strict=True))

    def best(self, objective: str | None = None, count: int = SHOWN) -> list[dict[str, Any]]:
        """The points of the least cost by an objective, by default the sweep's first, else the time.

        Points where it has no finite value are left out.
        """
        chosen = parse_objective(objective or next(iter(self.objectives), "milliseconds"))
        names = columns_of([chosen])
        with Store.open(self.path, read=True) as store:
            found = [
                row for row in store.results(self.sweep, ("number", *names)) if None not in row
            ]
            if not found:
                return []
            columns = {
                name: np.array([row[place] for row in found]) for place, name in enumerate(names, 1)
            }
            costs = costs_of([chosen], columns, len(found))[:, 0]
            finite = np.flatnonzero(np.isfinite(costs))
            order = finite[np.argsort(costs[finite], kind="stable")][:count].tolist()
            numbers = [found[place][0] for place in order]
            marks = ",".join(map(str, numbers))
            rows = {
                row[0]: dict(zip(RESULT_COLUMNS, row, strict=True))
                for row in store.rows(
                    f"SELECT {', '.join(RESULT_COLUMNS)} FROM result "
                    f"WHERE sweep = ? AND number IN ({marks})",
                    self.sweep,
                )
            }
        return [rows[number] for number in numbers]

    def export(self, path: str | Path) -> Path:
        """Write all points to a .csv or .parquet file."""
        from .export import export

        with Store.open(self.path, read=True) as store:
            return export(store, self.sweep, Path(path))

    def report(self, folder: str | Path | None = None) -> tuple[Path, Path]:
        """Write report.html and report.md into a folder, by default beside the store; returns their paths."""
        from ..report.sweep import write_sweep_report

        return write_sweep_report(self.path, None if folder is None else Path(folder), self.sweep)

    def to_pandas(self) -> Any:
        """All points as a pandas DataFrame. Raises MissingToolError without pandas."""
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MissingToolError("to_pandas needs pandas: pip install pandas") from error
        with Store.open(self.path, read=True) as store:
            rows = list(store.results(self.sweep))
        return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))

    def summary(self) -> list[str]:
        """The run in a few lines."""
        out = sum(self.left_out.values())
        lines = [
            f"{self.name}: {self.points:,} points"
            + (f", {self.refused:,} of them cannot run" if self.refused else "")
            + (f"; {out:,} combinations left out" if out else ""),
            f"{self.evaluated:,} evaluated in {self.seconds:.1f} s, {self.rate:,.0f} a second; "
            f"{self.reused:,} were in the store",
        ]
        lines += [f"  {count:,} left out: {rule}" for rule, count in self.left_out.items()]
        return [*lines, f"store: {self.path}"]

    def complaint(self) -> str | None:
        """Why there is nothing to show; None where some point runs."""
        if self.points > self.refused:
            return None
        if not self.points:
            return f"{self.name}: the rules leave no point, so there is no report"
        with Store.open(self.path, read=True) as store:
            why = next(reason for (reason,) in store.results(self.sweep, ("refused",)))
        return (
            f"{self.name}: none of the {self.points:,} points can run, so there is no report: {why}"
        )

    def tables(self, count: int = SHOWN) -> list[list[tuple[str, ...]]]:
        """The best points by each objective as text, the heading first."""
        found = []
        for objective in self.objectives or ("milliseconds",):
            best = self.best(objective, count)
            if best:
                names = [name for name in _SHOWN if best[0][name] is not None]
                aim = "most" if parse_objective(objective).maximised else "least"
                words = objective.removeprefix("maximise ").removeprefix("minimise ")
                heading = (f"{aim} {words}", *names)
                rows = [(str(row["number"]), *(_text(row[name]) for name in names)) for row in best]
                found.append([heading, *rows])
        return found

    def to_json(self, count: int = SHOWN) -> dict[str, Any]:
        """Plain JSON values: the counts, and the best points by each objective."""
        objectives = self.objectives or ("milliseconds",)
        return {
            **{key: value for key, value in vars(self).items() if key not in ("path", "left_out")},
            "store": str(self.path),
            "left_out": dict(self.left_out),
            "best": {text: self.best(text, count) for text in objectives},
        }

    def __repr__(self) -> str:
        blocks = ["\n".join(self.summary())]
        for rows in self.tables():
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines = (
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                for row in rows
            )
            blocks.append("\n".join(line.rstrip() for line in lines))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        text = "<br>".join(map(html.escape, self.summary()))
        return f"<p>{text}</p>{''.join(map(_html_table, self.tables()))}"


def _html_table(rows: list[tuple[str, ...]]) -> str:
    cells = [
        f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>"
        for tag, row in (("th", rows[0]), *(("td", row) for row in rows[1:]))
    ]
    return f"<table>{''.join(cells)}</table>"


def _known(columns: tuple[str, ...]) -> tuple[str, ...]:
    for name in columns:
        if name not in RESULT_COLUMNS:
            raise InputError(unknown_name("column", name, RESULT_COLUMNS))
    return columns or RESULT_COLUMNS


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
