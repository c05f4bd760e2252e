"""The report as one HTML file that opens offline: style and Plotly are inside."""

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from .blocks import Block, Code, Facts, Figure, Heading, Section, Table, Text
from .format import cell_text


def render_html(heading: Heading, sections: list[Section]) -> str:
    """The whole report as one HTML text."""
    template = files(__package__).joinpath("template.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = cell_text
    environment.filters["slug"] = _slug
    environment.tests["number"] = lambda cell: isinstance(cell, int | float)
    return environment.from_string(template).render(
        heading=heading,
        sections=[{"title": s.title, "blocks": [_view(b) for b in s.blocks]} for s in sections],
        figures=_json([_figure(b) for s in sections for b in s.blocks if isinstance(b, Figure)]),
        plotly=get_plotlyjs(),
    )


_KINDS = {Text: "text", Table: "table", Figure: "figure", Facts: "facts", Code: "code"}


def _view(block: Block) -> dict[str, Any]:
    return {"kind": _KINDS[type(block)], "block": block}


def _figure(figure: Figure) -> dict[str, Any]:
    return {"data": figure.data, "layout": figure.layout}


def _json(value: Any) -> str:
    """JSON that can neither end the script element it stands in nor open a comment there."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
