"""From points to a table by module, what is missing, and the summary that is committed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .points import KINDS, Hits, Point

REQUIRED = ("line", "branch", "toggle")
"""Kinds that must be complete. Terms of expressions are counted, and reported."""


@dataclass(frozen=True)
class Cell:
    """Points of one kind in one module; excluded ones are not among `total`."""

    covered: int
    total: int
    excluded: int = 0

    def __add__(self, other: "Cell") -> "Cell":
        return Cell(
            self.covered + other.covered, self.total + other.total, self.excluded + other.excluded
        )

    def __str__(self) -> str:
        beside = f" +{self.excluded}" if self.excluded else ""
        return f"{self.covered}/{self.total}{beside}"


Table = dict[str, dict[str, Cell]]
"""Module, then kind."""


def tabulate(hits: Hits, excluded: set[Point]) -> Table:
    counts: Counter[tuple[str, str, str]] = Counter()
    for point, count in hits.items():
        state = "excluded" if point in excluded else "covered" if count else "missing"
        counts[point.module, point.kind, state] += 1
    modules = sorted({module for module, _, _ in counts})
    return {module: {kind: _cell(counts, module, kind) for kind in KINDS} for module in modules}


def _cell(counts: Counter[tuple[str, str, str]], module: str, kind: str) -> Cell:
    covered, missing, excluded = (
        counts[module, kind, state] for state in ("covered", "missing", "excluded")
    )
    return Cell(covered, covered + missing, excluded)


def totals(table: Table) -> dict[str, Cell]:
    """Over all modules."""
    return {kind: sum((row[kind] for row in table.values()), start=Cell(0, 0)) for kind in KINDS}


def text(table: Table) -> str:
    """A row a module: covered/total of each kind, + excluded."""
    rows = [("module", *KINDS)]
    rows += [(module, *(str(cell) for cell in row.values())) for module, row in table.items()]
    rows += [("all", *(str(cell) for cell in totals(table).values()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def missing(hits: Hits, excluded: set[Point], kinds: Iterable[str] = REQUIRED) -> list[str]:
    """Points that no run met, in the order of the sources; bits of a signal together."""
    lost = sorted(p for p, n in hits.items() if not n and p.kind in kinds and p not in excluded)
    listed: dict[str, list[str]] = {}
    for point in lost:
        name, _, bit = point.what.partition("[") if point.kind == "toggle" else (point.what, "", "")
        key = f"rtl/{point.module}.sv:{point.line}: {point.kind} {name}"
        listed.setdefault(key, []).append(f"[{bit}" if bit else point.what.rpartition(":")[2])
    return [_line(key, places) for key, places in listed.items()]


def _line(key: str, places: list[str]) -> str:
    if " toggle " not in key:
        return key
    beside = f" and {len(places) - 4} more" if len(places) > 4 else ""
    return f"{key} {' '.join(places[:4])}{beside}"


def unseen(table: Table, modules: Iterable[str]) -> list[str]:
    """Modules that no run built."""
    return sorted(set(modules) - set(table))


def summary(table: Table, **beside: Any) -> dict[str, Any]:
    """What stands in the repository: [covered, total, excluded] of each kind."""

    def numbers(row: dict[str, Cell]) -> dict[str, list[int]]:
        return {kind: [cell.covered, cell.total, cell.excluded] for kind, cell in row.items()}

    return {
        **beside,
        "all": numbers(totals(table)),
        "modules": {module: numbers(row) for module, row in table.items()},
    }
