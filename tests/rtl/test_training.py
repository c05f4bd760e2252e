"""Training on the RTL: after every step, memory and cycles are those of machine and timing."""

from dataclasses import replace

import numpy as np
import pytest

from cosparse.spec import RunError
from hwsim import AcceleratorConfig, machine
from hwsim.cosim.session import Session
from hwsim.isa import Instruction, Op, Space, Unit, configure
from hwsim.program import Program
from hwsim.training import Trainer, compile_training
from tests.rtl.law import wrong_bits, wrong_times
from tests.unit.test_training import MIDDLE, NETWORKS, SGD, SMALL, digits, initial, learned, mlp

STEPS = 2
DRAM_BYTES = 1 << 20


class Checked:
    """An executor: the RTL, held to machine, timing model and engine."""

    def __init__(self, session: Session, config: AcceleratorConfig) -> None:
        self.session, self.config, self.runs = session, config, 0

    def __call__(self, program, memory):
        done = self.session(program, memory)
        job = self.config, program, memory.image
        assert wrong_bits(job, done.rtl) + wrong_times(job, done.rtl) == [], f"run {self.runs}"
        self.runs += 1
        return done


@pytest.fixture(scope="module")
def small():
    with Session(SMALL, DRAM_BYTES) as session:
        yield session


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_on_sat_4x4(name, small):
    network = NETWORKS[name][0]()
    programs = compile_training(network, SMALL, SGD)
    executor = Checked(small, SMALL)
    trainer = Trainer(programs, initial(network), executor)
    records = list(trainer.run(digits(network, STEPS + 1)))
    assert [record.undone for record in records] == [False] * STEPS
    assert executor.runs == STEPS + 1


def test_a_step_that_overflows_is_undone_on_rtl(small):
    network, parameters = mlp(16, 24), initial(mlp(16, 24))
    programs = compile_training(network, SMALL, replace(SGD, scale=2.0**-22))
    trainer = Trainer(programs, parameters, Checked(small, SMALL))
    assert [record.undone for record in trainer.run(digits(network, 3))] == [True] * 2
    kept = programs.read(trainer.memory)
    for name, array in parameters.items():
        np.testing.assert_array_equal(kept[name], array, name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_a_compiled_step_needs_no_instruction_queue(name):
    """One entry: later, with the same bits."""
    network = NETWORKS[name][0]()
    programs = compile_training(network, SMALL, SGD)
    with Session(SMALL, DRAM_BYTES, parameters={"QueueDepth": 1}) as session:

        def executor(program, memory):
            done = session(program, memory)
            assert wrong_bits((SMALL, program, memory.image), done.rtl) == []
            return done

        trainer = Trainer(programs, initial(network), executor)
        assert len(list(trainer.run(digits(network, 2)))) == 1


def test_a_program_that_fails_leaves_the_session_usable(small):
    registers = {"run_bytes": 16, "count0": 1, "count1": 1, "count2": 1, "row_bytes": 16}
    load = {"bank": 0, "space": Space.ACT, "local": 0, "dram": 1 << 30}
    listed = [*configure(Unit.DMA, 0, registers), Instruction(Op.LOAD, load)]
    memory = machine.Memory.build(4096)
    with pytest.raises(RunError, match=r"error ADDRESS \(DMA, address 0x40000000\)"):
        small(Program.assemble(listed), memory)
    assert (small(Program.assemble([]), memory).memory.image == memory.image).all()


@pytest.mark.nightly
def test_a_hundred_steps_on_sat_8x8_learn_digits():
    with Session(MIDDLE, DRAM_BYTES) as session:
        losses, accuracy, _, _ = learned(seed=0, executor=Checked(session, MIDDLE))
    assert np.mean(losses[-10:]) < 0.1 * losses[0]
    assert accuracy >= 90
