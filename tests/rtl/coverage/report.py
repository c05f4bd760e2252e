"""From points to a table by module, what is missing, and the summary that is committed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import plan
from .points import KINDS, Hits, Point, name_and_bit

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
    """Points that no run met, in the order of the sources; the bits of a signal in one line."""
    lost = sorted(p for p, n in hits.items() if not n and p.kind in kinds and p not in excluded)
    signals: dict[tuple[str, ...], set[int]] = {}
    listed = []
    for point in lost:
        if point.kind != "toggle":
            listed.append(str(point))
            continue
        name, bit = name_and_bit(point)
        place, direction = str(point).partition(" ")[0], point.what.rpartition(":")[2]
        signals.setdefault((place, name, direction), set()).add(bit)
    lines = [
        f"{place} toggle {name}{ranges(bits)} {way}" for (place, name, way), bits in signals.items()
    ]
    return listed + lines


def ranges(bits: Iterable[int]) -> str:
    """Bits as `[7:4][0]`; nothing for a signal of one bit.

    >>> ranges([0, 4, 5, 6, 7])
    '[7:4][0]'
    """
    runs: list[list[int]] = []
    for bit in sorted(bits, reverse=True):
        if runs and runs[-1][1] == bit + 1:
            runs[-1][1] = bit
        else:
            runs.append([bit, bit])
    return "".join(
        f"[{high}]" if high == low else f"[{high}:{low}]" for high, low in runs if high >= 0
    )


def unseen(table: Table, modules: Iterable[str]) -> list[str]:
    """Modules that no run built."""
    return sorted(set(modules) - set(table))


def plan_text(bins: Iterable[plan.Bin]) -> str:
    """A line a cross."""
    return "\n".join(
        f"plan, {name}: {met} of {total} met, {never} ruled out"
        for name, met, total, never in plan.table(bins)
    )


def summary(table: Table, bins: Iterable[plan.Bin], **beside: Any) -> dict[str, Any]:
    """What stands in the repository: [covered, total, excluded] of each kind; bins of each cross."""

    def numbers(row: dict[str, Cell]) -> dict[str, list[int]]:
        return {kind: [cell.covered, cell.total, cell.excluded] for kind, cell in row.items()}

    return {
        **beside,
        "all": numbers(totals(table)),
        "plan": {name: list(numbers) for name, *numbers in plan.table(bins)},
        "modules": {module: numbers(row) for module, row in table.items()},
    }
