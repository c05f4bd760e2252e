"""What was assumed, and what is needed to obtain these points again."""

import yaml

from hwsim.version import model_version

from ..blocks import Code, Section, Table, Text
from .points import SweepPoints


def assumptions_section(points: SweepPoints) -> Section:
    clock = points.definition["accelerator"]["clock_mhz"]
    rows = (
        (
            "clock",
            "assumed, not closed on a device",
            f"{clock} MHz unless an axis says otherwise",
        ),
        (
            "energy",
            "modelled",
            "event counts times hwsim/energy.yaml, whose ranges it gives",
        ),
        ("area", "estimated", "fitted to synthesised arrays up to 8 x 8, held out on 8 x 16"),
        (
            "time",
            "simulated",
            "equal to the RTL in every cycle; operations one after the other",
        ),
        ("norms, activations", "modelled", "streaming bounds"),
    )
    columns = ("What", "How obtained", "Note")
    return Section("Assumptions, and what was not measured", (Table(columns, rows),))


def again_section(points: SweepPoints) -> Section:
    rows = (
        ("begun", points.begun),
        ("cosparse", points.version),
        ("model version", model_version()[:16]),
        ("store", points.path.name),
    )
    text = (
        "The same scenario and version give the same points and figures to the last digit. The store is one "
        "SQLite file; its view `result` has every figure of every point, `cosparse sweep ... --export "
        "points.csv` writes them."
    )
    source = yaml.safe_dump(dict(points.definition), sort_keys=False, default_flow_style=None)
    return Section("How to reproduce", (Text(text), Table(("Item", "Value"), rows), Code(source)))
