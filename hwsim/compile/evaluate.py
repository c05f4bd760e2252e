"""Exact cycles of nests, one after the other or many at once, without their instructions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.constants import HALT_CYCLES
from hwsim.jit import compiled, unowned

from .clock import new_clock, reset_clock, run_nest
from .nest import Nests
from .state import BYTES_READ, CLOCK, DMA_DONE, DMA_FREE, STCE_FREE

COUNTERS = ("cycles", "bytes_read", "bytes_written", "array_busy", "instructions")
"""Columns of `evaluate`."""


def shape_vector(config: AcceleratorConfig) -> Any:
    """See `state`: lanes, words of the halves, bytes of a burst."""
    return np.array(
        [
            config.activation_lanes,
            config.cols,
            config.activation_half_words,
            config.weight_half_words,
            config.accumulator_half_words,
            config.burst_bytes,
            config.rows,
        ],
        np.int64,
    )


@compiled
def time_program(nests: Any, shape: Any, config: Any, w: Any, channel: Any, found: Any) -> None:
    """COUNTERS of the program that runs `nests` one after the other, into `found`."""
    reset_clock(w, channel)
    for position in range(nests.shape[0]):
        run_nest(nests[position], shape, config, w, channel)
    found[0] = max(w[DMA_FREE], w[DMA_DONE], w[STCE_FREE]) + HALT_CYCLES
    for counter in range(BYTES_READ, CLOCK):
        found[1 + counter - BYTES_READ] = w[counter]


@compiled
def time_programs(
    nests: Any, ends: Any, shape: Any, config: Any, w: Any, channel: Any, found: Any
) -> None:
    """COUNTERS of programs, into the rows of `found`.

    Program p runs the nests from ends[p-1] to ends[p]. w, channel: `new_clock`.
    """
    nests, found, w, channel = unowned(nests), unowned(found), unowned(w), unowned(channel)
    shape, config = unowned(shape), unowned(config)
    begin = 0
    for program in range(ends.shape[0]):
        time_program(nests[begin : ends[program]], shape, config, w, channel, found[program])
        begin = ends[program]


def evaluate_programs(programs: Sequence[Nests], config: AcceleratorConfig) -> Any:
    """(programs, COUNTERS) int64 of programs that run cut nests, in one compiled call."""
    return _evaluate(
        np.concatenate(programs), np.cumsum([len(nests) for nests in programs]), config
    )


def evaluate(nests: Nests, config: AcceleratorConfig) -> Any:
    """(nests, COUNTERS) int64: each cut nest as a program of its own."""
    return _evaluate(nests, np.arange(1, len(nests) + 1), config)


def _evaluate(nests: Nests, ends: Any, config: AcceleratorConfig) -> Any:
    found = np.zeros((len(ends), len(COUNTERS)), np.int64)
    vector = config_vector(config)
    w, channel = new_clock(vector)
    time_programs(nests, ends, shape_vector(config), vector, w, channel, found)
    return found
