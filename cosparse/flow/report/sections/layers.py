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
            "; ".join(f"{phase}: {why}" for phase, why in layer["dense_because"].items()),
        )
        for layer in document["layers"]
    )
    columns = ("Weight", "Shape", "FF", "BP", "WU", "Dense because")
    return Section("Layers", (Table(columns, rows),))
