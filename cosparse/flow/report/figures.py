"""Plotly figures as plain data; colours are set where the page knows its theme."""

from collections.abc import Mapping, Sequence
from typing import Any

from .blocks import Figure


def grouped_bars(
    categories: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    axis: str,
    caption: str,
    errors: Mapping[str, Sequence[float | None]] | None = None,
) -> Figure:
    """One group of bars a category, one bar a series; `axis` names quantity and unit."""
    data = []
    for name, values in series.items():
        bar: dict[str, Any] = {
            "type": "bar",
            "name": name,
            "x": list(categories),
            "y": list(values),
        }
        if errors is not None:
            bar["error_y"] = {"type": "data", "array": list(errors[name]), "visible": True}
        data.append(bar)
    layout = {
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": axis}},
    }
    return Figure(tuple(data), layout, caption)


def stacked_bars(
    categories: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    axis: str,
    caption: str,
) -> Figure:
    """One bar a category, stacked from the series."""
    figure = grouped_bars(categories, series, axis=axis, caption=caption)
    return Figure(figure.data, {**figure.layout, "barmode": "stack"}, caption)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_axis: str,
    y_axis: str,
    caption: str,
) -> Figure:
    """One line a series of (x, y)."""
    data = tuple(
        {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y)}
        for name, (x, y) in series.items()
    )
    layout = {"xaxis": {"title": {"text": x_axis}}, "yaxis": {"title": {"text": y_axis}}}
    return Figure(data, layout, caption)


def reference_line(figure: Figure, y: float, text: str) -> Figure:
    """The same figure with a labelled horizontal line."""
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    shape["line"] = {"dash": "dot", "width": 1}
    note = {"xref": "paper", "x": 1, "y": y, "text": text, "showarrow": False, "yanchor": "bottom"}
    layout = {**figure.layout, "shapes": [shape], "annotations": [{**note, "xanchor": "right"}]}
    return Figure(figure.data, layout, figure.caption)
