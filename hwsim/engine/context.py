"""What every unit works with: the clock, the configuration, a ledger of its cycles, the recorder."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from simpy import Event

from ..config import AcceleratorConfig
from ..isa import Instruction
from .clock import Clock
from .ledger import Ledger
from .recorder import Recorder
from .records import Stall

Registers: TypeAlias = Mapping[str, int]
"""One descriptor bank, by name."""

Steps: TypeAlias = Generator[Event, Any, None]
"""A piece of a SimPy process that takes time."""

Execution: TypeAlias = Generator[Event, Any, int]
"""A SimPy process that ends when its unit is free and returns the cycle of completion."""

NO_STALLS: Mapping[Stall, int] = MappingProxyType({})


@dataclass(frozen=True)
class Context:
    """Of one unit; clock and recorder are shared by all."""

    clock: Clock
    config: AcceleratorConfig
    recorder: Recorder
    ledger: Ledger

    def spend(self, busy: int, stalls: Mapping[Stall, int] = NO_STALLS) -> Steps:
        """Let the sum of busy and stalled cycles pass, in one event."""
        cycles = self.ledger.charge(busy, stalls)
        if cycles:
            yield self.clock.timeout(cycles)

    def stall(self, cycles: int, reason: Stall) -> Steps:
        """Do nothing for `cycles`."""
        return self.spend(0, {reason: cycles})

    def stall_until(self, cycle: int, reason: Stall) -> Steps:
        """Do nothing before `cycle`, which may have passed."""
        return self.stall(max(0, cycle - self.clock.cycle), reason)


class Executor(Protocol):
    """The part of a unit that executes one issued instruction."""

    def execute(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        """index: position in program order. registers: the bank that the instruction names."""
