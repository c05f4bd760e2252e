"""Simulator of the sparse-training accelerator.

Configuration and constants load at once, everything compiled or event-driven on first use: `import
hwsim` loads neither numba nor simpy. The levels of fidelity are modules: `hwsim.machine` (bits),
`hwsim.timing` and `hwsim.compile` (exact cycles), `hwsim.engine` (individual bursts and tiles).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import PRESETS, AcceleratorConfig, check_mapping
from .constants import CONSTANTS
from .isa import Flow
from .rules import FIELDS, FieldRule, Problem
from .support import DATAFLOWS, supports

if TYPE_CHECKING:
    from .area import Area, estimate_area
    from .energy import Energy, EnergyTable, EventCounts, estimate
    from .pricing import Interleave, LayerTiming, price, total
    from .program import Program

_HOME = {
    "Area": "hwsim.area",
    "Energy": "hwsim.energy",
    "EnergyTable": "hwsim.energy",
    "EventCounts": "hwsim.energy",
    "Interleave": "hwsim.pricing",
    "LayerTiming": "hwsim.pricing",
    "Program": "hwsim.program",
    "estimate": "hwsim.energy",
    "estimate_area": "hwsim.area",
    "price": "hwsim.pricing",
    "total": "hwsim.pricing",
}

__all__ = [
    "CONSTANTS",
    "DATAFLOWS",
    "FIELDS",
    "PRESETS",
    "AcceleratorConfig",
    "Area",
    "Energy",
    "EnergyTable",
    "EventCounts",
    "FieldRule",
    "Flow",
    "Interleave",
    "LayerTiming",
    "Problem",
    "Program",
    "check_mapping",
    "estimate",
    "estimate_area",
    "price",
    "supports",
    "total",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hwsim' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
