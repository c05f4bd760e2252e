"""tb_stce against the machine: every bit of the accumulator banks, every cycle and every stall."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, SimTimeoutError, Timer, with_timeout

from hwsim import cosim
from hwsim.config import AcceleratorConfig
from tests.rtl.coverage import met
from tests.rtl.coverage.classify import product_bins
from tests.rtl.coverage.directed import Way, directed_case, goals
from tests.rtl.matmuls import corners, random_case

ACT, WGT, IDX, ACC = 0, 1, 2, 3
PERIOD_NS = 10
LATE_CYCLES = 1000


class Pads:
    """The scratchpads as the design sees them."""

    def __init__(self, config):
        act, wgt = 2 * config.activation_half_words, 2 * config.weight_half_words
        self.banks = [
            self._open(ACC + c, (2 * config.accumulator_half_words,), np.uint32)
            for c in range(config.cols)
        ]
        self.act = self._open(ACT, (act, config.activation_lanes), np.uint16)
        self.wgt = self._open(WGT, (wgt, config.cols), np.uint16)
        self.idx = self._open(IDX, (wgt, config.cols), np.uint16)

    @staticmethod
    def _open(number, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return cosim.shared_memory(number, size).view(dtype).reshape(shape)

    def write(self, pads):
        self.act[:], self.wgt[:], self.idx[:] = pads.act.bits, pads.wgt.bits, pads.idx.bits
        for bank, column in zip(self.banks, pads.acc.bits.T, strict=True):
            bank[:] = column

    @property
    def acc(self):
        return np.stack(self.banks, axis=1)


async def execute(dut, case):
    """Start a MATMUL in this low phase of the clock; back in the one after its last cycle.

    Raises SimTimeoutError where it does not end.
    """
    dut.instr_i.value, dut.bank_i.value = case.instruction_bits, case.bank_bits
    dut.start_i.value = 1
    await FallingEdge(dut.clk_i)
    dut.start_i.value, dut.instr_i.value, dut.bank_i.value = 0, 0, 0
    most = 2 * case.cycles + LATE_CYCLES
    await with_timeout(RisingEdge(dut.done_o), most * PERIOD_NS, "ns")
    await FallingEdge(dut.clk_i)
    if dut.done_o.value:
        await FallingEdge(dut.clk_i)


def differences(dut, case, pads):
    """What is not as expected, in words."""
    found = []
    counts = {
        "cycles": case.cycles,
        "busy": case.busy,
        "data": case.stalls["data"],
        "adder": case.stalls["adder"],
        "drain": case.stalls["drain"],
    }
    for name, expected in counts.items():
        got = int(getattr(dut, f"{name}_o").value)
        if got != expected:
            found.append(f"{name}: expected {expected}, got {got}")
    got = pads.acc
    wrong = np.argwhere(got != case.expected)
    if len(wrong):
        word, bank = wrong[0]
        found.append(
            f"{len(wrong)} sums, first in word {word} of bank {bank}: "
            f"expected {case.expected[word, bank]:08x}, got {got[word, bank]:08x}"
        )
    return found


@cocotb.test()
async def matmuls(dut):
    given = cosim.arguments()
    config = AcceleratorConfig.from_mapping(given["config"])
    pads = Pads(config)
    dut.rst_ni.value, dut.start_i.value = 0, 0
    Clock(dut.clk_i, PERIOD_NS, "ns").start()
    await Timer(25, "ns")
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    failures, cycles, missing = [], 0, set(given.get("corners", ()))
    way, found_bins = given.get("way"), set()
    goal = set(goals(Way(*way))) if way else set()
    for seed in given["seeds"]:
        if way:
            case = directed_case(seed, config, Way(*way))
        else:
            case = random_case(seed, config, **given.get("fixed", {}))
        bins = set(product_bins(case, config)) if way or met.counting() else set()
        if way and bins <= found_bins:
            continue
        found_bins |= bins
        pads.write(case.pads)
        try:
            await execute(dut, case)
        except SimTimeoutError:
            failures.append(f"seed {seed}: not done; expected {case.cycles} cycles")
            break
        cycles += case.cycles
        missing -= corners(case, config)
        found = differences(dut, case, pads)
        if found:
            shape = {name: value for name, value in case.registers.items() if value}
            failures.append(f"seed {seed}: {'; '.join(found)}\n  {case.instruction} {shape}")
            if len(failures) >= given.get("most_failures", 5):
                break
        if way and goal <= found_bins:
            break
    dut._log.info(f"{len(given['seeds'])} MATMULs, {cycles} cycles")
    assert not failures, "\n".join(failures)
    assert not missing, f"no case has {sorted(missing)}"
    if met.counting():
        met.leave(found_bins)
