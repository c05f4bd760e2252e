"""tb_ram against the memory that the bench sees: lanes, read latency, old contents on a collision."""

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
    memory = cosim.shared_memory(0, WORDS * LANES * LANE_BITS // 8).view(np.uint16)
    words = memory.reshape(WORDS, LANES)
    words[:] = np.arange(WORDS * LANES).reshape(words.shape)
    expected = words.copy()
    Clock(dut.clk_i, 10, "ns").start()
    read = None
    for _ in range(given["cycles"]):
        await FallingEdge(dut.clk_i)
        if read is not None:
            assert int(dut.rdata_o.value) == read
        reads, raddr = random.random() < 0.5, random.randrange(WORDS)
        lanes, waddr = random.randrange(1 << LANES), random.choice([raddr, random.randrange(WORDS)])
        data = random.getrandbits(LANES * LANE_BITS)
        dut.re_i.value, dut.raddr_i.value = int(reads), raddr
        dut.we_i.value, dut.waddr_i.value, dut.wdata_i.value = lanes, waddr, data
        if reads:
            read = sum(int(v) << (LANE_BITS * i) for i, v in enumerate(expected[raddr]))
        for lane in range(LANES):
            if lanes >> lane & 1:
                expected[waddr, lane] = data >> (LANE_BITS * lane) & MASK
    await FallingEdge(dut.clk_i)
    assert (words == expected).all()
