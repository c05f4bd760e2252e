"""A host that does not keep still while a program runs on tb_top: see tests/rtl/test_recovery.py.

The cases of a folder (hwsim.cosim.accelerator) run one after the other. Before the first, all counters are
0. While one runs, the host reads status and error, writes the streams of the next one, and asks for a start
again and again. Cases with a fault on the bus run under a host that keeps still.
"""

import json
from pathlib import Path

import cocotb
import numpy as np
from accelerator_bench import END, PERIOD_NS, PROGRAM_BYTES, WAIT, WRITE, Host, load_streams
from accelerator_bench import Bench as QuietBench
from cocotb.clock import Clock

from hwsim import cosim
from hwsim.cosim.accelerator import CASES, NO_FAULT, RESULTS
from hwsim.host import REGISTERS, Counter, counter_offset
from hwsim.isa import Unit

STARTS = 20
"""While a program runs; each between two reads of status, some 15 cycles apart."""

RUNNING = 1
COUNTS = (REGISTERS["cycles"].offset, *(counter_offset(unit, c) for unit in Unit for c in Counter))


class Bench(QuietBench):
    """Case number i has the i-th part of the instruction memory."""

    def __init__(self, dut, folder, cases, **options):
        super().__init__(dut, folder, **options)
        self.part = PROGRAM_BYTES // (len(cases) + 1) // 16 * 16
        self.starts = [self.load(number) for number in range(len(cases))]
        # Behind the last case: what a start would fetch there is no instruction.
        self.starts.append([self.part * len(cases)] * len(Unit))

    def load(self, number):
        base = self.part * number
        memory = self.instructions[base : base + self.part]
        return [base + start for start in load_streams(memory, self.folder, number)]

    async def run(self, number, case):
        if case["fault"] != NO_FAULT:
            return await super().run(number, case)
        image = np.load(self.image(number))
        self.dram[: len(image)] = image
        host = Host(self.commands)
        self.point(host, number)
        host.write("window_last", case["window_last"])
        host.write("interrupt", 3)
        blank = [] if number else [host.read(offset) for offset in COUNTS]
        self.ask(host)
        self.point(host, number + 1)
        errors = [host.read(REGISTERS[name].offset) for name in ("error", "error_address")]
        states = [host.read(REGISTERS["status"].offset)]
        for _ in range(STARTS):
            self.ask(host)
            states.append(host.read(REGISTERS["status"].offset))
        host.add(WAIT)
        names = ("status", "error", "error_address", "cycles")
        reads = {name: host.read(REGISTERS[name].offset) for name in names}
        counters = [[host.read(counter_offset(unit, c)) for c in Counter] for unit in Unit]
        host.write("interrupt", 1)
        host.add(END)
        assert await self.go(case), "no interrupt"
        assert [state() for state in states] == [RUNNING] * len(states), "the program is too short"
        assert not any(count() for count in blank), "a counter before the first start"
        assert not any(error() for error in errors), "an error of the program before"
        np.save(self.image(number), self.dram[: len(image)])
        return {
            **{name: read() for name, read in reads.items()},
            "counters": [[read() for read in unit] for unit in counters],
            "timed_out": False,
        }

    def point(self, host, number):
        for unit, start in zip(Unit, self.starts[number], strict=True):
            host.write(f"stream_{unit.name.lower()}", start)

    def ask(self, host):
        host.add(WRITE, REGISTERS["control"].offset, 1)


@cocotb.test()
async def starts_while_running(dut):
    given = cosim.arguments()
    folder = Path(given["folder"])
    cases = json.loads((folder / CASES).read_text())
    sizes = [np.load(folder / f"image{i}.npy", mmap_mode="r").size for i in range(len(cases))]
    sizes = {"timeout_cycles": given["timeout_cycles"], "dram_bytes": max(sizes)}
    bench = Bench(dut, folder, cases, **sizes)
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await bench.reset()
    results = [await bench.run(number, case) for number, case in enumerate(cases)]
    (folder / RESULTS).write_text(json.dumps(results))
