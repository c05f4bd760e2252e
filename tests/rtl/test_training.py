"""Training on the RTL: after every step, memory and cycles are those of machine and timing."""

import numpy as np
import pytest

from cosparse.spec import RunError
from hwsim import AcceleratorConfig, machine
from hwsim.cosim import RTL
from hwsim.cosim.session import Session
from hwsim.isa import Instruction, Op, Space, Unit, configure
from hwsim.program import Program
from hwsim.timing import cycles
from hwsim.training import Trainer, compile_training
from tests.unit.test_training import MIDDLE, NETWORKS, SGD, SMALL, digits, initial, learned, mlp

pytestmark = pytest.mark.skipif(
    not (RTL / "stce.sv").exists(), reason="rtl/stce.sv is not there; rtl/tb/stce.sv stands in"
)

STEPS = 2
DRAM_BYTES = 1 << 20


class Checked:
    """An executor: the RTL, held to the machine and to the timing model."""

    def __init__(self, session: Session, config: AcceleratorConfig) -> None:
        self.session, self.config, self.runs = session, config, 0

    def __call__(self, program, memory):
        done = self.session(program, memory)
        expected = machine.run(program, self.config, memory)
        where = f"{program.name}, run {self.runs}"
        np.testing.assert_array_equal(done.memory.image, expected.memory.image, where)
        assert done.nonfinite == expected.nonfinite, where
        assert done.rtl.cycles == cycles(program, self.config), where
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
    network = mlp(16, 24)
    programs = compile_training(network, SMALL, SGD)
    trainer = Trainer(programs, initial(network), Checked(small, SMALL))
    weights = trainer.memory
    batch, following = digits(network, 2)
    given = {"input": batch.x, "next input": following.x}
    given["logits.gradient"] = np.full((16, 10), np.inf, np.float16)
    done = small(programs.step, programs.written(weights, given))
    assert done.nonfinite
    (record,) = trainer.run([batch, following])
    assert not record.undone


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
