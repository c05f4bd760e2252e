"""Simulator of the sparse-training accelerator: configuration and the price of a workload."""

from .config import PRESETS, AcceleratorConfig, check_mapping
from .constants import CONSTANTS
from .price import LayerTiming, price, total
from .product import supports
from .rules import FIELDS, FieldRule, Problem
from .schedule import DATAFLOWS
from .tiles import Interleave

__all__ = [
    "CONSTANTS",
    "DATAFLOWS",
    "FIELDS",
    "PRESETS",
    "AcceleratorConfig",
    "FieldRule",
    "Interleave",
    "LayerTiming",
    "Problem",
    "check_mapping",
    "price",
    "supports",
    "total",
]
