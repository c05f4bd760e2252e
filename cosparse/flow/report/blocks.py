"""What a section consists of: text, tables and figures as plain data."""

from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under column heads; numbers are aligned right. caption: what was obtained how."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A Plotly figure as data and layout. caption: what is seen, and how it was obtained.

    pick: what stands under the figure until a mark is clicked, whose `customdata` then does.
    """

    data: tuple[dict[str, Any], ...]
    layout: dict[str, Any]
    caption: str = ""
    pick: str = ""


@dataclass(frozen=True)
class Fact:
    """One headline number of the summary."""

    value: str
    label: str
    kind: str
    """measured, simulated, ...: printed beside the number."""


@dataclass(frozen=True)
class Facts:
    """Headline numbers side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Code:
    """Preformatted text."""

    text: str


Block = Text | Table | Figure | Facts | Code


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: tuple[Block, ...] = field(default=())


@dataclass(frozen=True)
class Heading:
    """What stands above the sections."""

    title: str
    description: str
    version: str
    """Of cosparse."""
    date: str
