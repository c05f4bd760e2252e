"""What limits the points: their cycles by cause."""

from collections import Counter
from typing import Any

from ...analysis import LIMITS, main_effects
from ..blocks import Block, Figure, Section, Table, Text
from ..figures import stacked_bars
from .points import SweepPoints

_BARS = 24
_FIGURES = 2
"""One for each of the axes that decide the cycles most."""


def causes_section(points: SweepPoints) -> Section:
    counts = Counter(points.limiter)
    rows = tuple(
        (name, counts[name], counts[name] / len(points), _mean_share(points, name), meaning)
        for name, meaning in LIMITS.items()
    )
    columns = (
        "Limit",
        "Points that it limits most",
        "Part of points",
        "Mean part of cycles",
        "What it is",
    )
    blocks: list[Block] = [
        Text("Each point's cycles by what they go to; a point is limited by the largest part."),
        Table(columns, rows),
    ]
    effects = main_effects(points.axes, points.columns["cycles"])
    blocks += [_figure(points, effect.axis) for effect in effects[:_FIGURES]]
    return Section("What limits the points (simulated)", tuple(blocks))


def _mean_share(points: SweepPoints, limit: str) -> float:
    return float((points.limits[limit] / points.columns["cycles"]).mean())


def _figure(points: SweepPoints, axis: str) -> Figure:
    """Mean parts at the values of an axis."""
    values = points.axes[axis]
    groups: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        groups.setdefault(value, []).append(row)
    numeric = all(isinstance(value, int | float) for value in groups)
    names = sorted(groups) if numeric else list(groups)
    names = names[:: -(-len(names) // _BARS)]
    parts = {
        limit: [
            float((cycles[groups[n]] / points.columns["cycles"][groups[n]]).mean()) for n in names
        ]
        for limit, cycles in points.limits.items()
    }
    caption = f"Mean part of the cycles by {axis}, one of the axes that decide them most."
    return stacked_bars(
        [str(name) for name in names], parts, axis="part of the cycles", caption=caption
    )
