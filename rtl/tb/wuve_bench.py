"""WUVE against the machine and against NumPy: every bit of ACC and ACT, and every cycle.

A batch is a few instructions on the same memories, one after the other, mostly without a cycle between
them. Arguments: config, seed, batches.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from wuve_cases import (
    KINDS,
    RECORD_WORDS,
    START_CYCLES,
    Case,
    contents,
    directed_cases,
    execute,
    execute_numpy,
    expected_cycles,
    operands,
    random_case,
    results,
)

from hwsim import cosim
from hwsim.config import AcceleratorConfig
from tests.rtl.coverage import met
from tests.rtl.coverage.classify import vector_bins

BATCH = 8
PERIOD_NS = 10


class Bench:
    """The design, its memories, and the clock."""

    def __init__(self, dut: Any, config: AcceleratorConfig) -> None:
        self.dut, self.config = dut, config
        self.acc = _memory(0, (2 * config.accumulator_half_words, config.cols), np.uint32)
        self.act = _memory(
            1, (2 * config.activation_half_words, config.activation_lanes), np.uint16
        )
        self.program = _memory(2, (BATCH, RECORD_WORDS), np.uint32)
        self.reports = _memory(3, (BATCH, 4), np.uint32)
        self.met: set[met.Bin] = set()

    async def reset(self) -> None:
        self.dut.go_i.value = self.dut.rst_ni.value = 0
        Clock(self.dut.clk_i, PERIOD_NS, "ns").start()
        await ClockCycles(self.dut.clk_i, 3)
        self.dut.rst_ni.value = 1
        await ClockCycles(self.dut.clk_i, 2)

    async def check(self, cases: Sequence[Case], rng: Random) -> None:
        """Execute on random contents; compare memories, cycles, flags."""
        self.acc[:] = contents(rng, self.acc.shape, rng.choice(KINDS))
        self.act[:] = contents(rng, self.act.shape, "any")
        found = self._bins(cases) if met.counting() else set()
        memories, flags = self._expect(cases)
        await self._execute(cases)
        for case, report, nonfinite in zip(cases, self.reports.tolist(), flags, strict=False):
            cycles, first_read, last_write, pulses = report
            assert cycles == expected_cycles(case, self.config), (case, report)
            assert first_read == START_CYCLES and last_write < cycles, (case, report)
            assert bool(pulses) == nonfinite, (case, report)
        for name, got, expected in zip(("ACC", "ACT"), (self.acc, self.act), memories, strict=True):
            wrong = np.argwhere(got != expected)
            assert not len(wrong), f"{name} words, lanes {wrong[:4].tolist()}\n" + "\n".join(
                map(str, cases)
            )
        assert not int(self.dut.fault_o.value), cases
        self.met |= found

    def _expect(self, cases: Sequence[Case]) -> tuple[tuple[Any, Any], list[bool]]:
        """Memories at the end, and NONFINITE of each case; the two expectations must agree."""
        machine, oracle = ((self.acc.copy(), self.act.copy()) for _ in range(2))
        flags = [execute(case, self.config, *machine) for case in cases]
        assert flags == [execute_numpy(case, *oracle) for case in cases], cases
        for one, other in zip(machine, oracle, strict=True):
            assert np.array_equal(one, other), cases
        return machine, flags

    def _bins(self, cases: Sequence[Case]) -> set[met.Bin]:
        """What the cases meet of the plan of coverage, one after the other."""
        acc, act = self.acc.copy(), self.act.copy()
        found: set[met.Bin] = set()
        for case in cases:
            read = operands(case, acc)
            execute(case, self.config, acc, act)
            name = "UPDATE" if case.operation is None else case.operation.name
            found |= vector_bins(name, read, results(case, acc, act))
        return found

    async def _execute(self, cases: Sequence[Case]) -> None:
        for record, case in zip(self.program, cases, strict=False):
            record[:] = case.record()
        self.dut.count_i.value = len(cases)
        self.dut.go_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.go_i.value = 0
        cycles = sum(expected_cycles(case, self.config) + case.gap for case in cases)
        await with_timeout(RisingEdge(self.dut.done_o), 2 * PERIOD_NS * (cycles + 10), "ns")


def _memory(number: int, shape: tuple[int, int], dtype: Any) -> Any:
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    return cosim.shared_memory(number, size).view(dtype).reshape(shape)


@cocotb.test()
async def bits_and_cycles(dut: Any) -> None:
    """Every operation in every way, then random ones; a failure names the batch's seed."""
    given = cosim.arguments()
    config = AcceleratorConfig.from_mapping(given["config"])
    bench = Bench(dut, config)
    await bench.reset()
    directed = directed_cases(config)
    for number in range(-(-len(directed) // BATCH) + given["batches"]):
        rng = Random(f"{given['seed']} {number}")
        batch = directed[BATCH * number : BATCH * (number + 1)]
        try:
            await bench.check(batch or [random_case(rng, config) for _ in range(BATCH)], rng)
        except AssertionError as error:
            raise AssertionError(f"seed {given['seed']}, batch {number}: {error}") from None
    if met.counting():
        met.leave(bench.met)
