"""The host's registers alone, under a host that does everything AXI4-Lite allows."""

import pytest

from hwsim import cosim


def check(accesses: int, seed: int) -> None:
    design = cosim.Design("axi_lite_regs")
    cosim.simulate(design, "regs_bench", arguments={"accesses": accesses}, seed=seed)


def test_every_register_under_random_accesses():
    check(600, 1)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 6))
def test_more_accesses(seed):
    check(10_000, seed)
