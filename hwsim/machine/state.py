"""What a machine holds while it runs."""

from dataclasses import dataclass, field

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import ProgramError

from ..banks import Banks
from ..constants import SEMAPHORE_MAX, SEMAPHORES
from ..isa import Instruction, Unit
from .scratchpads import Scratchpads


@dataclass
class State:
    """dram: its bytes, uint8. tokens: of each semaphore. nonfinite: the sticky flag."""

    dram: Array
    pads: Scratchpads
    banks: dict[Unit, Banks] = field(default_factory=lambda: {unit: Banks(unit) for unit in Unit})
    tokens: list[int] = field(default_factory=lambda: [0] * SEMAPHORES)
    nonfinite: bool = False

    def consume(self, instruction: Instruction) -> None:
        """Take a token for each semaphore that it waits for. Raises ProgramError without one."""
        for semaphore in instruction.waits():
            if not self.tokens[semaphore]:
                raise ProgramError(f"waits for semaphore {semaphore}, which has no token")
            self.tokens[semaphore] -= 1

    def produce(self, instruction: Instruction) -> None:
        """Signal. Raises ProgramError beyond SEMAPHORE_MAX tokens."""
        for semaphore in instruction.signals():
            self.tokens[semaphore] += 1
            if self.tokens[semaphore] > SEMAPHORE_MAX:
                raise ProgramError(
                    f"signals semaphore {semaphore}, which has {SEMAPHORE_MAX} tokens, the most"
                )
