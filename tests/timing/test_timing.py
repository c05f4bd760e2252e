"""Whole programs: decoding against the instruction set, times worked out by hand."""

import numpy as np
import pytest

from cosparse.spec.errors import InputError, ProgramError
from hwsim import AcceleratorConfig
from hwsim.banks import Banks
from hwsim.decoded import FIELD_COLUMN, NO_UNIT, REGISTER_COLUMN, decode_program
from hwsim.isa import FIELDS, UNIT_OF, Instruction, Op, Space, Unit, configure
from hwsim.program import Program
from hwsim.timing import cycles, timeline
from tests.programs import program_from_seed

CONFIG = AcceleratorConfig.preset("sat-4x4")
"""Bursts of 128 bytes occupy the channel for 16 cycles, latency 20, 4 in flight."""

TWO_BURSTS = configure(Unit.DMA, 0, {"run_bytes": 256, "count0": 1, "count1": 1, "count2": 1})


def load(signal=0, wait=0):
    return Instruction(
        Op.LOAD, {"bank": 0, "space": Space.ACT, "local": 0, "dram": 0}, wait, signal
    )


def fill(words):
    return Instruction(Op.FILL, {"space": Space.ACC, "local": 0, "words": words, "value": 0})


def config(unit, wait=0, signal=0):
    args = {"unit": unit, "bank": 31, "register": 0, "value0": 0, "value1": 0}
    return Instruction(Op.CONFIG, args, wait, signal)


def times_of(*instructions):
    return timeline(Program.assemble([*TWO_BURSTS, *instructions]), CONFIG)


def test_an_empty_program():
    assert cycles(Program.assemble([]), CONFIG) == 8 + 1


def test_one_load():
    """Five CONFIGs from cycle 8; the LOAD issues in 13, its bursts are granted in 17 and 33."""
    times = times_of(load())
    assert times.issue[5] == 13
    assert times.free[5] == 34
    assert times.completion[5] == 33 + 20 + 16 + 2
    assert times.halts.tolist() == [71, 8, 8, 8]
    assert times.cycles == 72
    assert (times.bytes, times.bursts, times.busy_cycles) == (256, 2, 32)


def test_a_fill_waits_for_the_transfers_in_flight():
    times = times_of(load(), fill(10))
    assert (times.issue[6], times.completion[6]) == (71, 71 + 4 + 10)
    assert times.cycles == 86


def test_the_second_load_follows_on_the_channel():
    times = times_of(load(), load())
    assert times.issue[6] == 34
    assert times.free[6] == (33 + 16) + 16 + 1


def test_a_token_arrives_one_cycle_after_completion():
    times = times_of(load(signal=1 << 9), config(Unit.WUVE, wait=1 << 9))
    assert times.issue[6] == 71 + 1


def test_all_tokens_of_an_instruction_are_taken_at_once():
    times = times_of(load(signal=1), config(Unit.SORE, signal=2), config(Unit.STCE, wait=3))
    assert times.issue[7] == 72


def test_a_deadlock_names_what_blocks():
    blocked = [config(Unit.STCE, wait=0b1010, signal=4), config(Unit.SORE, wait=4, signal=2)]
    with pytest.raises(ProgramError, match=r"instruction 5 \(CONFIG\).*semaphores 1, 3:"):
        times_of(*blocked)


def test_a_semaphore_holds_255_tokens():
    signals = [config(Unit.WUVE, signal=1)] * 255
    last = config(Unit.STCE, wait=1)
    assert cycles(Program.assemble([*signals, last]), CONFIG) == 8 + 255 + 1
    with pytest.raises(ProgramError, match=r"instruction 255.*semaphores 0: expected at most 255"):
        cycles(Program.assemble([*signals, signals[0], last]), CONFIG)


def test_halt_is_the_last_instruction_and_no_other():
    halt, other = Program.assemble([]).words, Program.assemble([load()]).words
    for words in (other[:-1], np.concatenate([halt, other])):
        with pytest.raises(ProgramError, match="one HALT, at the end"):
            decode_program(Program(words))


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 1 << 63), (15, 0)])
def test_an_illegal_encoding_is_refused(low, high):
    with pytest.raises(InputError, match=r"opcode|expected zeros"):
        decode_program(Program(np.array([[low, high], [1, 0]], np.uint64)))


def test_a_config_names_an_even_register():
    odd = Instruction(Op.CONFIG, {**config(Unit.DMA).args, "register": 1})
    with pytest.raises(ProgramError, match="even register, got 1"):
        decode_program(Program.assemble([odd, load()]))


@pytest.mark.parametrize("seed", range(40))
def test_decoding_agrees_with_the_instruction_set(seed):
    _, program = program_from_seed(seed)
    decoded = decode_program(program)
    banks = {unit: Banks(unit) for unit in Unit}
    for index, item in enumerate(program):
        assert (decoded.op[index], decoded.wait[index]) == (item.op, item.wait)
        assert decoded.signal[index] == item.signal
        assert decoded.unit[index] == (NO_UNIT if item.unit is None else item.unit)
        if item.op is Op.CONFIG:
            banks[item.unit].write(item)
        elif item.op in UNIT_OF:
            row = decoded.rows[item.op][decoded.row[index]]
            check_row(row, item, banks[item.unit])


def check_row(row, item, banks):
    own = {name: row[column] for name, column in FIELD_COLUMN[item.op].items()}
    assert own == item.args
    assert list(own) == [field.name for field in FIELDS[item.op]]
    if "bank" in own:
        columns = REGISTER_COLUMN[item.unit]
        assert {name: row[columns[name]] for name in columns} == banks.read(own["bank"])
