"""What is needed to obtain these numbers again."""

from typing import Any

from ..blocks import Block, Code, Section, Table, Text


def reproduce_section(document: dict[str, Any]) -> Section:
    origin = document["provenance"]
    machine = origin["machine"]
    rows = [("command", origin["command"]), ("date", origin["date"])]
    rows += [("scenario hash", document["scenario_hash"])]
    if document["data"] is not None:
        rows.append(("data sha256", document["data"]["sha256"]))
    rows += [("processor", machine["cpu"]), ("cores", str(machine["cores"]))]
    rows += [(name, version) for name, version in origin["versions"].items()]
    blocks: list[Block] = [
        Text("The simulated section is the same to the byte for the same scenario and seed."),
        Table(("Item", "Value"), tuple(rows)),
    ]
    if document["source"]:
        blocks.append(Code(document["source"]))
    return Section("How to reproduce", tuple(blocks))
