"""The roofline of the fastest point."""

from ...analysis import Roofline, roofline
from ..blocks import Figure, Section, Text
from .configuration import axis_line
from .fastest import priced
from .points import SweepPoints


def roofline_section(points: SweepPoints) -> Section | None:
    row = int(points.columns["milliseconds"].argmin())
    _, config, timings = priced(points, row)
    roof = roofline(timings, config)
    if not roof.points:
        return None
    left = sum(one.intensity < roof.ridge for one in roof.points)
    text = (
        f"The fastest point ({axis_line(points, row)}): {roof.peak:,} MACs and {roof.bandwidth} bytes a "
        f"cycle, ridge at {roof.ridge:.3g} MACs a byte; {left} of {len(roof.points)} products lie left of it."
    )
    return Section("Roofline (simulated)", (Text(text), _figure(roof)))


def _figure(roof: Roofline) -> Figure:
    data = []
    for phase in dict.fromkeys(one.phase for one in roof.points):
        own = [one for one in roof.points if one.phase == phase]
        data.append({
            "type": "scatter",
            "mode": "markers",
            "name": phase,
            "x": [one.intensity for one in own],
            "y": [one.macs_per_cycle for one in own],
            "text": [one.name.replace("<", "&lt;") for one in own],
            "hovertemplate": "%{text}<br>%{x:.3g} MACs/byte, %{y:.4g} MACs/cycle<extra></extra>",
        })  # fmt: skip
    ends = sorted({*(one.intensity for one in roof.points), roof.ridge})
    line = {"type": "scatter", "mode": "lines", "name": "roof", "hoverinfo": "skip"}
    data.append({**line, "x": ends, "y": [roof.bound(x) for x in ends]})
    layout = {
        "xaxis": {"type": "log", "title": {"text": "issued MACs per byte of DRAM"}},
        "yaxis": {"type": "log", "title": {"text": "issued MACs per cycle"}},
    }
    caption = "One mark a product (Williams, Waterman, Patterson, CACM 2009)"
    return Figure(tuple(data), layout, caption)
