"""Bytes of the packed weights beside dense FP16."""

from typing import Any

from ..blocks import Section, Table
from ..format import ratio


def storage_section(document: dict[str, Any]) -> Section | None:
    rows = document["storage"]
    if not rows:
        return None
    packed = sum(row["packed_bits"] for row in rows)
    dense = sum(row["dense_bits"] for row in rows)
    body = [
        _row(r["layer"], r["phase"], r["pattern"], r["packed_bits"], r["dense_bits"]) for r in rows
    ]
    return Section(
        "Storage of the packed weights",
        (
            Table(
                ("Weight", "Copy", "Pattern", "Packed bytes", "Dense FP16 bytes", "Packed / dense"),
                (*body, _row("all", "both", "", packed, dense)),
                "Counted: values, indices and lane padding of the packed files, without their header",
            ),
        ),
    )


def _row(name: str, phase: str, pattern: str, packed: int, dense: int) -> tuple[Any, ...]:
    return (name, phase, pattern, packed // 8, dense // 8, f"{ratio(packed, dense):.3f}")
