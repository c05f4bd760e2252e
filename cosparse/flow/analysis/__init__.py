"""What a table of design points says: fronts, sensitivities, rooflines, limits. Arrays in, arrays out."""

from .dataflows import DataflowCell, dataflow_map
from .limits import LIMITS, limits_of
from .pareto import hypervolume, pareto_front
from .roofline import Roofline, RooflinePoint, roofline
from .sensitivity import Effect, main_effects

__all__ = [
    "LIMITS",
    "DataflowCell",
    "Effect",
    "Roofline",
    "RooflinePoint",
    "dataflow_map",
    "hypervolume",
    "limits_of",
    "main_effects",
    "pareto_front",
    "roofline",
]
