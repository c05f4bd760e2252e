"""tb_stce on the MATMULs of compiled layers: see tests/rtl/layer_matmuls.py."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from stce_bench import PERIOD_NS, Pads, differences, execute

from hwsim import cosim
from hwsim.config import AcceleratorConfig
from tests.rtl.layer_matmuls import layer_matmuls


@cocotb.test()
async def layers(dut):
    given = cosim.arguments()
    config = AcceleratorConfig.from_mapping(given["config"])
    pads = Pads(config)
    dut.rst_ni.value, dut.start_i.value = 0, 0
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await Timer(25, "ns")
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    failures, met = [], {"OS": 0, "WS": 0}
    for name, case in layer_matmuls(config):
        met[name.rpartition(" ")[2]] += 1
        pads.write(case.pads)
        await execute(dut, case)
        if found := differences(dut, case, pads):
            failures.append(f"{name}, instruction {case.seed}: {'; '.join(found)}")
    dut._log.info(f"{met} MATMULs")
    assert not failures, "\n".join(failures[:5])
    assert min(met.values()) >= given["least"], met
