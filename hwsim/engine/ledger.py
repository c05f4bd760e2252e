"""Where the cycles of one unit go."""

from collections.abc import Mapping

from .records import Stall, UnitCycles


class Ledger:
    """Busy cycles, and stalls by reason."""

    def __init__(self) -> None:
        self._busy = 0
        self._stalls = dict.fromkeys(Stall, 0)

    def charge(self, busy: int, stalls: Mapping[Stall, int]) -> int:
        """Book cycles. Returns their sum."""
        cycles = busy
        self._busy += busy
        for reason, count in stalls.items():
            self._stalls[reason] += count
            cycles += count
        return cycles

    def closed(self, cycles: int) -> UnitCycles:
        """The totals of a run of `cycles`; what follows the last instruction is idle."""
        idle = cycles - self._busy - sum(self._stalls.values())
        return UnitCycles(self._busy, self._stalls | {Stall.IDLE: self._stalls[Stall.IDLE] + idle})
