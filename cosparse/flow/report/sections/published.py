"""Published figures of the work this project starts from; never a target, never in our columns."""

from typing import Any

from ..blocks import Section, Table

_SOURCE = "Fang et al., IEEE TCAD 2023, arXiv 2309.13015 (abstract)"


def published_section(document: dict[str, Any]) -> Section | None:
    if document["scenario"]["train"]["method"] != "bdwp":
        return None
    rows = (
        ("BDWP 2:8 over dense training on SAT, average", "1.75x speedup", _SOURCE),
        ("BDWP 2:8 accuracy loss, average", "0.56 %", _SOURCE),
    )
    caption = "Published: other networks, other data, another platform; not comparable line by line"
    return Section("Published figures", (Table(("Quantity", "Value", "Source"), rows, caption),))
