"""Happens-before: what every unit knows to be complete at the time it issues an instruction.

A clock is a vector of prefixes: entry `unit` counts the instructions of that unit's stream, from its
start, that are known to be complete. Prefixes suffice because every unit completes in order: STCE,
SORE and WUVE issue one instruction after the completion of the other, and transfers of the DMA are
done in program order. A CONFIG of the DMA may complete before an earlier transfer, so its completion
adds nothing to the prefix; entry `ISSUED` counts the DMA's instructions that are known to be issued.
"""

from collections import deque

from ..constants import SEMAPHORES
from ..isa import Instruction, Op, Unit

Clock = tuple[int, ...]
"""(DMA, STCE, SORE, WUVE, ISSUED): instructions of each stream."""

ISSUED = len(Unit)
_START: Clock = (0,) * (len(Unit) + 1)


class Clocks:
    """The clocks of all units, advanced one instruction at a time in program order."""

    def __init__(self) -> None:
        self._known = dict.fromkeys(Unit, _START)
        self._lengths = dict.fromkeys(Unit, 0)
        self._tokens: list[deque[Clock]] = [deque() for _ in range(SEMAPHORES)]

    def position(self, unit: Unit) -> int:
        """Instructions of `unit` so far: the number of the next one in its stream."""
        return self._lengths[unit]

    def step(self, unit: Unit, instruction: Instruction) -> tuple[Clock, Clock]:
        """Clocks at issue and at completion of the next instruction of `unit`.

        A token that nothing has signalled yet is taken to bring no knowledge.
        """
        issue = self._issue(unit, instruction)
        completion = _complete(unit, instruction.op, issue, self._lengths[unit])
        for semaphore in instruction.signals():
            self._tokens[semaphore].append(completion)
        self._lengths[unit] += 1
        waited_out = unit is not Unit.DMA or instruction.op is Op.FILL
        self._known[unit] = completion if waited_out else issue
        return issue, completion

    def _issue(self, unit: Unit, instruction: Instruction) -> Clock:
        clock = self._known[unit]
        for semaphore in instruction.waits():
            if self._tokens[semaphore]:
                clock = _merge(clock, self._tokens[semaphore].popleft())
        position = self._lengths[unit]
        if unit is Unit.DMA:
            clock = _at_least(clock, ISSUED, position)
        if unit is not Unit.DMA or instruction.op is Op.FILL:
            clock = _at_least(clock, unit, position)
        return clock


def issued(clock: Clock, unit: Unit) -> int:
    """Instructions of `unit` that are known to be issued.

    Knowledge of the other units comes from completions only: there, issued is complete.
    """
    return clock[ISSUED if unit is Unit.DMA else unit]


def _complete(unit: Unit, op: Op, issue: Clock, position: int) -> Clock:
    clock = issue
    if unit is Unit.DMA:
        clock = _at_least(clock, ISSUED, position + 1)
    if unit is not Unit.DMA or op is not Op.CONFIG:
        clock = _at_least(clock, unit, position + 1)
    return clock


def _merge(one: Clock, other: Clock) -> Clock:
    return tuple(map(max, one, other))


def _at_least(clock: Clock, entry: int, count: int) -> Clock:
    if clock[entry] >= count:
        return clock
    return (*clock[:entry], count, *clock[entry + 1 :])
