"""A third party's check of both AXI ports: cocotbext-axi's memory and host, with random pauses."""

import pytest

from hwsim.cosim.accelerator import Case, run_programs
from tests.rtl.law import check_bits
from tests.rtl.transfer_programs import design, job


def check(name, seeds):
    jobs = [job(name, seed) for seed in seeds]
    cases = [
        Case.of(program, config, image, stall=stall, seed=seed)
        for seed, (config, program, image) in zip(seeds, jobs, strict=True)
        for stall in ((0, 60, 150)[seed % 3],)
    ]
    results = run_programs(design(name, top="tb_axi"), cases, module="axi_ram_bench")
    for work, result in zip(jobs, results, strict=True):
        check_bits(work, result)


def test_axi_ram_holds_the_bits():
    check("narrow", range(9))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["narrow", "wide", "single"])
def test_axi_ram_holds_the_bits_of_more_programs(name):
    check(name, range(9, 150))
