"""What the sweep keeps of a point: one row a figure. Worked out by `evaluate`, stored by `store`."""

from dataclasses import dataclass

from hwsim.area import RESOURCES
from hwsim.compile.step import TOTALS


@dataclass(frozen=True)
class Figure:
    """One figure. kind: the column's type in SQL."""

    name: str
    kind: str
    unit: str
    meaning: str


_MEANINGS: dict[str, tuple[str, str]] = {
    "cycles": ("cycles", "of the whole training step, one operation after the other"),
    "ff_cycles": ("cycles", "forward: products and vector work"),
    "bp_cycles": ("cycles", "gradients of the inputs"),
    "wu_cycles": ("cycles", "gradients of the weights"),
    "update_cycles": ("cycles", "weight update with dense copies"),
    "prune_cycles": ("cycles", "what packed copies add to the update"),
    "modelled_cycles": ("cycles", "of all phases: streaming bounds, the rest is simulated"),
    "sore_cycles": ("cycles", "of BP: online pruning of gradients"),
    "array_cycles": ("cycles", "durations of all MATMULs"),
    "bandwidth_cycles": ("cycles", "the least that the memory needs for each operation's bytes"),
    "bandwidth_bound_cycles": ("cycles", "products whose bandwidth_cycles exceed array_cycles"),
    "ws_cycles": ("cycles", "products that run weight-stationary"),
    "issue": ("PE-cycles", "multiply-accumulates of the array"),
    "edges": ("PE-cycles", "elements without a result, or idle slots"),
    "adder": ("PE-cycles", "fewer outputs in an element than its adder loop is long"),
    "data": ("PE-cycles", "activations that are not there yet"),
    "drain": ("PE-cycles", "results on their way out"),
    "start": ("PE-cycles", "starts of MATMULs"),
    "milliseconds": ("ms", "cycles at the configuration's clock"),
    "energy_j": ("J", "event counts times hwsim/energy.yaml, and static power"),
    "energy_low_j": ("J", "with every figure of the table at its low end"),
    "energy_high_j": ("J", "with every figure of the table at its high end"),
    "lut": ("LUTs", "estimated, hwsim/area.yaml"),
    "ff": ("flip-flops", "estimated"),
    "dsp": ("DSPs", "estimated"),
    "bram36": ("BRAM36", "by formula"),
}

INTEGERS = ("cycles", *TOTALS, *RESOURCES)
"""Columns of the integer matrix of an evaluated chunk."""
REALS = ("milliseconds", "energy_j", "energy_low_j", "energy_high_j")
"""Columns of its other one."""

FIGURES: tuple[Figure, ...] = tuple(
    Figure(name, kind, *_MEANINGS.get(name, ("events", "counted; see hwsim.energy")))
    for names, kind in ((INTEGERS, "INTEGER"), (REALS, "REAL"))
    for name in names
)
FIGURE_NAMES = tuple(figure.name for figure in FIGURES)

METRICS = {"accuracy": "accuracy", "bits_per_byte": "bits per byte"}
"""What training reaches, by name -> `TrainingResult.metric_name`; known where the sweep's objectives name it:
the mean over the scenario's seeds, in the unit of the metric."""
METRIC_OF = {"classification": "accuracy", "language": "bits_per_byte"}
"""By the task of the data."""
