"""SORE: the cycles of a PRUNE."""

from ..config import AcceleratorConfig
from ..constants import PRUNE_START_CYCLES
from ..isa import Instruction
from .context import Context, Execution, Registers
from .walk import ceil_div


def values_per_lane(registers: Registers, config: AcceleratorConfig) -> int:
    """K: source values along a lane, rounded up to whole groups (and transposer blocks)."""
    if registers["transpose"]:
        step = max(registers["m"], config.sore_lanes)
        return ceil_div(registers["columns"], step) * step
    return ceil_div(registers["rows"], registers["m"]) * registers["m"]


def lane_blocks(registers: Registers, config: AcceleratorConfig) -> int:
    """Times that the selector lanes go through K to cover the lanes of the result."""
    return ceil_div(registers["wgt_words"] * config.cols, config.sore_lanes)


class Sore:
    """Takes one value a lane and cycle; the last group's n entries leave after it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        config = self._context.config
        stream = lane_blocks(registers, config) * values_per_lane(registers, config)
        transposer = config.sore_lanes if registers["transpose"] else 0
        yield from self._context.spend(PRUNE_START_CYCLES + stream + registers["n"] + transposer)
        return self._context.clock.cycle
