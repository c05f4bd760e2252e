"""What the numbers of this report assume; docs/assumptions.md has the long form."""

from typing import Any

from ..blocks import Section, Table

_ASSUMPTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "training",
        "accuracy, measured",
        "FP32 in PyTorch; methods share initial weights and batches seed by seed; the test data are looked "
        "at once, after training",
    ),
    (
        "on_accelerator",
        "training on the accelerator",
        "FP16 operands, FP32 sums, masters and momenta; softmax and loss on the host",
    ),
    (
        "measured",
        "CPU kernels, measured",
        "matrix products only; a weight is prepared beforehand on both sides; FP32; warm caches",
    ),
    (
        "simulated",
        "accelerator, simulated",
        "programs run one after the other: loads and compute overlap inside one product only; the DRAM has "
        "fixed latency and whole-cycle bursts",
    ),
    (
        "simulated",
        "vector work without a program, modelled",
        "norms, softmax, pooling, Adam: the larger of elements over lanes and bytes over bandwidth",
    ),
    (
        "simulated",
        "energy, modelled",
        "event counts times published pJ an event, each with a range; static power is a constant",
    ),
    (
        "simulated",
        "area, modelled",
        "a fit to open-source synthesis of our RTL, before placement; the clock is assumed, not closed",
    ),
    (
        "rtl",
        "RTL, counted",
        "two-state simulation with Verilator; the DRAM is a model with the same fixed latency",
    ),
)
"""(part of the document, what, assumption)."""


def assumptions_section(document: dict[str, Any]) -> Section | None:
    rows = tuple((what, text) for part, what, text in _ASSUMPTIONS if document[part] is not None)
    if not rows:
        return None
    return Section("Assumptions", (Table(("Figures", "Assumed"), rows),))
