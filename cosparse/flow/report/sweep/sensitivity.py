"""How much of an objective's spread each axis explains, and where it is best."""

import numpy as np

from ...analysis import Effect, main_effects
from ..blocks import Block, Section, Table, Text
from ..figures import grouped_bars
from .points import SweepPoints

_VALUES = 8
"""Values of an axis whose means are listed."""


_LEAST = 0.001
"""Share from which on an axis is listed."""


def sensitivity_section(points: SweepPoints) -> Section | None:
    effects = {}
    for place, one in enumerate(points.objectives):
        known = np.flatnonzero(np.isfinite(points.costs[:, place]))
        if len(known) > 1 and points.axes:
            axes = {name: [values[row] for row in known] for name, values in points.axes.items()}
            effects[one.text] = main_effects(axes, points.costs[known, place])
    if not effects:
        return None
    names = list(points.axes)
    shares = {
        text: [next(e.share for e in found if e.axis == name) for name in names]
        for text, found in effects.items()
    }
    blocks: list[Block] = [
        Text(
            "Share of an objective's variance between the values of one axis (first-order index of Sobol, "
            "2001). On a full grid the rest to 1 is interaction; on a search's points, which crowd where it "
            "is good, it describes these points only."
        ),
        grouped_bars(
            names, shares, axis="share of the variance", caption="Over all points that run."
        ),
        _table(points, effects),
    ]
    return Section("Sensitivity", tuple(blocks))


def _table(points: SweepPoints, effects: dict[str, list[Effect]]) -> Table:
    """Means of the objectives at each value; long axes by their ends and best value."""
    rows = []
    for place, (text, found) in enumerate(effects.items()):
        sign = -1 if points.objectives[place].maximised else 1
        for effect in found:
            if effect.share < _LEAST:
                continue
            means = dict(zip(effect.values, effect.means, strict=True))
            shown = list(means) if len(means) <= _VALUES else [*means][:: -(-len(means) // _VALUES)]
            at = "  ".join(f"{value}: {sign * means[value]:.4g}" for value in shown)
            rows.append((text, effect.axis, effect.share, str(effect.best), at))
    columns = ("Objective", "Axis", "Share", "Best value", "Mean at its values")
    return Table(
        columns,
        tuple(rows),
        f"Axes with a share of {_LEAST:.1%} or more. Best value: by the mean over all else.",
    )
