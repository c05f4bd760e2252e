"""Resets in the midst of anything, and programs anywhere in the address space.

Every run is followed by a legal program that must have its bits and times. A failure names
configuration and seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from types import ModuleType

import pytest

from hwsim.constants import INSTRUCTION_BYTES
from hwsim.cosim.accelerator import Case, run_programs
from hwsim.cosim.law import Job, wrong_bits, wrong_times
from hwsim.host import Error
from hwsim.isa import Instruction, Op, Unit, decode
from hwsim.program import Program
from tests.programs.image import IMAGE_BYTES
from tests.rtl import test_accelerator, transfer_programs
from tests.rtl.test_accelerator import CONFIGS, NIGHTLY_CONFIGS, design, job
from tests.rtl.wild import wild_streams

ADDRESS_BITS = 40
MEMORY_BITS = (IMAGE_BYTES - 1).bit_length()
PROGRAM_BITS = 22
WINDOW_BITS = 13
"""The window of a wild case ends anywhere in the last bytes of the address space."""
COLUMNS_FIRST = ("4x8", 201)
"""A program whose first MATMUL fills the array by columns: registers that no reset sets hold anything."""


def wild_case(name: str, seed: int, legal: Job, unit: Unit) -> Case:
    """Something of one unit, cut short; a tenth of it under random back-pressure."""
    rng = Random(f"wild {name} {seed}")
    config, _, image = legal
    return Case(
        wild_streams(rng, config, unit),
        image,
        rng.randint(1, 30),
        config.axi_bytes,
        stall=rng.choice((0,) * 9 + (120,)),
        seed=seed + 1,
        window_first=rng.getrandbits(MEMORY_BITS),
        window_last=(1 << ADDRESS_BITS) - 1 - rng.getrandbits(WINDOW_BITS),
        address_bits=MEMORY_BITS,
        reset_after=rng.choice((rng.randint(150, 400), rng.randint(400, 2000))),
    )


def check_after_resets(
    name: str,
    seeds: range,
    world: ModuleType = test_accelerator,
    units: Sequence[Unit] = tuple(Unit),
) -> None:
    """world: of the configuration, its programs and its design."""
    legal = [world.job(name, seed) for seed in seeds]
    cases = []
    for seed, work in zip(seeds, legal, strict=True):
        config, program, image = work
        wild = wild_case(name, seed, work, units[seed % len(units)])
        cases += [wild, Case.of(program, config, image)]
    results = run_programs(world.design(name), cases)
    assert sum(result.timed_out for result in results[::2]) > len(seeds) // 4
    for work, result in zip(legal, results[1::2], strict=True):
        assert wrong_bits(work, result) + wrong_times(work, result) == []


def moved(program: Program, first: int) -> Program:
    """The same program on an image that begins at byte `first` of DRAM."""
    instructions = (decode(int(low) | int(high) << 64) for low, high in program.words)
    return Program.assemble((_moved(item, first) for item in instructions), program.name)


def _moved(item: Instruction, first: int) -> Instruction:
    if item.op not in (Op.LOAD, Op.STORE):
        return item
    return replace(item, args={**item.args, "dram": item.args["dram"] + first})


def check_places(name: str, seeds: range) -> None:
    """Image and instructions anywhere in 2^40 bytes; nothing else may change."""
    jobs, cases = [job(name, seed) for seed in seeds], []
    for seed, (config, program, image) in zip(seeds, jobs, strict=True):
        rng = Random(f"place {name} {seed}")
        first = rng.getrandbits(ADDRESS_BITS - MEMORY_BITS) << MEMORY_BITS
        options = {"window_first": first, "address_bits": MEMORY_BITS}
        options["stream_first"] = rng.getrandbits(ADDRESS_BITS - PROGRAM_BITS) << PROGRAM_BITS
        cases.append(Case.of(moved(program, first), config, image, **options))
    results = run_programs(design(name), cases)
    for work, result in zip(jobs, results, strict=True):
        assert wrong_bits(work, result) + wrong_times(work, result) == []


def check_blank(world: ModuleType, name: str, seeds: range) -> None:
    """Streams that begin in blank memory anywhere: the error says where, and the next program is right."""
    jobs, cases = [world.job(name, seed) for seed in seeds], []
    for seed, (config, program, image) in zip(seeds, jobs, strict=True):
        rng = Random(f"blank {name} {seed}")
        first = rng.getrandbits(ADDRESS_BITS) & -INSTRUCTION_BYTES | 1 << PROGRAM_BITS - 1
        cases.append(Case.of(program, config, image, stream_first=first))
        cases.append(Case.of(program, config, image))
    results = run_programs(world.design(name), cases)
    for case, result in zip(cases[::2], results[::2], strict=True):
        found = (result.error, result.error_unit, result.error_address)
        assert found == (Error.INSTRUCTION, Unit.DMA, case.stream_first)
    for work, result in zip(jobs, results[1::2], strict=True):
        assert wrong_bits(work, result) + wrong_times(work, result) == []


def test_a_stream_in_blank_memory_is_refused_where_it_begins():
    check_blank(test_accelerator, "4x4", range(12))


def test_a_reset_ends_anything_and_leaves_nothing_behind():
    check_after_resets("4x4", range(24))


def test_a_program_runs_anywhere_in_the_address_space():
    check_places("4x4", range(100, 104))


def test_the_first_fill_by_columns_finds_registers_that_hold_anything():
    work = job(*COLUMNS_FIRST)
    case = Case.of(work[1], work[0], work[2])
    for seed in range(1, 5):
        (result,) = run_programs(design(COLUMNS_FIRST[0]), [case], random_start=True, seed=seed)
        assert wrong_bits(work, result) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*CONFIGS, *NIGHTLY_CONFIGS])
def test_more_resets_and_places(name):
    check_after_resets(name, range(24, 224))
    check_places(name, range(200, 260))


@pytest.mark.nightly
@pytest.mark.parametrize("name", transfer_programs.CONFIGS)
def test_more_resets_of_transfers(name):
    check_after_resets(name, range(400), transfer_programs, [Unit.DMA])
