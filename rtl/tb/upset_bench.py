"""accelerator_bench, but cases that end in a reset have registers set to anything while they run.

What they do then is not defined. The reset must bring the design back, whatever the registers hold.
"""

import json
import random
from pathlib import Path

import cocotb
from accelerator_bench import PERIOD_NS, Bench
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from hwsim import cosim
from hwsim.cosim.accelerator import CASES, RESULTS

MOST_CYCLES = 8
DRAM_BYTES = 1 << 18


def registers(dut):
    """By unit, handles of those registers that the design shows."""
    from tests.rtl.upsets import PLACES, REGISTERS, TRANSFERS

    found = {}
    for module, names in (REGISTERS | TRANSFERS).items():
        for place in PLACES[module]:
            instance = at(dut.u_dut, place)
            shown = [getattr(instance, name) for name in names if hasattr(instance, name)]
            if shown:
                found.setdefault(place.partition(".")[0], []).extend(shown)
    assert found, "the design shows none of tests.rtl.upsets"
    return found


def at(instance, place):
    """None where a stand-in has no such instance."""
    for part in place.split("."):
        instance = getattr(instance, part, None)
    return instance


class Upsetting(Bench):
    async def run(self, number, case):
        if not case["reset_after"]:
            return await super().run(number, case)
        upsets = cocotb.start_soon(self.upset(random.Random(f"upset {number}")))
        result = await super().run(number, case)
        upsets.cancel()
        await self.reset()
        return result

    async def upset(self, rng):
        units = registers(self.dut)
        while True:
            await ClockCycles(self.dut.clk_i, rng.randint(1, MOST_CYCLES))
            await FallingEdge(self.dut.clk_i)
            for handles in units.values():
                handle = rng.choice(handles)
                handle.value = rng.getrandbits(len(handle))


@cocotb.test()
async def run_cases(dut):
    folder = Path(cosim.arguments()["folder"])
    cases = json.loads((folder / CASES).read_text())
    bench = Upsetting(dut, folder, cosim.arguments()["timeout_cycles"], DRAM_BYTES)
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await bench.reset()
    results = [await bench.run(number, case) for number, case in enumerate(cases)]
    (folder / RESULTS).write_text(json.dumps(results))
