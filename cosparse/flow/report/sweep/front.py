"""The points that no other point beats, and how they are drawn and listed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blocks import Block, Code, Figure, Section, Table, Text
from .configuration import axis_line, scenario_text
from .points import SweepPoints

_DRAWN = 500
"""Points of the front."""
_BESIDE = 2_000
"""Points beside it."""
_LISTED = 25
_COPIED = 3


def front_section(points: SweepPoints) -> Section | None:
    rows = points.front
    if not len(rows):
        return None
    texts = ", ".join(one.text for one in points.objectives)
    blocks: list[Block] = [
        Text(
            f"{len(rows):,} of {len(points):,} points are beaten by no other in all of: {texts}. "
            "Touch a point to read it; a click shows its configuration to be copied."
        ),
        _figure(points, rows),
        _table(points, rows),
    ]
    blocks += [Code(scenario_text(points, row)) for row in _ends(rows)]
    return Section("Pareto front (simulated)", tuple(blocks))


def _ends(rows: NDArray[np.int64]) -> list[int]:
    """Some of the front to copy where no script runs: its ends and its middle."""
    places = np.unique(np.linspace(0, len(rows) - 1, _COPIED).round().astype(int))
    return [int(rows[place]) for place in places]


def _figure(points: SweepPoints, rows: NDArray[np.int64]) -> Figure:
    known = points.known
    others = np.setdiff1d(known, rows)
    drawn = _some(rows, _DRAWN)
    beside = _some(others, _BESIDE)
    data = (
        _trace(points, beside, "other points", {"size": 5, "opacity": 0.35}),
        _trace(points, drawn, "Pareto front", {"size": 9}),
    )
    layout = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": points.label(0)}, "type": _scale(points.value(0)[known])},
        "yaxis": {"title": {"text": points.label(1)}, "type": _scale(points.value(1)[known])},
    }
    caption = "Simulated time, modelled energy, estimated area, at an assumed clock."
    if len(beside) < len(others):
        caption += f" {len(beside):,} of {len(others):,} points beside the front are drawn."
    if len(points.objectives) > 2:
        caption += " The front is that of all objectives, seen along the first two."
    return Figure(data, layout, caption, pick="A click on a point shows its configuration here.")


def _trace(
    points: SweepPoints, rows: NDArray[np.int64], name: str, marker: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": points.value(0)[rows].tolist(),
        "y": points.value(1)[rows].tolist(),
        "marker": marker,
        "hovertemplate": "%{text}<extra></extra>",
        "text": [_hover(points, row) for row in rows.tolist()],
        "customdata": [scenario_text(points, row) for row in rows.tolist()],
    }


def _hover(points: SweepPoints, row: int) -> str:
    axes = axis_line(points, row).replace("<", "&lt;")
    values = ", ".join(
        f"{one.text} {points.value(place)[row]:.4g}" for place, one in enumerate(points.objectives)
    )
    return f"point {points.number[row]}<br>{axes}<br>{values}<br>limited by {points.limiter[row]}"


def _table(points: SweepPoints, rows: NDArray[np.int64]) -> Table:
    names = [(one.text, points.value(place)) for place, one in enumerate(points.objectives)]
    axes = {name: points.axes[name] for name in points.axes if name not in dict(names)}
    columns = ("Point", *(text for text, _ in names), "Limited by", *axes)
    listed = _some(rows, _LISTED)
    cells = tuple(
        (
            str(points.number[row]),
            *(float(values[row]) for _, values in names),
            points.limiter[row],
            *(str(values[row]) for values in axes.values()),
        )
        for row in listed.tolist()
    )
    caption = (
        f"{len(listed)} of the {len(rows):,} points of the front" if len(listed) < len(rows) else ""
    )
    return Table(columns, cells, caption)


def _some(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of them, evenly."""
    if len(rows) <= count:
        return rows
    some: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return some


def _scale(values: NDArray[np.float64]) -> str:
    """Logarithmic where values span more than a decade."""
    low, high = float(values.min()), float(values.max())
    return "log" if low > 0 and high > 10 * low else "linear"
