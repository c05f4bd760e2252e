"""What this report does not contain, and why."""

from typing import Any

from ..blocks import Section, Table


def limits_section(document: dict[str, Any]) -> Section:
    rows = tuple((item["what"], item["why"]) for item in document["not_measured"])
    return Section("Not measured", (Table(("What", "Why"), rows),))
