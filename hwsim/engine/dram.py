"""The DRAM channel: one burst at a time, a fixed latency, a bounded number of bursts in flight."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ..config import AcceleratorConfig
from .context import Registers


class Request(NamedTuple):
    """One burst before its grant."""

    address: int
    bytes: int
    channel_cycles: int


class DramChannel:
    """Grants bursts in the order in which they are asked for."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.busy_cycles = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self._latency_cycles = config.dram_latency_cycles
        self._free_at = 0
        self._in_flight: deque[int] = deque([0] * config.outstanding, config.outstanding)

    def grant(self, earliest: int, request: Request, write: bool) -> tuple[int, int]:
        """Grant a burst when the channel is free and a slot for it has returned.

        Returns the cycles in which it is granted and done.
        """
        granted = max(earliest, self._free_at, self._in_flight[0])
        self._free_at = granted + request.channel_cycles
        done = self._free_at + self._latency_cycles
        self._in_flight.append(done)
        self._count(request, write)
        return granted, done

    def _count(self, request: Request, write: bool) -> None:
        self.busy_cycles += request.channel_cycles
        if write:
            self.bytes_written += request.bytes
        else:
            self.bytes_read += request.bytes


def requests(dram: int, registers: Registers, config: AcceleratorConfig) -> Iterator[Request]:
    """The bursts of one transfer from byte address `dram`, in order."""
    for address in _runs(dram, registers):
        yield from _cut(address, address + registers["run_bytes"], config)


def _runs(dram: int, registers: Registers) -> Iterator[int]:
    """First bytes of the runs: count2 x count1 x count0."""
    for i2 in range(registers["count2"]):
        for i1 in range(registers["count1"]):
            first = dram + i2 * registers["stride2"] + i1 * registers["stride1"]
            for i0 in range(registers["count0"]):
                yield first + i0 * registers["stride0"]


def _cut(first: int, end: int, config: AcceleratorConfig) -> Iterator[Request]:
    """Cut a run at multiples of the burst length; each burst takes whole bus words."""
    bus, per_cycle, length = config.axi_bytes, config.dram_bytes_per_cycle, config.burst_bytes
    while first < end:
        stop = min(end, first - first % length + length)
        beats = (stop - 1) // bus - first // bus + 1
        yield Request(first, stop - first, -(-beats * bus // per_cycle))
        first = stop
