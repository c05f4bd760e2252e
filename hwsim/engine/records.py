"""What a run leaves behind: times of instructions, bursts and tiles, and where the cycles went."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..isa import Op, Unit


class Stall(StrEnum):
    """Why a unit does no work in a cycle; the first that applies counts."""

    TOKEN = "token"
    DATA = "data"
    BANDWIDTH = "bandwidth"
    ADDER = "adder"
    DRAIN = "drain"
    IDLE = "idle"


@dataclass(frozen=True)
class InstructionRecord:
    """index: position in program order. issue, free, completion: cycles.

    HALT, which all units execute, has one record for each of them.
    """

    index: int
    unit: Unit
    op: Op
    issue: int
    free: int
    completion: int
    waits: tuple[int, ...]
    signals: tuple[int, ...]


class Burst(NamedTuple):
    """One burst of the transfer `instruction`; from `grant` it holds the channel."""

    instruction: int
    write: bool
    address: int
    bytes: int
    channel_cycles: int
    grant: int
    done: int


class Tile(NamedTuple):
    """Cycles in which the array works on one tile (OS) or fold (WS) of the MATMUL `instruction`."""

    instruction: int
    number: int
    start: int
    end: int


@dataclass(frozen=True)
class UnitCycles:
    """Where the cycles of one unit went; busy and stalls sum to the cycles of the run."""

    busy: int
    stalls: Mapping[Stall, int]

    @property
    def total(self) -> int:
        return self.busy + sum(self.stalls.values())

    @property
    def utilization(self) -> float:
        """Busy share of all cycles."""
        return self.busy / self.total


@dataclass(frozen=True)
class Trace:
    """One run. program, accelerator: names. events: SimPy events that it took.

    instructions are in program order, bursts in the order of their grants, tiles in the order of
    their starts. DRAM bytes are the bytes that transfers move; a burst may touch more bus bytes.
    bursts and tiles are empty when the run kept no records.
    """

    program: str
    accelerator: str
    cycles: int
    instructions: tuple[InstructionRecord, ...]
    bursts: tuple[Burst, ...]
    tiles: tuple[Tile, ...]
    units: Mapping[Unit, UnitCycles]
    channel_busy_cycles: int
    dram_bytes_read: int
    dram_bytes_written: int
    instruction_bytes: int
    events: int
