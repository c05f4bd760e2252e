"""The instruction stream of one unit: fetch, wait, issue, signal."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..banks import Banks
from ..constants import CONFIG_CYCLES, FETCH_CYCLES
from ..isa import Instruction, Op, Unit
from .context import Context, Execution, Executor, Steps
from .records import InstructionRecord, Stall
from .semaphores import Semaphores

_AFTER_TRANSFERS = (Op.FILL, Op.HALT)
"""Issue only when every earlier transfer of the unit is complete."""


@dataclass(frozen=True)
class Blocked:
    """Waits for `semaphore` at the instruction `index` of the program."""

    unit: Unit
    semaphore: int
    index: int
    op: Op

    def __str__(self) -> str:
        return (
            f"{self.unit.name} waits for semaphore {self.semaphore} "
            f"at instruction {self.index} ({self.op.name})"
        )


class Frontend:
    """Executes one stream in order on the unit's executor.

    stream: (position in program order, instruction), HALT last. `blocked` is set while it waits.
    """

    def __init__(
        self,
        unit: Unit,
        stream: Iterable[tuple[int, Instruction]],
        context: Context,
        semaphores: Semaphores,
        executor: Executor,
    ) -> None:
        self.unit = unit
        self.context = context
        self.records: list[InstructionRecord] = []
        self.blocked: Blocked | None = None
        self._stream = stream
        self._semaphores = semaphores
        self._executor = executor
        self._banks = Banks(unit)
        self._last_completion = 0

    def process(self) -> Steps:
        """The SimPy process; it ends when HALT issues."""
        for position, (index, instruction) in enumerate(self._stream):
            yield from self.context.stall_until(FETCH_CYCLES + position, Stall.IDLE)
            yield from self._tokens(index, instruction)
            if instruction.op in _AFTER_TRANSFERS:
                yield from self.context.stall_until(self._last_completion, Stall.DATA)
            yield from self._execute(index, instruction)

    def _tokens(self, index: int, instruction: Instruction) -> Steps:
        """Taking tokens one after the other is exact: nobody else waits for these semaphores."""
        since = self.context.clock.cycle
        for number in instruction.waits():
            self.blocked = Blocked(self.unit, number, index, instruction.op)
            yield self._semaphores.take(number)
        self.blocked = None
        self.context.ledger.charge(0, {Stall.TOKEN: self.context.clock.cycle - since})

    def _execute(self, index: int, instruction: Instruction) -> Steps:
        issue = self.context.clock.cycle
        completion = yield from self._run(index, instruction)
        self._last_completion = max(self._last_completion, completion)
        self._semaphores.signal(instruction.signals(), completion)
        self.records.append(
            InstructionRecord(
                index=index,
                unit=self.unit,
                op=instruction.op,
                issue=issue,
                free=self.context.clock.cycle,
                completion=completion,
                waits=instruction.waits(),
                signals=instruction.signals(),
            )
        )

    def _run(self, index: int, instruction: Instruction) -> Execution:
        """Returns the completion; the unit is free when it ends."""
        if instruction.op is Op.CONFIG:
            self._banks.write(instruction)
            yield from self.context.spend(CONFIG_CYCLES)
        elif instruction.op is not Op.HALT:
            registers = self._banks.read(instruction.args.get("bank", 0))
            return (yield from self._executor.execute(index, instruction, registers))
        return self.context.clock.cycle
