"""Common cells in simulation; tests/rtl/test_formal.py proves most of them for all inputs."""

import pytest

from hwsim import cosim


@pytest.mark.parametrize(
    ("cell", "parameters", "capacity"),
    [("fifo", {"Depth": 1}, 1), ("fifo", {"Depth": 3}, 3), ("skid_buffer", {}, 2)],
)
def test_streams_keep_every_word_in_order(cell, parameters, capacity):
    arguments = {"cycles": 3000, "capacity": capacity}
    cosim.simulate(cosim.Design(cell, parameters), "stream_bench", arguments=arguments)


def test_scratchpad():
    design = cosim.Design("scratchpad", {"Words": 64, "Lanes": 4, "LaneBits": 16})
    cosim.simulate(design, "ram_bench", arguments={"cycles": 3000, "shared": False, "side": True})


@pytest.mark.parametrize(
    ("wide", "lanes", "lane_bits"),
    [
        *((1, 2, 8), (4, 2, 8)),
        *(pytest.param(*sizes, marks=pytest.mark.nightly) for sizes in ((2, 16, 16), (16, 2, 4))),
    ],
)
def test_scratchpad_pair(wide, lanes, lane_bits):
    sizes = {"half_words": 21, "lanes": lanes, "lane_bits": lane_bits, "wide": wide}
    sizes |= {"readers": 2, "writers": 3}
    names = {name: "".join(part.title() for part in name.split("_")) for name in sizes}
    design = cosim.Design("scratchpad_pair", {names[name]: value for name, value in sizes.items()})
    cosim.simulate(design, "scratchpad_bench", arguments={"cycles": 4000, **sizes})


@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_delay_line(depth):
    design = cosim.Design("delay_line", {"Width": 5, "Depth": depth})
    cosim.simulate(design, "delay_bench", arguments={"cycles": 500, "width": 5, "depth": depth})
