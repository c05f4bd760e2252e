"""A third party's check of the complete accelerator: its programs on cocotbext-axi's memory and host.

The same programs as on the DRAM model (test_accelerator.py, test_layers.py, test_training.py), under random
pauses on every channel of both ports; the bits have to be the machine's.
"""

from collections.abc import Sequence

import pytest

from hwsim.config import AcceleratorConfig
from hwsim.cosim.accelerator import Case, accelerator_design, run_programs
from hwsim.machine import Memory
from hwsim.program import Program
from hwsim.training import Executed, Trainer, compile_training, machine_executor
from tests.rtl import test_layers
from tests.rtl.law import Job, check_bits
from tests.rtl.test_accelerator import CONFIGS, NIGHTLY_CONFIGS, job
from tests.unit.test_training import NETWORKS, SGD, SMALL, digits, initial

SHARES = (0, 60, 150)
"""Of 256 cycles, those in which a channel pauses."""
MEMORY_BYTES = 1 << 20
"""Of the bench's AxiRam."""


def check(config: AcceleratorConfig, jobs: Sequence[Job]) -> None:
    assert max(len(image) for _, _, image in jobs) <= MEMORY_BYTES
    cases = [
        Case.of(program, config, image, stall=SHARES[seed % 3], seed=seed)
        for seed, (config, program, image) in enumerate(jobs)
    ]
    design = accelerator_design(config, top="tb_axi")
    results = run_programs(design, cases, module="axi_ram_bench")
    for work, result in zip(jobs, results, strict=True):
        check_bits(work, result)


def training_jobs(config: AcceleratorConfig, name: str) -> list[Job]:
    """The first forward pass of a network and its first step, as the trainer runs them."""
    network, jobs, execute = NETWORKS[name][0](), list[Job](), machine_executor(config)

    def noted(program: Program, memory: Memory) -> Executed:
        jobs.append((config, program, memory.image.copy()))
        return execute(program, memory)

    trainer = Trainer(compile_training(network, config, SGD), initial(network), noted)
    assert len(list(trainer.run(digits(network, 2)))) == 1
    return jobs


def test_axi_ram_holds_the_bits():
    check(CONFIGS["4x4"], [job("4x4", seed) for seed in range(9)])


@pytest.mark.parametrize("network", ["small mlp", "factorised"])
def test_axi_ram_holds_the_bits_of_a_training_step(network):
    check(CONFIGS["4x4"], training_jobs(CONFIGS["4x4"], network))


@pytest.mark.nightly
@pytest.mark.parametrize("network", NETWORKS)
def test_axi_ram_holds_the_bits_of_a_step_with_larger_scratchpads(network):
    check(SMALL, training_jobs(SMALL, network))


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*CONFIGS, *NIGHTLY_CONFIGS])
def test_axi_ram_holds_the_bits_of_more_programs(name):
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    compiled = [work for work, _ in test_layers.jobs(config, 1)]
    check(config, [*(job(name, seed) for seed in range(9, 60)), *compiled])
