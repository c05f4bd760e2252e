"""What stops the machine: it says what and where, leaves other memory alone, and starts again.

All cases run in one simulation, each followed by a legal program that must have its bits and times: on
stand-ins for STCE, SORE and WUVE, and on the complete accelerator. Errors amid real work: test_recovery.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np
import pytest

from hwsim import engine
from hwsim.constants import INSTRUCTION_BYTES, SEMAPHORE_MAX, SEMAPHORES
from hwsim.cosim import Design
from hwsim.cosim.accelerator import Case, RtlResult, run_programs
from hwsim.host import Counter, Error
from hwsim.isa import INSTRUCTION_BITS, Instruction, Op, Space, Unit, configure, encode, to_words
from tests.rtl import test_accelerator as complete
from tests.rtl.law import Job, check_bits, check_times
from tests.rtl.transfer_programs import CONFIGS, WATCHDOG_CYCLES, design, job

CONFIG = CONFIGS["narrow"]
TIMEOUT_CYCLES = 50_000
IMAGE = np.random.default_rng(7).integers(0, 256, 1 << 16, np.uint8)
HALT = Instruction(Op.HALT)
ROW = {"run_bytes": 64, "count0": 4, "count1": 1, "count2": 1, "stride0": 64, "row_bytes": 64}
ROW |= {"row_words": 8}


def raw(*words: int) -> np.ndarray:
    """Encoded instructions, (count, 2)."""
    return np.array([(w & (1 << 64) - 1, w >> 64) for w in words], np.uint64).reshape(-1, 2)


def listed(*instructions: Instruction) -> np.ndarray:
    return to_words([*instructions, HALT])


def transfer(op: Op, dram: int, bank: int = 0, **masks: int) -> Instruction:
    return Instruction(op, {"bank": bank, "space": Space.ACT, "local": 0, "dram": dram}, **masks)


def bank(**changes: int) -> list[Instruction]:
    return configure(Unit.DMA, 0, {**ROW, **changes})


LOADS = (*bank(), transfer(Op.LOAD, 0))


@dataclass(frozen=True)
class Fault:
    """A program that stops, and what it says.

    may_write: bytes that a STORE may have reached. late: the memory answers when the watchdog has barked.
    """

    name: str
    unit: Unit
    stream: np.ndarray
    error: Error
    address: int | None = None
    may_write: tuple[int, int] = (0, 0)
    fault: int | None = None
    window_last: int | None = None
    late: bool = False

    def case(self, watchdog_cycles: int) -> Case:
        streams = {unit: listed() for unit in Unit} | {self.unit: self.stream}
        options = {"fault": self.fault, "window_last": self.window_last}
        latency = 2 * watchdog_cycles if self.late else 20
        return Case(streams, IMAGE, latency, CONFIG.axi_bytes, **options)


def refused(name: str, unit: Unit, word: int, before: tuple[Instruction, ...] = ()) -> Fault:
    """An instruction that the front end of a unit refuses."""
    stream = np.concatenate([to_words(before), raw(word, encode(HALT))])
    streams_before = sum(len(listed()) for earlier in Unit if earlier < unit)
    address = INSTRUCTION_BYTES * (streams_before + len(before))
    return Fault(name, unit, stream, Error.INSTRUCTION, address)


def config_word(unit: Unit, register: int, value0: int = 0, value1: int = 0) -> int:
    fields = {"unit": unit, "bank": 3, "register": register, "value0": value0, "value1": value1}
    return encode(Instruction(Op.CONFIG, fields))


MATMUL = encode(
    Instruction(Op.MATMUL, dict.fromkeys(("bank", "accumulate", "act", "wgt", "acc", "table"), 0))
)
PRUNE = encode(Instruction(Op.PRUNE, dict.fromkeys(("bank", "act", "wgt"), 0)))
VECTOR = Instruction(Op.VECTOR, {"bank": 0, "vector_op": 0, "a": 0, "b": 0, "dst": 0})
FILL = {"space": Space.ACT, "local": 0, "words": 1, "value": 0}

FAULTS = [
    refused("blank memory", Unit.DMA, 0),
    refused("blank memory after work", Unit.DMA, 0, LOADS),
    refused("unknown opcode", Unit.WUVE, 12),
    *(refused("all ones", unit, (1 << INSTRUCTION_BITS) - 1) for unit in Unit),
    refused("another unit's opcode", Unit.SORE, MATMUL),
    refused("another unit's opcode", Unit.DMA, MATMUL),
    refused("another unit's opcode", Unit.WUVE, PRUNE),
    refused("a bit that must be 0", Unit.STCE, MATMUL | 1 << 127),
    refused("a bit that must be 0", Unit.SORE, PRUNE | 1 << 127),
    refused("a bit that must be 0", Unit.DMA, encode(transfer(Op.LOAD, 0)) | 1 << 104),
    refused("HALT that waits", Unit.DMA, encode(HALT) | 1 << 4),
    refused("HALT that signals", Unit.SORE, encode(HALT) | 1 << 20),
    refused("another unit's bank", Unit.STCE, config_word(Unit.DMA, 0)),
    refused("an odd register", Unit.DMA, config_word(Unit.DMA, 1)),
    refused("a register past the last", Unit.SORE, config_word(Unit.SORE, 8)),
    refused("a value too wide", Unit.DMA, config_word(Unit.DMA, 0, 1 << 32)),
    refused("a second value too wide", Unit.DMA, config_word(Unit.DMA, 0, 0, 1 << 24)),
    refused("a value past the last register", Unit.DMA, config_word(Unit.DMA, 8, 0, 1)),
    refused("an unknown space", Unit.DMA, encode(transfer(Op.STORE, 0)) | 7 << 41),
    refused("DRAM not aligned", Unit.DMA, encode(transfer(Op.LOAD, 8))),
    refused("FILL of IDX", Unit.DMA, encode(Instruction(Op.FILL, {**FILL, "space": Space.IDX}))),
    refused("FILL of nothing", Unit.DMA, encode(Instruction(Op.FILL, {**FILL, "words": 0}))),
    refused(
        "FILL too wide", Unit.DMA, encode(Instruction(Op.FILL, {**FILL, "value": 1 << 16}))
    ),
    refused("an unknown operation", Unit.WUVE, encode(VECTOR) | 7 << 41),
    *(
        Fault(f"{name} = {value}", Unit.DMA, listed(*bank(**{name: value}), LOADS[-1]),
              Error.DESCRIPTOR, 0)
        for name, value in (
            *((name, 0) for name in ("run_bytes", "count0", "count1", "count2", "row_bytes")),
            *((name, 8) for name in ("run_bytes", "row_bytes", "stride0", "stride1", "stride2")),
        )
    ),
    Fault("a LOAD past the window", Unit.DMA, listed(*bank(), transfer(Op.LOAD, len(IMAGE) - 128)),
          Error.ADDRESS, len(IMAGE)),
    Fault("a LOAD below 0", Unit.DMA, listed(*bank(stride0=-64), transfer(Op.LOAD, 64)),
          Error.ADDRESS, (1 << 40) - 64),
    Fault("a STORE past the window", Unit.DMA,
          listed(*LOADS, transfer(Op.STORE, 0x1F00)),
          Error.ADDRESS, 0x1FC0, may_write=(0x1F00, 0x1FC0), window_last=0x1FBF),
    Fault("a read that answers SLVERR", Unit.DMA, listed(*LOADS), Error.BUS, 128, fault=128 + 60),
    Fault("a write that answers DECERR", Unit.DMA,
          listed(*bank(), transfer(Op.STORE, 0x800)),
          Error.BUS, 0x840, may_write=(0x800, 0x900), fault=0x840),
    *(
        Fault(f"too many tokens of semaphore {semaphore}", Unit.WUVE,
              listed(*(Instruction(Op.CONFIG, {"unit": Unit.WUVE, "bank": 0, "register": 0,
                                               "value0": 0, "value1": 0}, signal=1 << semaphore),)
                     * (SEMAPHORE_MAX + 1)),
              Error.SEMAPHORE)
        for semaphore in range(SEMAPHORES)
    ),
    *(
        Fault(f"bank {number}, which an earlier program wrote", Unit.DMA,
              listed(transfer(Op.LOAD, 0, bank=number)), Error.DESCRIPTOR, 0)
        for number in (0, 1, 2, 3)
    ),
    Fault("a read that is answered late", Unit.DMA, listed(*LOADS), Error.WATCHDOG, late=True),
    Fault("a write that is answered late", Unit.DMA,
          listed(*bank(), transfer(Op.STORE, 0x800)), Error.WATCHDOG, may_write=(0x800, 0x900),
          late=True),
    Fault("a token that never comes", Unit.STCE,
          listed(*configure(Unit.STCE, 0, {})[:1],
                 Instruction(Op.CONFIG, {"unit": Unit.STCE, "bank": 0, "register": 0,
                                         "value0": 0, "value1": 0}, wait=1 << 9)),
          Error.WATCHDOG),
]  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """A design, the legal programs that run on it after a fault, and when its watchdog barks."""

    design: Design
    legal: Callable[[int], Job]
    watchdog_cycles: int


MACHINES = {
    "stand-ins": Machine(design("narrow"), partial(job, "narrow"), WATCHDOG_CYCLES),
    "complete": Machine(
        complete.design("4x4"),
        partial(complete.job, "4x4"),
        complete.watchdog_cycles(complete.CONFIGS["4x4"]),
    ),
}


@pytest.fixture(scope="module", params=MACHINES.values(), ids=MACHINES)
def outcomes(request) -> tuple[Machine, list[tuple[RtlResult, RtlResult]]]:
    """Of every fault, and of the legal program after it."""
    machine, cases = request.param, []
    for number, fault in enumerate(FAULTS):
        config, program, image = machine.legal(number)
        cases += [fault.case(machine.watchdog_cycles), Case.of(program, config, image)]
    timeout_cycles = machine.watchdog_cycles + TIMEOUT_CYCLES
    listed = run_programs(machine.design, cases, timeout_cycles)
    return machine, list(zip(listed[::2], listed[1::2], strict=True))


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: f"{n} {FAULTS[n].name}")
def test_the_machine_stops_and_says_why(outcomes, number):
    fault, (result, _) = FAULTS[number], outcomes[1][number]
    assert not result.timed_out and not result.done
    assert result.error is fault.error
    if fault.error is Error.INSTRUCTION:
        assert result.error_unit is fault.unit
    if fault.address is not None:
        assert result.error_address == fault.address
    changed = np.flatnonzero(result.image != IMAGE)
    first, last = fault.may_write
    assert not changed.size or (first <= changed[0] and changed[-1] < last)


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: f"{n} {FAULTS[n].name}")
def test_a_new_start_works(outcomes, number):
    machine, results = outcomes
    legal = machine.legal(number)
    check_bits(legal, results[number][1])
    check_times(legal, results[number][1])


def test_a_deadlock_is_seen_when_the_watchdog_says(outcomes):
    """Beats are progress, waiting for the memory is none."""
    machine, results = outcomes
    deadlocks = [number for number, fault in enumerate(FAULTS) if fault.error is Error.WATCHDOG]
    for number in deadlocks:
        result = results[number][0]
        assert machine.watchdog_cycles < result.cycles < machine.watchdog_cycles + 100
        waits = (Counter.DATA, Counter.BANDWIDTH) if FAULTS[number].late else (Counter.TOKEN,)
        waited = max(result.counters[FAULTS[number].unit][counter] for counter in waits)
        assert waited > machine.watchdog_cycles - 100


def test_a_fill_that_outlasts_the_watchdog_is_progress():
    config = CONFIGS["wide"]
    words = config.activation_half_words
    assert words > WATCHDOG_CYCLES
    streams = {unit: listed() for unit in Unit}
    streams[Unit.DMA] = listed(Instruction(Op.FILL, {**FILL, "words": words}))
    case = Case(streams, IMAGE, latency_cycles=20, bytes_per_cycle=config.axi_bytes)
    (result,) = run_programs(design("wide"), [case], TIMEOUT_CYCLES)
    assert result.done and result.counters[Unit.DMA][Counter.BUSY] >= words


def test_responses_that_outlast_the_watchdog_are_progress():
    """A slow memory has all data of four bursts, and answers one after the other."""
    assert CONFIG.outstanding >= ROW["count0"] == 4
    beats_cycles = ROW["count0"] * ROW["run_bytes"]
    latency = WATCHDOG_CYCLES + beats_cycles // 2
    streams = {unit: listed() for unit in Unit}
    filled = Instruction(Op.FILL, {**FILL, "words": 32})
    streams[Unit.DMA] = listed(filled, *bank(), transfer(Op.STORE, 0x800))
    case = Case(streams, IMAGE, latency, bytes_per_cycle=1)
    (result,) = run_programs(design("narrow"), [case], TIMEOUT_CYCLES)
    assert result.done and result.cycles > beats_cycles + latency
    assert not result.image[0x800:0x900].any()


def test_errors_at_any_time_leave_the_bus_clean():
    """A random burst fails, on the DRAM model and under back-pressure; then a legal program runs."""
    cases, legal = [], []
    for seed in range(100, 160):
        config, program, image = job("narrow", seed)
        bursts = engine.run(program, config).bursts
        fault = Random(seed).choice(bursts).address
        stall = (0, 100)[seed % 2]
        cases.append(Case.of(program, config, image, stall=stall, seed=seed, fault=fault))
        legal.append(job("narrow", seed + 1000))
        cases.append(Case.of(legal[-1][1], legal[-1][0], legal[-1][2]))
    listed = run_programs(design("narrow"), cases, TIMEOUT_CYCLES)
    assert all(result.error is Error.BUS for result in listed[::2])
    for work, result in zip(legal, listed[1::2], strict=True):
        check_bits(work, result)
        check_times(work, result)
