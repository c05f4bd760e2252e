"""Random small accelerators."""

from random import Random
from typing import Any

from hwsim.config import AcceleratorConfig
from hwsim.rules import PACKED_LANES


def random_config(rng: Random) -> AcceleratorConfig:
    """Arrays of 2 x 2 to 8 x 8 with scratchpads just above the smallest that are allowed."""
    rows, cols = rng.choice((2, 4, 8)), rng.choice((2, 4, 8))
    group_max = rng.choice((4, 8, 8, 16))
    interleave = rng.choice((1, 2, 3, 4, 4, 6, 8))
    lanes_per_row = rng.choice([a for a in (1, 2, 4, 8) if a <= group_max and a * rows <= 32])
    return AcceleratorConfig(
        name="random",
        rows=rows,
        cols=cols,
        group_max=group_max,
        n_max=rng.choice([n for n in (2, 4, 8, 16) if n <= group_max]),
        mul_latency=rng.randint(1, 4),
        add_latency=rng.randint(1, 4),
        interleave=interleave,
        act_values_per_row_cycle=lanes_per_row,
        sore_lanes=_power_of_two(rng, min(cols, lanes_per_row * rows, PACKED_LANES)),
        wuve_lanes=_power_of_two(rng, min(cols, lanes_per_row * rows)),
        clock_mhz=200,
        **_scratchpads(rng, rows, cols, group_max, interleave),
        **_memory(rng),
    )


def _scratchpads(
    rng: Random, rows: int, cols: int, group_max: int, interleave: int
) -> dict[str, int]:
    """Halves hold at least what the rules between fields demand."""
    least = {
        "activation_kib": 4 * rows * group_max,
        "weight_kib": group_max * interleave * cols * 5 // 2,
        "accumulator_kib": 4 * rows * cols * interleave,
    }
    return {name: -(-size // 512) + rng.choice((0, 1, 1, 3)) for name, size in least.items()}


def _memory(rng: Random) -> dict[str, Any]:
    axi_bytes, axi_ports = rng.choice((4, 8, 16, 32)), rng.choice((1, 1, 1, 2, 3))
    width = axi_bytes * axi_ports
    return {
        "axi_bytes": axi_bytes,
        "axi_ports": axi_ports,
        "dram_bytes_per_cycle": rng.choice((width, width, rng.randint(1, width))),
        "dram_latency_cycles": rng.choice((1, rng.randint(1, 12), rng.randint(20, 90))),
        "burst_beats": rng.choice((1, 2, 4, 8, 16, 16, 32)),
        "outstanding": rng.choice((1, 2, 3, 4, 8, 16)),
    }


def _power_of_two(rng: Random, limit: int) -> int:
    return 1 << rng.randint(0, limit.bit_length() - 1)
