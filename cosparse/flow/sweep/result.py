"""What a sweep gives back: counts, and the points in its store as rows, tables and files."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosparse.spec.errors import MissingToolError

from .columns import Columns
from .objectives import columns_of, parse_objective
from .samplers import costs_of
from .store import Store

SHOWN = 5
"""Points that a table shows."""


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
        """The points as mappings, by number; columns: of `columns`, by default all. Raises InputError."""
        with Store.open(self.path, read=True) as store:
            table = self._columns(store)
            chosen = table.chosen(columns)
            for values in table.rows(store, self.sweep, chosen):
                yield dict(zip(chosen, values, strict=True))

    @property
    def columns(self) -> tuple[str, ...]:
        """What `rows` can give: RESULT_COLUMNS and the sweep's own axes."""
        with Store.open(self.path, read=True) as store:
            return self._columns(store).names

    def _columns(self, store: Store) -> Columns:
        return Columns(store.definition(self.sweep))

    def best(self, objective: str | None = None, count: int = SHOWN) -> list[dict[str, Any]]:
        """The points of the least cost by an objective, by default the sweep's first, else the time.

        Points where it has no finite value are left out.
        """
        chosen = parse_objective(objective or next(iter(self.objectives), "milliseconds"))
        names = columns_of([chosen])
        with Store.open(self.path, read=True) as store:
            table = self._columns(store)
            read = table.rows(store, self.sweep, ("number", *names))
            found = [row for row in read if None not in row]
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
                row[0]: dict(zip(table.names, row, strict=True))
                for row in table.rows(store, self.sweep, table.names, f"number IN ({marks})")
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
            table = self._columns(store)
            rows = list(table.rows(store, self.sweep, table.names))
        return pd.DataFrame(rows, columns=list(table.names))

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
            read = self._columns(store).rows(store, self.sweep, ("refused",))
            why = next(reason for (reason,) in read)
        return (
            f"{self.name}: none of the {self.points:,} points can run, so there is no report: {why}"
        )

    def tables(self, count: int = SHOWN) -> list[list[tuple[str, ...]]]:
        """The best points by each objective as text, the heading first."""
        found = []
        with Store.open(self.path, read=True) as store:
            shown = self._columns(store).shown
        for objective in self.objectives or ("milliseconds",):
            parsed = parse_objective(objective)
            aim = f"{'most' if parsed.maximised else 'least'} {parsed.expression.text}"
            best = self.best(objective, count)
            names = [name for name in shown if any(row[name] is not None for row in best)]
            if not any(row["diverged_seeds"] for row in best):
                names = [name for name in names if name != "diverged_seeds"]
            rows = [(str(row["number"]), *(_text(row[name]) for name in names)) for row in best]
            nothing = [] if rows else [(f"no point of {self.points:,} has a finite value",)]
            found.append([(aim, *names), *rows, *nothing])
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


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
