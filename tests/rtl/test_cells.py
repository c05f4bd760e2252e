"""Common cells in simulation; tests/rtl/test_formal.py proves most of them for all inputs."""

import pytest

from hwsim import cosim


@pytest.mark.parametrize(
    ("cell", "parameters", "capacity"),
    [("fifo", {"Depth": 1}, 1), ("skid_buffer", {}, 2)],
)
def test_streams_keep_every_word_in_order(cell, parameters, capacity):
    arguments = {"cycles": 3000, "capacity": capacity}
    cosim.simulate(cosim.Design(cell, parameters), "stream_bench", arguments=arguments)


def test_scratchpad():
    design = cosim.Design("scratchpad", {"Words": 64, "Lanes": 4, "LaneBits": 16})
    cosim.simulate(design, "ram_bench", arguments={"cycles": 3000, "shared": False})
