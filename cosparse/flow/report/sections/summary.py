"""The result in one screen."""

from typing import Any

from ..blocks import Facts, Section, Text
from ..facts import summary_facts


def summary_section(document: dict[str, Any]) -> Section:
    """Headline numbers; each names how it was obtained."""
    train = document["scenario"]["train"]
    intro = (
        f"Model {document['model']}, method {train['method']}, pattern {train['pattern']}. "
        "Measured, counted, simulated, modelled and published are five different things here and "
        "are never mixed unsaid."
    )
    return Section("Summary", (Text(intro), Facts(tuple(summary_facts(document)))))
