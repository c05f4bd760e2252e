"""Multiply-accumulates of the step, by method and phase."""

from typing import Any

from ..blocks import Section, Table
from ..format import ratio, times


def operations_section(document: dict[str, Any]) -> Section | None:
    if not document["workload"]:
        return None
    rows = []
    for method, counts in document["workload"].items():
        dense, issued = sum(counts["macs"].values()), sum(counts["issued_macs"].values())
        by_phase = tuple(counts["issued_macs"].values())
        rows.append((method, *by_phase, issued, times(ratio(dense, issued))))
    phases = next(iter(document["workload"].values()))["macs"]
    return Section(
        "Operations",
        (
            Table(
                ("Method", *(f"{phase} MACs" for phase in phases), "Issued MACs", "Dense / issued"),
                tuple(rows),
                f"Counted: multiply-accumulates of one step at batch {document['scenario']['batch']}, "
                "padded groups included",
            ),
        ),
    )
