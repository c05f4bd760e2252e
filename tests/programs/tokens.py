"""Semaphores for a program that is written one instruction at a time.

The writer says which earlier instruction must be complete; a token is then made by that instruction
or a later one of its unit, and taken by the one being written. Knowledge is kept as in
hwsim.legality, and written down here once more so that each checks the other.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from hwsim.constants import SEMAPHORES
from hwsim.isa import Instruction, Op, Unit

_PAIRS: tuple[tuple[Unit, Unit], ...] = (
    (Unit.DMA, Unit.DMA),
    *((Unit.DMA, unit) for unit in (Unit.STCE, Unit.SORE, Unit.WUVE)),
    *((unit, Unit.DMA) for unit in (Unit.STCE, Unit.SORE, Unit.WUVE)),
    (Unit.STCE, Unit.WUVE),
    (Unit.WUVE, Unit.STCE),
    (Unit.STCE, Unit.SORE),
    (Unit.SORE, Unit.STCE),
    (Unit.SORE, Unit.WUVE),
    (Unit.WUVE, Unit.SORE),
)
"""(signalling, waiting) units that ever need a token; the other semaphores double some of them."""

_MOST_SIGNALS = 200
"""Tokens made on one semaphore: below semaphore_max even when none is consumed."""

Known = dict[Unit, int]
"""Instructions of each stream that are known to be complete."""


@dataclass
class Line:
    """One instruction being written. known: at its issue."""

    op: Op
    args: dict[str, int]
    known: Known
    wait: int = 0
    signal: int = 0

    def instruction(self) -> Instruction:
        return Instruction(self.op, self.args, self.wait, self.signal)


@dataclass
class _Semaphore:
    number: int
    pending: deque[int] = field(default_factory=deque)
    last: int = -1
    made: int = 0

    def make(self, line: Line, position: int) -> None:
        line.signal |= 1 << self.number
        self.pending.append(position)
        self.last = position
        self.made += 1


class Tokens:
    """Streams written so far, and the tokens between them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        numbers = rng.sample(range(SEMAPHORES), SEMAPHORES)
        spare = rng.choices(_PAIRS, k=SEMAPHORES - len(_PAIRS))
        self._semaphores: dict[tuple[Unit, Unit], list[_Semaphore]] = {p: [] for p in _PAIRS}
        for pair, number in zip((*_PAIRS, *spare), numbers, strict=True):
            self._semaphores[pair].append(_Semaphore(number))
        self.streams: dict[Unit, list[Line]] = {unit: [] for unit in Unit}
        self.known: dict[Unit, Known] = {unit: dict.fromkeys(Unit, 0) for unit in Unit}

    def acquire(self, unit: Unit, needs: Mapping[Unit, int], carry: Callable[[int], None]) -> int:
        """Wait mask with which the next line of `unit` knows instruction needs[earlier] complete.

        An instruction takes one token of a semaphore only: `carry` writes lines of `unit` with the
        given wait masks, which take the tokens that lie before the one needed.
        """
        chosen = {
            earlier: self._rng.choice(self._usable(earlier, unit))
            for earlier, position in needs.items()
            if self.known[unit][earlier] <= position
        }
        for earlier, semaphore in chosen.items():
            while semaphore.pending and semaphore.pending[0] < needs[earlier]:
                self._take(unit, earlier, semaphore)
                carry(1 << semaphore.number)
        mask = 0
        for earlier, semaphore in chosen.items():
            if self.known[unit][earlier] <= needs[earlier]:
                if not semaphore.pending:
                    self._signal_late(earlier, needs[earlier], semaphore)
                self._take(unit, earlier, semaphore)
                mask |= 1 << semaphore.number
        return mask

    def take_early(self, unit: Unit, taken: int = 0) -> int:
        """Wait mask of one token that is pending, needed or not; `taken` is left alone."""
        ready = [
            (earlier, semaphore)
            for (earlier, waiting), group in self._semaphores.items()
            if waiting is unit
            for semaphore in group
            if semaphore.pending and not taken >> semaphore.number & 1
        ]
        if not ready:
            return 0
        earlier, semaphore = self._rng.choice(ready)
        self._take(unit, earlier, semaphore)
        return 1 << semaphore.number

    def write(self, unit: Unit, line: Line) -> None:
        """Append a line whose tokens have been taken."""
        stream = self.streams[unit]
        known = self.known[unit]
        if unit is not Unit.DMA or line.op is Op.FILL:
            known[unit] = len(stream)
        line.known = dict(known)
        stream.append(line)
        if unit is not Unit.DMA or line.op is Op.FILL:
            known[unit] = len(stream)

    def signal_early(self, unit: Unit) -> None:
        """Let the last line of a unit make a token that nothing needs yet."""
        line, position = self.streams[unit][-1], len(self.streams[unit]) - 1
        if unit is Unit.DMA and line.op is Op.CONFIG:
            return
        pair = self._rng.choice([pair for pair in _PAIRS if pair[0] is unit])
        semaphore = self._rng.choice(self._usable(*pair))
        if semaphore.last < position and len(semaphore.pending) < 4:
            semaphore.make(line, position)

    def _usable(self, earlier: Unit, unit: Unit) -> list[_Semaphore]:
        group = self._semaphores[earlier, unit]
        return [semaphore for semaphore in group if semaphore.made < _MOST_SIGNALS] or group

    def _signal_late(self, earlier: Unit, position: int, semaphore: _Semaphore) -> None:
        """By that instruction or a later one. A CONFIG of the DMA proves nothing of transfers."""
        stream = self.streams[earlier]
        able = [
            place
            for place in range(position, len(stream))
            if earlier is not Unit.DMA or stream[place].op is not Op.CONFIG
        ]
        place = able[0] if self._rng.random() < 0.6 else self._rng.choice(able)
        semaphore.make(stream[place], place)

    def _take(self, unit: Unit, earlier: Unit, semaphore: _Semaphore) -> None:
        place = semaphore.pending.popleft()
        known = self.known[unit]
        told = {**self.streams[earlier][place].known, earlier: place + 1}
        for other, count in told.items():
            known[other] = max(known[other], count)
