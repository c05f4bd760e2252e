"""Whether a program is legal (docs/microarchitecture.md, Legal programs), in near linear time."""

from .check import check_program, require_legal
from .steps import Violation

__all__ = ["Violation", "check_program", "require_legal"]
