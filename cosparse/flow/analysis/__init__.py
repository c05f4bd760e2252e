"""What a table of design points says: fronts, sensitivities, rooflines, limits. Arrays in, arrays out."""

from .dataflows import DataflowCell, dataflow_map
from .limits import LIMITS, TOTALS_READ, limits_of, limits_of_totals
from .pareto import hypervolume, pareto_front
from .roofline import Roofline, RooflinePoint, roofline
from .sensitivity import Effect, main_effects

__all__ = [
    "LIMITS",
    "TOTALS_READ",
    "DataflowCell",
    "Effect",
    "Roofline",
    "RooflinePoint",
    "dataflow_map",
    "hypervolume",
    "limits_of",
    "limits_of_totals",
    "main_effects",
    "pareto_front",
    "roofline",
]
