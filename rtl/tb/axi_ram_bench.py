"""The cases of a folder against cocotbext-axi: AxiRam as DRAM, AxiLiteMaster as host, random pauses.

It shares the format of cases and results with accelerator_bench. Only the bits mean something.
"""

import json
import random
from pathlib import Path

import cocotb
import numpy as np
from accelerator_bench import PROGRAM_BYTES, load_streams
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from hwsim import cosim
from hwsim.cosim.accelerator import CASES, RESULTS
from hwsim.host import REGISTERS, Counter, counter_offset
from hwsim.isa import Unit


def pauses(seed, share):
    """True in a random `share` of all cycles."""
    rng = random.Random(seed)
    while True:
        yield rng.random() < share


class Bench:
    def __init__(self, dut, folder):
        self.dut = dut
        self.folder = folder
        self.cases = json.loads((folder / CASES).read_text())
        self.instructions = cosim.shared_memory(1, PROGRAM_BYTES)
        given = {"reset": dut.rst_ni, "reset_active_level": False}
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axil"), dut.clk_i, **given)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "axi"), dut.clk_i, size=1 << 20, **given)
        for interface in (self.host, self.ram):
            interface.write_if.log.setLevel("WARNING")
            interface.read_if.log.setLevel("WARNING")

    def pause(self, seed, share):
        read, write = self.ram.read_if, self.ram.write_if
        host_read, host_write = self.host.read_if, self.host.write_if
        channels = (
            *(read.ar_channel, read.r_channel),
            *(write.aw_channel, write.w_channel, write.b_channel),
            *(host_read.ar_channel, host_read.r_channel),
            *(host_write.aw_channel, host_write.w_channel, host_write.b_channel),
        )
        for number, channel in enumerate(channels):
            channel.set_pause_generator(pauses(f"{seed} {number}", share))

    async def write(self, name, value):
        await self.host.write_qword(REGISTERS[name].offset, value)

    async def read(self, offset):
        return int(await self.host.read_qword(offset))

    async def run(self, number, case):
        path = self.folder / f"image{number}.npy"
        image = np.load(path)
        self.ram.write(0, image.tobytes())
        self.pause(case["seed"], case["stall"] / 256)
        starts = load_streams(self.instructions, self.folder, number)
        for unit, start in zip(Unit, starts, strict=True):
            await self.write(f"stream_{unit.name.lower()}", start)
        await self.write("window_last", case["window_last"])
        await self.host.write_dword(REGISTERS["interrupt"].offset, 3)
        await self.host.write_dword(REGISTERS["control"].offset, 1)
        if not int(self.dut.irq_o.value):
            await with_timeout(RisingEdge(self.dut.irq_o), 10, "ms")
        names = ("status", "error", "error_address", "cycles")
        values = {name: await self.read(REGISTERS[name].offset) for name in names}
        counters = [[await self.read(counter_offset(u, c)) for c in Counter] for u in Unit]
        await self.host.write_dword(REGISTERS["interrupt"].offset, 1)
        np.save(path, np.frombuffer(self.ram.read(0, len(image)), np.uint8))
        return {**values, "counters": counters, "timed_out": False}


@cocotb.test()
async def run_cases(dut):
    folder = Path(cosim.arguments()["folder"])
    dut.rst_ni.value = 0
    Clock(dut.clk_i, 10, "ns").start()
    bench = Bench(dut, folder)
    await ClockCycles(dut.clk_i, 4)
    dut.rst_ni.value = 1
    await ClockCycles(dut.clk_i, 4)
    results = [await bench.run(number, case) for number, case in enumerate(bench.cases)]
    (folder / RESULTS).write_text(json.dumps(results))
