"""Exact cycles of nests, one after the other or many at once, without their instructions."""

from typing import Any

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.constants import HALT_CYCLES
from hwsim.jit import compiled

from .nest import Nests
from .regimes import new_memory
from .state import CLOCK, DMA_DONE, DMA_FREE, STCE_FREE, TIMES, new_state, reset_state
from .walk import RECORD_WIDTH, walk

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
def _finish(clock: Any, found: Any) -> None:
    found[0] = max(clock[DMA_FREE], clock[DMA_DONE], clock[STCE_FREE]) + HALT_CYCLES
    for counter in range(CLOCK - TIMES):
        found[1 + counter] = clock[TIMES + counter]


@compiled
def evaluate_program(nests: Any, shape: Any, config: Any) -> Any:
    """COUNTERS of the program that runs `nests` one after the other."""
    state, memory = new_state(config), new_memory(config)
    nothing = np.zeros((0, RECORD_WIDTH), np.int64)
    for nest in nests:
        walk(nest, shape, config, state, memory, nothing)
    found = np.zeros(1 + CLOCK - TIMES, np.int64)
    _finish(state[0], found)
    return found


@compiled
def evaluate_each(nests: Any, shape: Any, config: Any, found: Any) -> None:
    """COUNTERS of each nest as a program of its own, into the rows of `found`."""
    state, memory = new_state(config), new_memory(config)
    nothing = np.zeros((0, RECORD_WIDTH), np.int64)
    for position in range(nests.shape[0]):
        reset_state(state, config)
        walk(nests[position], shape, config, state, memory, nothing)
        _finish(state[0], found[position])


def evaluate(nests: Nests, config: AcceleratorConfig) -> Any:
    """(nests, COUNTERS) int64: each cut nest as a program of its own."""
    found = np.zeros((len(nests), len(COUNTERS)), np.int64)
    evaluate_each(nests, shape_vector(config), config_vector(config), found)
    return found
