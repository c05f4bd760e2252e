"""A buffer between a source and a sink that stall at random: words come out once, in order.

A reset now and then empties it. The FIFO's push and pop are driven from the same stalls as a
valid/ready handshake.
"""

import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from hwsim import cosim


class Handshake:
    """skid_buffer: valid and ready on both sides."""

    def __init__(self, dut):
        self.dut = dut

    def drive(self, offers, accepts, word):
        self.dut.valid_i.value, self.dut.ready_i.value = offers, accepts
        self.dut.data_i.value = word

    def moved(self, offers, accepts):
        return offers and int(self.dut.ready_o.value), accepts and int(self.dut.valid_o.value)


class PushPop(Handshake):
    """fifo: pushed only while there is room, popped only while there is a word."""

    def drive(self, offers, accepts, word):
        self.dut.push_i.value = self.pushes = offers and int(self.dut.ready_o.value)
        self.dut.pop_i.value = self.pops = accepts and int(self.dut.valid_o.value)
        self.dut.data_i.value = word

    def moved(self, offers, accepts):
        return self.pushes, self.pops


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
    port = PushPop(dut) if hasattr(dut, "push_i") else Handshake(dut)
    Clock(dut.clk_i, 10, "ns").start()
    await reset(dut)
    inside, out, capacity = deque(), 0, given["capacity"]
    for cycle in range(given["cycles"]):
        if cycle % 1000 == 999:
            await reset(dut)
            inside.clear()
        eager = (cycle // 100) % 3  # 0: the source waits, 1: the sink waits, 2: neither
        offers = int(random.random() < (0.4, 0.9, 1)[eager])
        accepts = int(random.random() < (0.9, 0.4, 1)[eager])
        word = random.getrandbits(8)
        assert int(dut.valid_o.value) == bool(inside)
        assert int(dut.ready_o.value) == (len(inside) < capacity)
        port.drive(offers, accepts, word)
        await ReadOnly()
        came, went = port.moved(offers, accepts)
        if went:
            assert int(dut.data_o.value) == inside.popleft()
            out += 1
        if came:
            inside.append(word)
        await FallingEdge(dut.clk_i)
    assert out > given["cycles"] // 4
