"""The sweep in one screen."""

import numpy as np

from ...analysis import main_effects
from ...sweep.figures import METRICS
from ..blocks import Fact, Facts, Section, Text
from ..format import cell_text
from .configuration import axis_line
from .points import SweepPoints

_KINDS = {"milliseconds": "simulated", "energy_j": "modelled"} | dict.fromkeys(METRICS, "measured")


def overview_section(points: SweepPoints) -> Section:
    axes = ", ".join(f"{name} ({len(set(values))})" for name, values in points.axes.items())
    facts = [
        Fact(f"{len(points):,}", f"{_points(len(points))} over {axes or 'no axis'}", "simulated")
    ]
    lines: list[Text] = []
    if not points.complete:
        lines.append(
            Text(
                "This sweep is not complete: it was interrupted, or it is still running. The same "
                "command goes on, and everything below is of the points that are there so far."
            )
        )
    for place, one in enumerate(points.objectives):
        costs = points.costs[:, place]
        if np.isnan(costs).all():
            continue
        row = int(np.nanargmin(costs))
        value = points.value(place)[row]
        aim = "most" if one.maximised else "least"
        kind = _KINDS.get(points.objectives[place].text.split()[-1], "estimated")
        label = points.label(place).removesuffix(f" ({kind})")
        facts.append(Fact(cell_text(float(value)), f"{aim} {label}", kind))
        lines.append(Text(f"{aim.capitalize()} {points.label(place)}: {axis_line(points, row)}."))
    facts.append(
        Fact(
            f"{len(points.front):,}",
            f"{_points(len(points.front))} on the Pareto front",
            "simulated",
        )
    )
    if points.refused:
        lines.append(Text(f"{points.refused:,} further points cannot run and have no figures."))
    if np.isfinite(points.costs[:, 0]).all() and points.axes and len(points) > 1:
        first = main_effects(points.axes, points.costs[:, 0])[0]
        words = f"{first.axis} explains {first.share:.0%} of the spread of {points.label(0)}."
        lines.append(Text(words[0].upper() + words[1:]))
    return Section("Summary", (Facts(tuple(facts)), *lines))


def _points(count: int) -> str:
    return "point" if count == 1 else "points"
