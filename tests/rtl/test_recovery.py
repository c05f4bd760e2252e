"""The complete accelerator while all units work: errors at any time, starts while a program runs.

Every faulty program is followed by a legal one, which must have its bits and times.
"""

from collections import Counter as Tokens
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

import numpy as np
import pytest

from hwsim import engine, timing
from hwsim.constants import INSTRUCTION_BYTES
from hwsim.cosim.accelerator import Case, RtlResult, run_programs, streams_of
from hwsim.host import Counter, Error
from hwsim.isa import Unit, decode, encode
from tests.rtl.law import Job, check_bits, check_times
from tests.rtl.test_accelerator import design, job

NAME = "4x4"
COUNT = 60
"""Faulty programs, a kind of fault in turn; legal ones are seeds from 1000 on."""

LONG = 700
"""Cycles of a program that moves data, and in which control_bench finds the time for its starts."""

UNKNOWN = 12
"""An opcode that no unit has."""


@dataclass(frozen=True)
class Fault:
    """A legal program with a fault, and what the machine must say.

    written: bytes that the program's STOREs may reach before it stops. address: of the error, if known.
    """

    case: Case
    error: Error
    unit: Unit | None
    address: int | None
    written: np.ndarray


def illegal_instruction(rng: Random, work: Job) -> Fault:
    """One instruction of one unit becomes an unknown one."""
    config, program, image = work
    streams = {unit: words.copy() for unit, words in streams_of(program).items()}
    unit = rng.choice([unit for unit in Unit if len(streams[unit]) > 1])
    place = rng.randrange(len(streams[unit]) - 1)
    streams[unit][place] = (UNKNOWN, 0)
    before = sum(len(streams[earlier]) for earlier in Unit if earlier < unit)
    case = replace(Case.of(program, config, image), streams=streams)
    address = INSTRUCTION_BYTES * (before + place)
    return Fault(case, Error.INSTRUCTION, unit, address, stored(work))


def small_window(rng: Random, work: Job) -> Fault:
    """DRAM ends before one of the bursts."""
    config, program, image = work
    bursts = engine.run(program, config).bursts
    last = rng.choice([burst.address for burst in bursts if burst.address]) - 1
    first = next(burst for burst in bursts if burst.address + burst.bytes - 1 > last)
    written = stored(work)
    written[last + 1 :] = False
    case = Case.of(program, config, image, window_last=last)
    return Fault(case, Error.ADDRESS, Unit.DMA, first.address, written)


def bus_error(rng: Random, work: Job) -> Fault:
    """One burst answers SLVERR or DECERR, on the DRAM model or on a memory that waits."""
    config, program, image = work
    burst = rng.choice(engine.run(program, config).bursts)
    stall = rng.choice((0, 100))
    options = {"fault": burst.address, "stall": stall, "seed": rng.randrange(1, 1 << 16)}
    return Fault(
        Case.of(program, config, image, **options), Error.BUS, Unit.DMA, None, stored(work)
    )


def lost_token(rng: Random, work: Job) -> Fault:
    """An instruction forgets its signals, one of which is needed: whoever waits, waits for ever."""
    config, program, image = work
    streams = {unit: words.copy() for unit, words in streams_of(program).items()}
    listed = {
        (unit, place): decode(word_of(word))
        for unit, words in streams.items()
        for place, word in enumerate(words)
    }
    spare = Tokens(s for one in listed.values() for s in one.signals())
    spare.subtract(s for one in listed.values() for s in one.waits())
    needed = [at for at, one in listed.items() if any(spare[s] == 0 for s in one.signals())]
    unit, place = rng.choice(needed)
    mute = encode(replace(listed[unit, place], signal=0))
    streams[unit][place] = (mute & (1 << 64) - 1, mute >> 64)
    case = replace(Case.of(program, config, image), streams=streams)
    return Fault(case, Error.WATCHDOG, None, None, stored(work))


def cycles(work: Job) -> int:
    return timing.cycles(work[1], work[0])


def word_of(pair: np.ndarray) -> int:
    return int(pair[0]) | int(pair[1]) << 64


def stored(work: Job) -> np.ndarray:
    """Whether the program writes a byte of memory."""
    config, program, image = work
    touched = np.zeros(len(image), bool)
    for burst in engine.run(program, config).bursts:
        if burst.write:
            touched[burst.address : burst.address + burst.bytes] = True
    return touched


KINDS = (illegal_instruction, small_window, bus_error)


def faults() -> Iterator[Fault]:
    for number, work in enumerate(long_jobs(COUNT)):
        yield KINDS[number % len(KINDS)](Random(f"fault {number}"), work)
    # The watchdog takes its time: one program.
    yield lost_token(Random("lost"), *long_jobs(1))


def long_jobs(count: int) -> list[Job]:
    return list(
        islice((work for seed in range(1000) if cycles(work := job(NAME, seed)) > LONG), count)
    )


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[Fault, RtlResult, Job, RtlResult]]:
    listed = list(faults())
    legal = [job(NAME, 1000 + number) for number in range(len(listed))]
    cases = []
    for fault, (config, program, image) in zip(listed, legal, strict=True):
        cases += [fault.case, Case.of(program, config, image)]
    results = run_programs(design(NAME), cases)
    return list(zip(listed, results[::2], legal, results[1::2], strict=True))


def test_the_machine_stops_and_says_why(outcomes):
    for fault, result, _, _ in outcomes:
        assert (result.done, result.timed_out, result.error) == (False, False, fault.error)
        assert fault.unit in (None, result.error_unit)
        assert fault.address in (None, result.error_address)


def test_units_were_at_work_when_it_stopped(outcomes):
    results = [result for _, result, _, _ in outcomes]
    at_work = [all(result.counters[unit][Counter.BUSY] for unit in Unit) for result in results]
    assert sum(at_work) >= COUNT // 4


def test_memory_that_the_program_does_not_write_is_untouched(outcomes):
    for fault, result, _, _ in outcomes:
        changed = result.image != fault.case.image
        assert not (changed & ~fault.written).any()


def test_a_new_start_works(outcomes):
    for _, _, legal, result in outcomes:
        check_bits(legal, result)
        check_times(legal, result)


def test_a_start_while_a_program_runs_is_ignored():
    """The streams that the host writes meanwhile belong to the next start.

    The second program fails: while the third runs, the host reads no error. Counters are 0 before the first.
    """
    works = long_jobs(20)
    cases = [Case.of(program, config, image) for config, program, image in works]
    cases.insert(1, bus_error(Random("control"), works[0]).case)
    results = run_programs(design(NAME), cases, module="control_bench")
    assert results.pop(1).error is Error.BUS
    for work, result in zip(works, results, strict=True):
        check_bits(work, result)
        check_times(work, result)
