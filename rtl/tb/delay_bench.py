"""A delay line: what comes out is what went in `depth` cycles before, bit for bit, cycle after cycle."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from hwsim import cosim


@cocotb.test()
async def random_values(dut):
    given = cosim.arguments()
    depth = given["depth"]
    Clock(dut.clk_i, 10, "ns").start(start_high=False)
    await FallingEdge(dut.clk_i)
    sent = []
    for _ in range(given["cycles"]):
        sent.append(random.getrandbits(given["width"]))
        dut.data_i.value = sent[-1]
        await Timer(1, "ns")
        if len(sent) > depth:
            assert int(dut.data_o.value) == sent[-1 - depth]
        await FallingEdge(dut.clk_i)
