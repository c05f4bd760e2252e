"""The first instructions of one product on the accelerator's units, and where its cycles go."""

from typing import Any

from ..blocks import Figure, Section, Table, Text

_UNITS = ("DMA", "STCE", "SORE", "WUVE")
_WORDS = {
    "busy": "works",
    "token": "waits for a semaphore",
    "data": "waits for data",
    "bandwidth": "waits for the channel",
    "adder": "adder's loop not filled",
    "drain": "drains",
    "idle": "has nothing to do",
}


def timeline_section(document: dict[str, Any]) -> Section | None:
    timeline = document["timeline"]
    if timeline is None:
        return None
    method = document["scenario"]["train"]["method"]
    text = (
        f"{timeline['product']} of the {method} step: {timeline['instructions']:,} instructions, "
        f"{timeline['cycles']:,} cycles on the simulated accelerator. The whole trace lies in "
        f"{timeline['file']} beside this report; ui.perfetto.dev opens it."
    )
    return Section("Timeline (simulated)", (Text(text), _bars(timeline), _cycles(timeline)))


def _bars(timeline: dict[str, Any]) -> Figure:
    """One bar an instruction, one series a kind of instruction."""
    spans = timeline["spans"]
    data = []
    for op in dict.fromkeys(span["op"] for span in spans):
        own = [span for span in spans if span["op"] == op]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": op,
                "y": [span["unit"] for span in own],
                "base": [span["start"] for span in own],
                "x": [span["end"] - span["start"] for span in own],
                "marker": {"line": {"width": 1, "color": "rgba(127,127,127,.6)"}},
            }
        )
    units = [unit for unit in _UNITS if any(span["unit"] == unit for span in spans)]
    layout = {
        "barmode": "overlay",
        "xaxis": {"title": {"text": "cycle"}},
        "yaxis": {"categoryorder": "array", "categoryarray": units[::-1]},
    }
    caption = f"The first {len(spans)} instructions, from issue until the unit is free again"
    return Figure(tuple(data), layout, caption)


def _cycles(timeline: dict[str, Any]) -> Table:
    units = timeline["units"]
    kinds = [kind for kind in _WORDS if any(units[unit][kind] for unit in _UNITS)]
    rows = tuple(
        (unit, *(f"{100 * units[unit][kind] / timeline['cycles']:.1f} %" for kind in kinds))
        for unit in _UNITS
    )
    caption = "Share of the program's cycles in which each unit works, or why it does not"
    return Table(("Unit", *(_WORDS[kind] for kind in kinds)), rows, caption)
