"""Runs a case whenever hwsim.cosim.session asks for one, on the same design; see there."""

from multiprocessing.connection import Client
from pathlib import Path

import cocotb
from accelerator_bench import PERIOD_NS, Bench
from cocotb.clock import Clock

from hwsim import cosim


@cocotb.test()
async def serve(dut):
    given = cosim.arguments()
    bench = Bench(dut, Path(given["folder"]), given["timeout_cycles"], given["dram_bytes"])
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await bench.reset()
    with Client(given["socket"]) as host:
        while (case := host.recv()) is not None:
            host.send(await bench.run(0, case))
