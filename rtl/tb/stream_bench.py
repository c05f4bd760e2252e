"""A buffer between a source and a sink that stall at random: words come out once, in order.

A reset now and then empties it. The FIFO's push and pop are driven from the same stalls as a
valid/ready handshake.
"""

import random
from collections import deque
from dataclasses import dataclass

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from hwsim import cosim

RESET_EVERY = 1000
"""Cycles."""
MODES = ((0.4, 0.9), (0.9, 0.4), (1, 1))
"""How often source and sink are ready: the source waits, the sink waits, neither; a hundred cycles each."""


class Source:
    """Offers a random word in some cycles, over valid/ready or as the pushes of a FIFO with room."""

    def __init__(self, dut):
        self.dut, self.pushes = dut, hasattr(dut, "push_i")

    def drive(self, chance):
        offers = int(random.random() < chance)
        if self.pushes:
            self.dut.push_i.value = offers and int(self.dut.ready_o.value)
        else:
            self.dut.valid_i.value = offers
        self.dut.data_i.value = random.getrandbits(8)


class Sink:
    """Takes a word in some cycles, over valid/ready or as the pops of a FIFO that has one."""

    def __init__(self, dut):
        self.dut, self.pops = dut, hasattr(dut, "pop_i")

    def drive(self, chance):
        accepts = int(random.random() < chance)
        if self.pops:
            self.dut.pop_i.value = accepts and int(self.dut.valid_o.value)
        else:
            self.dut.ready_i.value = accepts


@dataclass(frozen=True)
class Seen:
    """One cycle at the ports. came, went: the words that moved, or None."""

    valid: bool
    ready: bool
    came: int | None
    went: int | None


class Monitor:
    """Reads the ports, drives nothing."""

    def __init__(self, dut):
        self.dut = dut
        self.push = (dut.push_i,) if hasattr(dut, "push_i") else (dut.valid_i, dut.ready_o)
        self.pop = (dut.pop_i,) if hasattr(dut, "pop_i") else (dut.ready_i, dut.valid_o)

    def seen(self):
        """Of this cycle, when all signals have settled."""
        came = all(int(signal.value) for signal in self.push)
        went = all(int(signal.value) for signal in self.pop)
        return Seen(
            bool(self.dut.valid_o.value),
            bool(self.dut.ready_o.value),
            int(self.dut.data_i.value) if came else None,
            int(self.dut.data_o.value) if went else None,
        )


class Scoreboard:
    """What the buffer holds, by what went in and out."""

    def __init__(self, capacity):
        self.capacity, self.inside, self.out = capacity, deque(), 0

    def check(self, seen):
        assert seen.valid == bool(self.inside)
        assert seen.ready == (len(self.inside) < self.capacity)
        if seen.went is not None:
            assert seen.went == self.inside.popleft()
            self.out += 1
        if seen.came is not None:
            self.inside.append(seen.came)

    def clear(self):
        self.inside.clear()


async def reset(dut):
    for name in ("valid_i", "ready_i", "push_i", "pop_i", "clear_i"):
        if hasattr(dut, name):
            getattr(dut, name).value = 0
    dut.data_i.value = 0
    dut.rst_ni.value = 0
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1


@cocotb.test()
async def stalls_at_random(dut):
    given = cosim.arguments()
    source, sink, monitor = Source(dut), Sink(dut), Monitor(dut)
    scoreboard = Scoreboard(given["capacity"])
    Clock(dut.clk_i, 10, "ns").start()
    await reset(dut)
    for cycle in range(given["cycles"]):
        if cycle % RESET_EVERY == RESET_EVERY - 1:
            await reset(dut)
            scoreboard.clear()
        offers, accepts = MODES[cycle // 100 % len(MODES)]
        source.drive(offers)
        sink.drive(accepts)
        await ReadOnly()
        scoreboard.check(monitor.seen())
        await FallingEdge(dut.clk_i)
    assert scoreboard.out > given["cycles"] // 4
