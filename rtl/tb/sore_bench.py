"""Bench of SORE on tb_sore: bits of WGT and IDX, cycles of every case, nothing outside of them."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from sore_cases import Case, Scoreboard, Source, all_cases, packed, result, weights

from hwsim import AcceleratorConfig
from hwsim.cosim import arguments, shared_memory
from hwsim.machine.scratchpads import Scratchpads
from tests.rtl.coverage import met
from tests.rtl.coverage.classify import packing_bins

LIST = 64
CLOCK_NS = 10
IDLE_CYCLES = 1000


class Bench:
    """Drives lists of cases and compares what they leave."""

    def __init__(self, dut, config: AcceleratorConfig, source: Source) -> None:
        self.dut, self.config, self.source = dut, config, source
        pads = Scratchpads.unknown(config)
        self.act = _shared(0, pads.act.bits)
        self.wgt = _shared(1, pads.wgt.bits)
        self.idx = _shared(2, pads.idx.bits)
        self.cases = _shared(3, np.zeros((LIST + 1, 9), np.uint32))
        self.cycles = _shared(4, np.zeros(LIST, np.uint32))
        self.scoreboard = Scoreboard(config, pads)
        self.met = set()

    async def reset(self) -> None:
        Clock(self.dut.clk_i, CLOCK_NS, "ns").start()
        self.dut.rst_ni.value = 0
        self.dut.start_i.value = 0
        await ClockCycles(self.dut.clk_i, 3)
        self.dut.rst_ni.value = 1
        await ClockCycles(self.dut.clk_i, 2)

    async def run(self, batch: list[Case]) -> None:
        """Run one list on fresh contents."""
        expected = self._prepare(batch)
        self.cases[: len(batch)] = [case.words() for case in batch]
        self.dut.count_i.value = len(batch)
        self.dut.start_i.value = 1
        await ClockCycles(self.dut.clk_i, 1)
        self.dut.start_i.value = 0
        await self._end(sum(expected) + sum(case.gap for case in batch) + IDLE_CYCLES)
        await ClockCycles(self.dut.clk_i, 2)
        self._compare(batch, expected)

    async def _end(self, cycles: int) -> None:
        try:
            await with_timeout(RisingEdge(self.dut.done_o), cycles * CLOCK_NS, "ns")
        except SimTimeoutError as error:
            raise AssertionError(f"not done after {cycles} cycles") from error

    def _prepare(self, batch: list[Case]) -> list[int]:
        pads = self.scoreboard.pads
        pads.act.bits[:] = self.source.contents(*pads.act.bits.shape)
        pads.wgt.bits[:] = self.source.contents(*pads.wgt.bits.shape)
        pads.idx.bits[:] = self.source.contents(*pads.idx.bits.shape) & 15
        self.act[:], self.wgt[:], self.idx[:] = pads.act.bits, pads.wgt.bits, pads.idx.bits
        return self.scoreboard.execute(batch)

    def _compare(self, batch: list[Case], expected: list[int]) -> None:
        assert int(self.dut.strays_o.value) == 0
        for case, cycles, wanted in zip(batch, self.cycles, expected, strict=False):
            assert cycles == wanted, f"{case}: {cycles} cycles, expected {wanted}"
            values, positions = packed(case, self.act, self.config)
            np.testing.assert_array_equal(result(case, self.wgt, self.config), values, str(case))
            np.testing.assert_array_equal(result(case, self.idx, self.config), positions, str(case))
        np.testing.assert_array_equal(self.wgt, self.scoreboard.pads.wgt.bits, "WGT")
        np.testing.assert_array_equal(self.idx, self.scoreboard.pads.idx.bits, "IDX")
        if met.counting():
            for case in batch:
                source = weights(case, self.act, self.config)
                self.met.update(packing_bins(case.registers, source, self.config))


def _shared(number: int, like):
    return shared_memory(number, like.nbytes).view(like.dtype).reshape(like.shape)


@cocotb.test()
async def prunes(dut) -> None:
    """Every supported pattern, then random cases; argument `count` of them."""
    given = arguments()
    config = AcceleratorConfig.from_mapping(given["config"])
    source = Source(config, given["seed"])
    bench = Bench(dut, config, source)
    await bench.reset()
    done = 0
    for batch in source.batches(all_cases(source, given["count"], given.get("planned", 0)), LIST):
        await bench.run(batch)
        done += len(batch)
    if met.counting():
        met.leave(bench.met)
    dut._log.info(f"{done} cases agree, seed {given['seed']}")
