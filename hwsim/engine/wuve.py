"""WUVE: the cycles of an UPDATE or a VECTOR."""

from ..config import AcceleratorConfig
from ..constants import VECTOR_LATENCY_CYCLES, VECTOR_START_CYCLES
from ..isa import Instruction, Op, VectorOp
from .context import Context, Execution, Registers
from .walk import ceil_div

_TWO_OPERANDS = (VectorOp.BIAS, VectorOp.ADD, VectorOp.MASK)


def operand_reads(instruction: Instruction) -> int:
    """Accumulator words read for one word of the result."""
    if instruction.op is Op.UPDATE:
        return 3
    return 2 if instruction.args["vector_op"] in _TWO_OPERANDS else 1


class Wuve:
    """Reads one operand of wuve_lanes values a cycle."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        stream = registers["rows"] * self._row_cycles(instruction, registers)
        yield from self._context.spend(VECTOR_START_CYCLES + stream + VECTOR_LATENCY_CYCLES)
        return self._context.clock.cycle

    def _row_cycles(self, instruction: Instruction, registers: Registers) -> int:
        """COLSUM adds each row to the sum before it, so that a row takes at least L cycles."""
        config: AcceleratorConfig = self._context.config
        row = registers["words"] * ceil_div(config.cols, config.wuve_lanes)
        if instruction.args.get("vector_op") == VectorOp.COLSUM:
            return max(row, config.add_latency)
        return row * operand_reads(instruction)
