"""The page of a comparison: verdict, every quantity, how the scenarios differ, the layers."""

import math
from pathlib import Path
from typing import Any

from ..comparison import Change, Comparison
from .blocks import Block, Cell, Heading, Section, Table, Text
from .format import cell_text

COLUMNS = ("Quantity", "Kind", "A", "B", "Better by", "Verdict")
_MOST_LAYERS = 40


def rows_of(comparison: Comparison, allowed: float) -> list[tuple[Cell, ...]]:
    """One row a quantity, in the columns of COLUMNS."""
    return [
        (c.name, c.kind, c.before, c.after, _percent(-c.worse), verdict(c, allowed))
        for c in comparison.changes
    ]


def verdict(change: Change, allowed: float) -> str:
    """One word or two for a change; `allowed` is the part by which it may get worse."""
    if change.worse == 0:
        return "equal"
    if not change.resolved:
        return "within noise"
    if change.worse < 0:
        return "better"
    return "REGRESSION" if change.worse > allowed else "worse, allowed"


def verdict_line(comparison: Comparison, allowed: float) -> str:
    """The comparison in one sentence."""
    worse, lost = len(comparison.regressions(allowed)), len(comparison.lost)
    words = f"{worse} of {len(comparison.changes)} quantities are worse by more than {allowed:.2%}"
    return words + (f"; {lost} that A has are missing in B" if lost else "")


def comparison_sections(comparison: Comparison, allowed: float) -> list[Section]:
    """The sections of the page."""
    note = (
        "Better by: part of A's value, negative is worse. Simulated, modelled and counted values have "
        "no noise; a measured speed is judged where the ranges of the two runs do not overlap, an "
        "accuracy where the paired 95 % interval over common seeds leaves out zero."
    )
    table = Table(COLUMNS, tuple(rows_of(comparison, allowed)))
    blocks: list[Block] = [Text(verdict_line(comparison, allowed) + "."), Text(note), table]
    for words, names in (("Only in A", comparison.lost), ("Only in B", comparison.gained)):
        if names:
            blocks.append(Table((words,), tuple((name,) for name in names)))
    sections = [Section("Verdict", tuple(blocks))]
    if comparison.scenario:
        rows = Table(("Key", "A", "B"), comparison.scenario)
        sections.append(Section("Scenarios", (rows,)))
    if comparison.layers:
        sections.append(_layers(comparison))
    return sections


def _layers(comparison: Comparison) -> Section:
    """The matrix products whose cycles changed most."""
    by_change = sorted(comparison.layers, key=lambda row: -abs(row[4] - row[3]))
    shown = tuple((*row, _percent(1 - row[4] / row[3])) for row in by_change[:_MOST_LAYERS])
    columns = ("Method", "Layer", "Phase", "A, cycles", "B, cycles", "Better by")
    caption = (
        f"Simulated; {len(shown)} of {len(by_change)} products that differ, largest change first"
    )
    return Section("Layers", (Table(columns, shown, caption),))


def comparison_heading(a: Path, b: Path, document: dict[str, Any]) -> Heading:
    """document: the second run's."""
    origin = document["provenance"]
    title = f"{document['scenario']['name']}: comparison"
    return Heading(title, f"A: {a}. B: {b}.", origin["versions"]["cosparse"], origin["date"])


def text_rows(comparison: Comparison, allowed: float) -> list[tuple[str, ...]]:
    """The same rows as text, for a terminal."""
    return [tuple(cell_text(cell) for cell in row) for row in rows_of(comparison, allowed)]


def _percent(part: float) -> str:
    if math.isinf(part):
        return "from zero"
    return f"{100 * part:+.2f} %" if part else "0 %"
