"""Rules 1 and 2: serial execution never blocks; one maker, one taker, bounded counts."""

from bisect import bisect_left
from collections.abc import Iterable

from ..constants import SEMAPHORE_MAX, SEMAPHORES
from ..isa import Op, Unit
from .ordering import Clock, issued
from .steps import Step, Violation


def check_serial(steps: Iterable[Step]) -> list[Violation]:
    """Rule 1: in program order every token is there when an instruction waits for it."""
    counts = [0] * SEMAPHORES
    violations = []
    for step in steps:
        for semaphore in step.job.instruction.waits():
            if counts[semaphore]:
                counts[semaphore] -= 1
            else:
                violations.append(_blocked(step, semaphore))
        for semaphore in step.job.instruction.signals():
            counts[semaphore] += 1
    return violations


def _blocked(step: Step, semaphore: int) -> Violation:
    text = (
        f"{step} blocks: expected a token of s{semaphore} from an earlier instruction in program "
        "order, got none that is unconsumed"
    )
    return Violation(1, (step.index,), text)


def check_units(steps: Iterable[Step]) -> list[Violation]:
    """Rule 2: a semaphore has one signalling and one waiting unit."""
    first: dict[tuple[int, str], Step] = {}
    violations = []
    for step in steps:
        instruction = step.job.instruction
        for verb, semaphores in (
            ("signals", instruction.signals()),
            ("waits for", instruction.waits()),
        ):
            for semaphore in semaphores:
                earlier = first.setdefault((semaphore, verb), step)
                if earlier.unit is not step.unit:
                    violations.append(_shared(earlier, step, verb, semaphore))
    return violations


def _shared(earlier: Step, step: Step, verb: str, semaphore: int) -> Violation:
    text = (
        f"s{semaphore}: expected one unit that {verb} it, got {earlier.unit.name} in {earlier} "
        f"and {step.unit.name} in {step}"
    )
    return Violation(2, (earlier.index, step.index), text)


class Counts:
    """Rule 2: the largest count of every semaphore over all executions.

    A count is largest just after a token is made. In the slowest possible waiting unit, only those
    waits have been issued by then that the signalling instruction knows of.
    """

    def __init__(self) -> None:
        self._made = [0] * SEMAPHORES
        self._waits: list[list[int]] = [[] for _ in range(SEMAPHORES)]
        self._waiting: list[Unit | None] = [None] * SEMAPHORES
        self._transfer: list[Step | None] = [None] * SEMAPHORES

    def check(self, step: Step, issue: Clock, completion: Clock) -> list[Violation]:
        """Steps come in program order, with their clocks."""
        for semaphore in step.job.instruction.waits():
            self._waits[semaphore].append(step.position)
            self._waiting[semaphore] = step.unit
        return [
            violation
            for semaphore in step.job.instruction.signals()
            for violation in self._signal(step, semaphore, issue, completion)
        ]

    def _signal(
        self, step: Step, semaphore: int, issue: Clock, completion: Clock
    ) -> list[Violation]:
        self._made[semaphore] += 1
        count = self._made[semaphore] - self._consumed(semaphore, completion)
        violations = self._check_order(step, semaphore, issue)
        if count > SEMAPHORE_MAX:
            text = (
                f"s{semaphore}: expected at most {SEMAPHORE_MAX} tokens in every execution, "
                f"got up to {count} after {step}"
            )
            violations.append(Violation(2, (step.index,), text))
        return violations

    def _consumed(self, semaphore: int, completion: Clock) -> int:
        unit = self._waiting[semaphore]
        if unit is None:
            return 0
        return bisect_left(self._waits[semaphore], issued(completion, unit))

    def _check_order(self, step: Step, semaphore: int, issue: Clock) -> list[Violation]:
        """A CONFIG of the DMA may overtake a transfer: then tokens would change places."""
        if step.unit is not Unit.DMA:
            return []
        if step.job.instruction.op is not Op.CONFIG:
            self._transfer[semaphore] = step
            return []
        transfer = self._transfer[semaphore]
        if transfer is None or transfer.position < issue[Unit.DMA]:
            return []
        text = (
            f"s{semaphore}: expected tokens in the order of the stream, but {step} may complete "
            f"before {transfer}"
        )
        return [Violation(2, (transfer.index, step.index), text)]
