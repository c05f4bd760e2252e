"""Runs the cases of a folder on tb_top: see hwsim.cosim.accelerator."""

import json
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from hwsim import cosim
from hwsim.cosim.accelerator import CASES, RESULTS
from hwsim.host import REGISTERS, Counter, counter_offset
from hwsim.isa import Unit

PROGRAM_BYTES = 1 << 22
COMMANDS = 1 << 10
PERIOD_NS = 10
END, WRITE, READ, WAIT = range(4)


class Host:
    """Writes a list of accesses for tb_host, and finds what they read."""

    def __init__(self, memory):
        self._words = memory.view(np.uint32).reshape(-1, 4)
        self._count = 0

    def add(self, operation, offset=0, data=0):
        self._words[self._count] = (operation, offset, data, 0)
        self._count += 1

    def write(self, name, value):
        for half in (0, 1):
            self.add(WRITE, REGISTERS[name].offset + 4 * half, value >> (32 * half) & 0xFFFFFFFF)

    def read(self, offset):
        """Both halves of a register. Returns a function that gives the value after the run."""
        first = self._count
        self.add(READ, offset)
        self.add(READ, offset + 4)
        return lambda: int(self._words[first, 2]) | int(self._words[first + 1, 2]) << 32


def load_streams(memory, folder, number):
    """Streams one behind the other. Returns their byte addresses."""
    address, starts = 0, []
    for unit in Unit:
        words = np.load(folder / f"stream{number}_{int(unit)}.npy").view(np.uint8).ravel()
        memory[address : address + len(words)] = words
        starts.append(address)
        address += len(words)
    memory[address : address + 1024] = 0
    return starts


class Bench:
    def __init__(self, dut, folder, timeout_cycles, dram_bytes):
        self.dut = dut
        self.folder = folder
        self.timeout_cycles = timeout_cycles
        self.dram = cosim.shared_memory(0, dram_bytes)
        self.instructions = cosim.shared_memory(1, PROGRAM_BYTES)
        self.commands = cosim.shared_memory(2, 16 * COMMANDS)

    def image(self, number):
        return self.folder / f"image{number}.npy"

    async def reset(self):
        self.dut.rst_ni.value = 0
        self.dut.go_i.value = 0
        await ClockCycles(self.dut.clk_i, 4)
        self.dut.rst_ni.value = 1
        await ClockCycles(self.dut.clk_i, 2)

    async def run(self, number, case):
        image = np.load(self.image(number))
        self.dram[: len(image)] = image
        host = Host(self.commands)
        starts = load_streams(self.instructions, self.folder, number)
        for unit, start in zip(Unit, starts, strict=True):
            host.write(f"stream_{unit.name.lower()}", case["stream_first"] + start)
        host.write("window_first", case["window_first"])
        host.write("window_last", case["window_last"])
        host.write("interrupt", 3)
        host.add(WRITE, REGISTERS["control"].offset, 1)
        host.add(WAIT)
        names = ("status", "error", "error_address", "cycles")
        reads = {name: host.read(REGISTERS[name].offset) for name in names}
        counters = [[host.read(counter_offset(unit, c)) for c in Counter] for unit in Unit]
        host.write("interrupt", 1)
        host.add(END)
        timed_out = not await self.go(case)
        np.save(self.image(number), self.dram[: len(image)])
        return {
            **{name: read() for name, read in reads.items()},
            "counters": [[read() for read in unit] for unit in counters],
            "timed_out": timed_out,
        }

    async def go(self, case):
        """Whether the host came to its end; if not, the design is reset."""
        dut = self.dut
        dut.latency_cycles_i.value = case["latency_cycles"]
        dut.bytes_per_cycle_i.value = case["bytes_per_cycle"]
        dut.stall_i.value = case["stall"]
        dut.seed_i.value = case["seed"]
        dut.fault_i.value = case["fault"]
        dut.address_mask_i.value = case["address_mask"]
        dut.go_i.value = 1
        finished = RisingEdge(dut.done_o)
        # ClockCycles would wake Python in every cycle.
        limit_cycles = case["reset_after"] or self.timeout_cycles
        came = await First(finished, Timer(limit_cycles * PERIOD_NS, "ns"))
        if came is not finished:
            await self.reset()
            return False
        assert not int(dut.broken_o.value), "the memory saw data late, or not as announced"
        dut.go_i.value = 0
        await FallingEdge(dut.done_o)
        return True


@cocotb.test()
async def run_cases(dut):
    given = cosim.arguments()
    folder = Path(given["folder"])
    cases = json.loads((folder / CASES).read_text())
    sizes = [np.load(folder / f"image{i}.npy", mmap_mode="r").size for i in range(len(cases))]
    bench = Bench(dut, folder, given["timeout_cycles"], max(sizes))
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await bench.reset()
    results = [await bench.run(number, case) for number, case in enumerate(cases)]
    (folder / RESULTS).write_text(json.dumps(results))
