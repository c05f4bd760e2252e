"""Writes legal programs: descriptor banks, tokens and the contents of the scratchpads."""

from collections.abc import Mapping
from random import Random

from hwsim.accesses import Access, Job, Store, accesses, half_words
from hwsim.config import AcceleratorConfig
from hwsim.constants import BANKS
from hwsim.isa import UNIT_OF, Instruction, Op, Unit, configure
from hwsim.program import Program

from .contents import Contents
from .tokens import Line, Tokens

_BANKS_IN_USE = 4
"""Few, so that banks are described again while earlier instructions of theirs are in flight."""


class Writer:
    """A program so far. Every instruction is ordered after those that it conflicts with."""

    def __init__(self, rng: Random, config: AcceleratorConfig) -> None:
        self.rng = rng
        self.config = config
        self.contents = Contents(config)
        self.transfers: list[tuple[int, bool, tuple[Access, ...]]] = []
        self._tokens = Tokens(rng)
        self._lines: list[Line] = []
        self._owners: dict[tuple[Store, int], dict[Unit, int]] = {}
        self._banks = {unit: rng.sample(range(BANKS), _BANKS_IN_USE) for unit in Unit}
        self._registers: dict[tuple[Unit, int], list[Instruction]] = {}
        self._next_half = dict.fromkeys(Store, 0)

    def next_half(self, store: Store) -> int:
        """The half that the next operand goes to."""
        if self.rng.random() < 0.75:
            self._next_half[store] ^= 1
        return self._next_half[store]

    def program(self, name: str) -> Program:
        return Program.assemble((line.instruction() for line in self._lines), name)

    def write(
        self, op: Op, args: Mapping[str, int], registers: Mapping[str, int] | None = None
    ) -> None:
        """Append an instruction with what it needs: CONFIGs of its bank, tokens before and after."""
        unit = UNIT_OF[op]
        values = dict(args)
        if registers is not None:
            values["bank"] = self._describe(unit, registers)
        touched = accesses(Job(Instruction(op, values), registers or {}, self.config))
        needs = self._needs(unit, op, touched)
        wait = self._tokens.acquire(unit, needs, lambda mask: self._carry(unit, mask))
        if self.rng.random() < 0.15:
            wait |= self._tokens.take_early(unit, wait)
        self._append(unit, op, values, wait)
        self._remember(unit, op, touched)
        if self.rng.random() < 0.2:
            self._tokens.signal_early(unit)

    def _append(self, unit: Unit, op: Op, args: dict[str, int], wait: int) -> None:
        line = Line(op, args, {}, wait)
        self._tokens.write(unit, line)
        self._lines.append(line)

    def _describe(self, unit: Unit, registers: Mapping[str, int]) -> int:
        """Bank that holds `registers`; writes only those pairs that differ from what it holds."""
        bank = self.rng.choice(self._banks[unit])
        before = self._registers.get((unit, bank), [])
        after = configure(unit, bank, registers)
        for number, config in enumerate(after):
            if not before or before[number] != config:
                wait = self._tokens.take_early(unit) if self.rng.random() < 0.02 else 0
                self._append(unit, Op.CONFIG, dict(config.args), wait)
        self._registers[unit, bank] = after
        return bank

    def _carry(self, unit: Unit, wait: int) -> None:
        """A CONFIG that changes nothing and takes tokens."""
        bank = next(
            (bank for owner, bank in self._registers if owner is unit), self._banks[unit][0]
        )
        known = self._registers.setdefault((unit, bank), configure(unit, bank, {}))
        self._append(unit, Op.CONFIG, dict(known[0].args), wait)

    def _needs(self, unit: Unit, op: Op, touched: tuple[Access, ...]) -> dict[Unit, int]:
        """Latest instruction of each unit that must be complete before this one issues."""
        needs: dict[Unit, int] = {}
        for item in touched:
            if item.store is not Store.DRAM:
                owners = self._owners.get(self._half(item), {})
                for other, position in owners.items():
                    if other is not unit:
                        needs[other] = max(needs.get(other, 0), position)
        if unit is Unit.DMA and op is not Op.FILL:
            needs.update(self._transfer_needs(op is Op.LOAD, touched))
        return needs

    def _transfer_needs(self, loads: bool, touched: tuple[Access, ...]) -> dict[Unit, int]:
        conflicts = [
            position
            for position, earlier_loads, earlier in self.transfers
            if earlier_loads is not loads
            for one in earlier
            for other in touched
            if one.store is other.store
            and one.first <= other.last
            and other.first <= one.last
            and (one.store is Store.DRAM or earlier_loads)
        ]
        return {Unit.DMA: max(conflicts)} if conflicts else {}

    def _remember(self, unit: Unit, op: Op, touched: tuple[Access, ...]) -> None:
        position = len(self._tokens.streams[unit]) - 1
        for item in touched:
            if item.store is not Store.DRAM:
                self._owners.setdefault(self._half(item), {})[unit] = position
        if op in (Op.LOAD, Op.STORE):
            self.transfers.append((position, op is Op.LOAD, touched))

    def _half(self, item: Access) -> tuple[Store, int]:
        store = Store.WGT if item.store is Store.IDX else item.store
        return store, item.first // half_words(store, self.config)
