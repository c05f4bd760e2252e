"""What the host sees of the accelerator's RTL: the AXI4-Lite registers and the error codes.

`hwsim.sv_package` writes the same tables as SystemVerilog. Registers have 64 bits, low word first,
and are read and written as 32-bit words.
"""

from dataclasses import dataclass
from enum import IntEnum

from .isa import Unit


class Error(IntEnum):
    """Why a run stopped before HALT."""

    NONE = 0
    INSTRUCTION = 1
    DESCRIPTOR = 2
    ADDRESS = 3
    BUS = 4
    SEMAPHORE = 5
    WATCHDOG = 6


class Counter(IntEnum):
    """What a unit did in a cycle; the counters of a unit sum to the cycles of the run."""

    BUSY = 0
    TOKEN = 1
    DATA = 2
    BANDWIDTH = 3
    ADDER = 4
    DRAIN = 5
    IDLE = 6


@dataclass(frozen=True)
class HostRegister:
    """offset: bytes."""

    offset: int
    meaning: str


REGISTERS: dict[str, HostRegister] = {
    "control": HostRegister(0x00, "write bit 0: start; read: 0"),
    "status": HostRegister(0x08, "bit 0 running, 1 done, 2 error, 3 NONFINITE"),
    "interrupt": HostRegister(0x10, "bit 0 pending, write 1 to clear; bit 1 enable"),
    "error": HostRegister(0x18, "bits 3..0 code, 5..4 unit"),
    "error_address": HostRegister(0x20, "byte address of the instruction or of the burst"),
    "cycles": HostRegister(0x28, "cycles of the run"),
    "window_first": HostRegister(0x30, "first byte of DRAM that transfers may touch"),
    "window_last": HostRegister(0x38, "last byte of DRAM that transfers may touch"),
    **{
        f"stream_{unit.name.lower()}": HostRegister(
            0x40 + 8 * unit, f"byte address of the instructions of {unit.name}"
        )
        for unit in Unit
    },
}

COUNTERS_OFFSET = 0x100
"""First counter of the first unit."""

COUNTERS_STRIDE = 0x40
"""Bytes from unit to unit."""


def counter_offset(unit: Unit, counter: Counter) -> int:
    """Byte offset of one counter."""
    return COUNTERS_OFFSET + COUNTERS_STRIDE * unit + 8 * counter
