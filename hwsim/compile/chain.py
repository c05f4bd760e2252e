"""Several programs as one: products and passes, one after the other, with a barrier between them.

Every part is a program of its own: it expects zeroed registers and no tokens, and its units know of
nothing before it. A barrier makes that true again, over the parts' own semaphores:

    every other unit   takes its tokens that are left, then tells the DMA        STCE: ACC_FULL, ...
    DMA                takes its tokens, those of the units and of its last
                       transfer among them, then tells the units of the next part  LOADED, ...
    those units        wait for that

so that all accesses of a part are complete before the next one's begin. The instructions that wait
are CONFIGs of a bank that nothing names. The other CONFIGs are written anew: each part finds the
registers that it wrote itself, all others zero, and only what differs is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from cosparse.spec.errors import ProgramError
from hwsim.constants import BANKS
from hwsim.isa import Instruction, Op, Unit, configure
from hwsim.program import Program

from . import streams, walk

WAITING: Mapping[int, Unit] = {
    walk.ACT_FULL: Unit.STCE,
    walk.ACT_FREE: Unit.DMA,
    walk.WGT_FULL: Unit.STCE,
    walk.WGT_FREE: Unit.DMA,
    walk.ACC_FULL: Unit.DMA,
    walk.ACC_FREE: Unit.STCE,
    streams.LOADED: Unit.WUVE,
    streams.UPDATED: Unit.DMA,
    streams.ACT_FULL: Unit.SORE,
    streams.ACT_FREE: Unit.WUVE,
    streams.PACKED: Unit.DMA,
    streams.WGT_FREE: Unit.SORE,
    streams.ACT_LOADED: Unit.SORE,
    streams.FENCE: Unit.DMA,
}
"""The unit that takes the tokens of a semaphore."""

TO_DMA: Mapping[Unit, int] = {
    Unit.STCE: walk.ACC_FULL,
    Unit.SORE: streams.PACKED,
    Unit.WUVE: streams.UPDATED,
}
FROM_DMA: Mapping[Unit, int] = {
    Unit.STCE: walk.ACT_FULL,
    Unit.SORE: streams.ACT_LOADED,
    Unit.WUVE: streams.LOADED,
}
"""The semaphores of a barrier."""

UNUSED_BANK = BANKS - 1

_Pair = tuple[int, int]
_Key = tuple[int, int, int]
"""(unit, bank, even register)."""


def chain(parts: Sequence[Program], name: str = "program") -> Program:
    """The parts one after the other, as one legal program if each part is.

    Raises ProgramError for a part that names the bank of the barriers, or whose CONFIGs have
    semaphores: it is a chain already.
    """
    registers = _Registers()
    bodies = [list(_rewritten(part, registers)) for part in parts]
    listed: list[Instruction] = []
    for body, following in zip(bodies, [*bodies[1:], None], strict=True):
        listed += body if following is None else _closed(body, _units(following))
    return Program.assemble(listed, name)


class _Registers:
    """What the banks hold, and what the part that is being written expects of them."""

    def __init__(self) -> None:
        self._held: dict[_Key, _Pair] = {}
        self._expected: dict[_Key, _Pair] = {}

    def begin_part(self) -> None:
        """A part expects zeros."""
        self._expected = {}

    def expect(self, config: Instruction) -> None:
        """The part writes a pair of registers."""
        args = config.args
        self._expected[args["unit"], args["bank"], args["register"]] = (
            args["value0"],
            args["value1"],
        )

    def written(self, unit: Unit, bank: int) -> Iterator[Instruction]:
        """The CONFIGs that make a bank hold what is expected of it."""
        for config in configure(unit, bank, {}):
            key = (int(unit), bank, config.args["register"])
            pair = self._expected.get(key, (0, 0))
            if self._held.get(key, (0, 0)) != pair:
                self._held[key] = pair
                yield replace(config, args={**config.args, "value0": pair[0], "value1": pair[1]})


def _rewritten(part: Program, registers: _Registers) -> Iterator[Instruction]:
    """The instructions of a part without its HALT, with the CONFIGs that they need here."""
    registers.begin_part()
    for instruction in part:
        _check(part, instruction)
        if instruction.op is Op.CONFIG:
            registers.expect(instruction)
        elif instruction.unit is not None:
            if "bank" in instruction.args:
                yield from registers.written(instruction.unit, instruction.args["bank"])
            yield instruction


def _check(part: Program, instruction: Instruction) -> None:
    if instruction.args.get("bank") == UNUSED_BANK:
        raise ProgramError(f"{part.name}: expected banks below {UNUSED_BANK}, which barriers write")
    if instruction.op is Op.CONFIG and (instruction.wait or instruction.signal):
        raise ProgramError(f"{part.name}: expected CONFIGs without semaphores in a part of a chain")


def _units(body: Iterable[Instruction]) -> list[Unit]:
    """The units beside the DMA that work in a part."""
    found = {item.unit for item in body if item.op is not Op.CONFIG}
    return [unit for unit in TO_DMA if unit in found]


def _closed(body: list[Instruction], following: Sequence[Unit]) -> list[Instruction]:
    """A part and the barrier behind it. following: units of the next part beside the DMA."""
    body = _fenced(body)
    tokens = _left(body)
    drained = []
    for unit in _units(body):
        drained += _drain(unit, tokens, 1 << TO_DMA[unit])
        tokens[TO_DMA[unit]] += 1
    told = sum(1 << FROM_DMA[unit] for unit in following)
    dma = _drain(Unit.DMA, tokens, told)
    begin = [_idle(unit, 1 << FROM_DMA[unit]) for unit in following]
    return [*body, *drained, *dma, *begin]


def _fenced(body: list[Instruction]) -> list[Instruction]:
    """The part, with a token of FENCE from its last transfer."""
    moves = [index for index, item in enumerate(body) if _is_transfer(item)]
    if not moves:
        return body
    last = body[moves[-1]]
    marked = replace(last, signal=last.signal | 1 << streams.FENCE)
    return [*body[: moves[-1]], marked, *body[moves[-1] + 1 :]]


def _is_transfer(instruction: Instruction) -> bool:
    return instruction.unit is Unit.DMA and instruction.op is not Op.CONFIG


def _left(body: Iterable[Instruction]) -> Counter[int]:
    """Tokens of each semaphore that nothing has taken."""
    tokens: Counter[int] = Counter()
    for item in body:
        tokens.subtract(item.waits())
        tokens.update(item.signals())
    return tokens


def _drain(unit: Unit, tokens: Mapping[int, int], signal: int) -> list[Instruction]:
    """CONFIGs that take what `unit` has been given; the last one signals."""
    own = {semaphore: count for semaphore, count in tokens.items() if WAITING[semaphore] is unit}
    waits = [
        sum(1 << semaphore for semaphore, count in own.items() if count > turn)
        for turn in range(max(1, *own.values()) if own else 1)
    ]
    last = len(waits) - 1
    return [_idle(unit, wait, signal if turn == last else 0) for turn, wait in enumerate(waits)]


def _idle(unit: Unit, wait: int, signal: int = 0) -> Instruction:
    """An instruction that does nothing: zeros into registers that are zero."""
    return replace(configure(unit, UNUSED_BANK, {})[0], wait=wait, signal=signal)
