"""Multiply-accumulates of the step, by method and phase."""

from typing import Any

from ..blocks import Section, Table
from ..facts import DENSE, GEMM_PHASES, methods_of
from ..format import ratio, times


def operations_section(document: dict[str, Any]) -> Section | None:
    if not document["workload"]:
        return None
    rows = []
    dense = sum(document["workload"][DENSE]["macs"].values())
    for method in methods_of(document):
        counts = document["workload"][method]
        issued = sum(counts["issued_macs"].values())
        by_phase = tuple(counts["issued_macs"][phase] for phase in GEMM_PHASES)
        rows.append((method, *by_phase, issued, times(ratio(dense, issued))))
    return Section(
        "Operations",
        (
            Table(
                (
                    "Method",
                    *(f"{phase} MACs" for phase in GEMM_PHASES),
                    "Issued MACs",
                    "Dense / issued",
                ),
                tuple(rows),
                f"Counted: multiply-accumulates of one step at batch {document['scenario']['batch']}, "
                "padded groups included",
            ),
        ),
    )
