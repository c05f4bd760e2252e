"""The machine: executes a program on a DRAM image and gives every bit (docs/numerics.md)."""

from .memory import Memory
from .run import Result, run
from .scratchpads import Scratchpad, Scratchpads

__all__ = ["Memory", "Result", "Scratchpad", "Scratchpads", "run"]
