"""What the method does to each layer, and why some stay dense."""

from typing import Any

from ..blocks import Section, Table


def layers_section(document: dict[str, Any]) -> Section | None:
    if not document["layers"]:
        return None
    rows = tuple(
        (
            layer["name"],
            " x ".join(map(str, layer["shape"])),
            layer["FF"] or "dense",
            layer["BP"]
            or (f"dY {layer['output_gradient']}" if layer["output_gradient"] else "dense"),
            "dense",
            _reasons(layer["dense_because"]),
        )
        for layer in document["layers"]
    )
    columns = ("Weight", "Shape", "FF", "BP", "WU", "Dense because")
    return Section("Layers", (Table(columns, rows),))


def _reasons(because: dict[str, str]) -> str:
    return "; ".join(f"{phase}: {because[phase]}" for phase in ("FF", "BP") if phase in because)
