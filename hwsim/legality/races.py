"""Rule 3: of two conflicting accesses the first is known complete before the second issues.

Only the latest access of each unit is kept for a half, and the latest transfer for an address: units
complete in order, so earlier ones are complete when the latest is.
"""

from dataclasses import dataclass, field

from ..accesses import Access, Store, accesses, half_words
from ..isa import Op, Unit
from .intervals import LatestTouch
from .ordering import Clock
from .steps import Step, Violation

Half = tuple[Store, int]


@dataclass
class _Transfers:
    """Addresses of one store that earlier transfers have read or written."""

    loads: LatestTouch = field(default_factory=LatestTouch)
    stores: LatestTouch = field(default_factory=LatestTouch)


class Races:
    """The accesses so far. Steps are checked in program order."""

    def __init__(self) -> None:
        self._steps: dict[tuple[Unit, int], Step] = {}
        self._owners: dict[Half, dict[Unit, Step]] = {}
        self._transfers = {store: _Transfers() for store in Store}

    def check(self, step: Step, issue: Clock) -> list[Violation]:
        """Conflicts of `step` with earlier instructions that it does not know to be complete."""
        touched = accesses(step.job)
        halves = dict.fromkeys(
            _half(item, step) for item in touched if item.store is not Store.DRAM
        )
        violations = [text for half in halves for text in self._check_half(step, half, issue)]
        if step.unit is Unit.DMA:
            self._steps[Unit.DMA, step.position] = step
            for item in touched:
                violations += self._check_transfer(step, item, issue)
        return violations

    def _check_half(self, step: Step, half: Half, issue: Clock) -> list[Violation]:
        """Different units on one half."""
        owners = self._owners.setdefault(half, {})
        where = f"{half[0].name} half {half[1]}"
        found = [
            _race(where, earlier, step)
            for unit, earlier in owners.items()
            if unit is not step.unit and earlier.position >= issue[unit]
        ]
        owners[step.unit] = step
        return found

    def _check_transfer(self, step: Step, item: Access, issue: Clock) -> list[Violation]:
        """Two transfers. FILL waits for all earlier ones, so nothing is left to check."""
        transfers = self._transfers[item.store]
        loads = step.job.instruction.op is Op.LOAD
        start, stop = item.first, item.last + 1
        violations = []
        if not loads:
            violations += self._overlap(step, item, transfers.loads, issue)
        elif item.store is Store.DRAM:
            violations += self._overlap(step, item, transfers.stores, issue)
        if step.job.instruction.op is not Op.FILL:
            (transfers.loads if loads else transfers.stores).touch(start, stop, step.position)
        return violations

    def _overlap(
        self, step: Step, item: Access, touches: LatestTouch, issue: Clock
    ) -> list[Violation]:
        found = touches.latest(item.first, item.last + 1, since=issue[Unit.DMA])
        if found is None:
            return []
        position, start, stop = found
        unit, form = ("bytes", "0x{:x}") if item.store is Store.DRAM else ("words", "{}")
        interval = f"{form.format(start)} to {form.format(stop - 1)}"
        where = f"{item.store.name} {unit} {interval}"
        return [_race(where, self._steps[Unit.DMA, position], step)]


def _half(item: Access, step: Step) -> Half:
    """IDX lies beside WGT: its halves have the same owner."""
    store = Store.WGT if item.store is Store.IDX else item.store
    return store, item.first // half_words(store, step.job.config)


def _race(where: str, earlier: Step, step: Step) -> Violation:
    text = (
        f"race on {where}: expected {earlier} to be known complete before {step} issues; no "
        "semaphore or stream orders them"
    )
    return Violation(3, (earlier.index, step.index), text)
