"""accelerator_bench, but in the midst of every program each counter jumps ahead by a number of its own.

So the counters carry through all their bits within a run.
"""

import json
import random
from pathlib import Path

import cocotb
from accelerator_bench import PERIOD_NS, Bench
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from hwsim import cosim
from hwsim.cosim.accelerator import CASES, RESULTS
from hwsim.host import Counter
from hwsim.isa import Unit


class Jumping(Bench):
    async def run(self, number, case):
        jump = cocotb.start_soon(self.jump(number))
        result = await super().run(number, case)
        assert jump.done()
        return result

    async def jump(self, number):
        """Soon after the start: the shortest program counts for some ten cycles."""
        from tests.rtl.jumps import jumped, jumps

        control = self.dut.u_dut.u_control
        units = [control.g_unit[int(unit)] for unit in Unit]
        counts = [unit.g_counter[int(counter)].count_q for unit in units for counter in Counter]
        wait = random.randint(2, 8)
        while wait:
            await FallingEdge(self.dut.clk_i)
            wait -= int(control.running_q.value)
        for counter, by in zip((control.cycles_o, *counts), jumps(number), strict=True):
            counter.value = jumped(int(counter.value), by)


@cocotb.test()
async def run_cases(dut):
    folder = Path(cosim.arguments()["folder"])
    cases = json.loads((folder / CASES).read_text())
    bench = Jumping(dut, folder, cosim.arguments()["timeout_cycles"], 1 << 18)
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await bench.reset()
    results = [await bench.run(number, case) for number, case in enumerate(cases)]
    (folder / RESULTS).write_text(json.dumps(results))
