"""A block RAM: lanes, read latency, held output, old contents on a collision, reads at the write port.

tb_ram is checked against the memory that the bench sees too; it has no reads at the write port.
"""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from hwsim import cosim

LANES, LANE_BITS, WORDS = 4, 16, 64
MASK = (1 << LANE_BITS) - 1


@cocotb.test()
async def random_traffic(dut):
    given = cosim.arguments()
    size = WORDS * LANES * LANE_BITS // 8
    seen = cosim.shared_memory(0, size).view(np.uint16) if given["shared"] else None
    contents = [0] * WORDS
    Clock(dut.clk_i, 10, "ns").start()
    if given["side"]:
        dut.side_re_i.value = 0
    await fill(dut, contents)
    shown = side_shown = None
    for _ in range(given["cycles"]):
        await FallingEdge(dut.clk_i)
        if shown is not None:
            assert int(dut.rdata_o.value) == shown
        if side_shown is not None:
            assert int(dut.side_rdata_o.value) == side_shown
        reads, address = random.random() < 0.5, random.randrange(WORDS)
        dut.re_i.value, dut.raddr_i.value = int(reads), address
        if reads:
            shown = contents[address]
        lanes, data = random.randrange(1 << LANES), random.getrandbits(LANES * LANE_BITS)
        place = random.choice([address, random.randrange(WORDS)])
        if given["side"]:
            side = random.random() < 0.5
            dut.side_re_i.value = int(side)
            if side:
                lanes, side_shown = 0, contents[place]
        write(dut, contents, place, lanes, data)
    await FallingEdge(dut.clk_i)
    if seen is not None:
        words = [int.from_bytes(word.tobytes(), "little") for word in seen.reshape(WORDS, LANES)]
        assert words == contents


async def fill(dut, contents):
    dut.re_i.value, dut.raddr_i.value = 0, 0
    for address in range(WORDS):
        write(dut, contents, address, (1 << LANES) - 1, random.getrandbits(LANES * LANE_BITS))
        await FallingEdge(dut.clk_i)


def write(dut, contents, address, lanes, data):
    """Drive a write, and do it in `contents`."""
    dut.we_i.value, dut.waddr_i.value, dut.wdata_i.value = lanes, address, data
    for lane in range(LANES):
        if lanes >> lane & 1:
            mask = MASK << (LANE_BITS * lane)
            contents[address] = contents[address] & ~mask | data & mask
