"""Which programs of the step ran on the RTL, and that nothing differed from the simulator."""

from typing import Any

from ..blocks import Block, Section, Table, Text

_COLUMNS = (
    "Layer",
    "Phase",
    "Pattern or pass",
    "Dataflow",
    "Instructions",
    "Cycles predicted",
    "Cycles counted",
    "Bytes compared",
    "Array busy, cycles",
    "Verdict",
)


def rtl_section(document: dict[str, Any]) -> Section | None:
    rtl = document["rtl"]
    if rtl is None:
        return None
    if rtl["skipped"]:
        return Section("RTL (counted)", (Text(f"Not run: {rtl['skipped']}"),))
    table = Table(
        _COLUMNS,
        tuple(_row(row) for row in rtl["layers"]),
        "Programs of one training step on the SystemVerilog, the shortest first. Predicted by the "
        "timing model, counted by the RTL's own counters",
    )
    blocks: list[Block] = [Text(_conditions(rtl)), table]
    wrong = [
        (row["name"], row["phase"], text) for row in rtl["layers"] for text in row["differences"]
    ]
    if wrong:
        blocks.append(Table(("Layer", "Phase", "Difference"), tuple(wrong)))
    if rtl["left_out"]:
        left_out = tuple((row["name"], row["phase"], row["why"]) for row in rtl["left_out"])
        blocks.append(Table(("Layer", "Phase", "Why"), left_out, "Programs that did not run"))
    return Section("RTL (counted)", tuple(blocks))


def _conditions(rtl: dict[str, Any]) -> str:
    config = rtl["accelerator"]
    tools = ", ".join(f"{name} {version}" for name, version in rtl["tools"].items())
    return (
        f"{config['name']}: {config['rows']} x {config['cols']} processing elements, batch "
        f"{rtl['batch']}, simulated with {tools}. Weights are the network's, activations and gradients "
        "random. After each program all of its memory is compared with the machine byte for byte, the "
        "total cycles with timing model and engine, and each unit's busy and stall cycles with the "
        f"engine: {rtl['different']} of {len(rtl['layers'])} programs differ."
    )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["name"],
        row["phase"],
        row["what"],
        row["dataflow"],
        row["instructions"],
        row["predicted"],
        row["counted"],
        row["bytes"],
        row["units"].get("STCE", {}).get("BUSY"),
        "equal" if row["equal"] else "differs",
    )
