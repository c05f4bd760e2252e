"""What the timing of a nest's steps carries from one to the next.

A state is (clock, channel, tokens, made, used, ordinals, DMA registers, STCE registers): plain
integer arrays, so that one can be advanced by whole periods.
"""

from typing import Any

import numpy as np

from hwsim.bursts import channel_size, reset_channel
from hwsim.constants import FETCH_CYCLES, SEMAPHORE_CYCLES
from hwsim.jit import compiled

DMA_FREE, DMA_DONE, STCE_FREE = range(3)
BYTES_READ, BYTES_WRITTEN, ARRAY_BUSY, INSTRUCTIONS = range(3, 7)
TIMES = 3
CLOCK = 7
"""Slots of the clock: TIMES times, then counters."""

ACT_FULL, ACT_FREE, WGT_FULL, WGT_FREE, ACC_FULL, ACC_FREE = range(6)
SEMAPHORES_USED = 6
NO_TOKEN = -1
TOKEN_RING = 8
"""Tokens of one semaphore that can be waiting at a time: two halves and a margin."""

ACT_LOADS, WGT_LOADS, BLOCKS, STORES = range(4)
"""Ordinals: how many of each there have been; their parity names the half."""

STREAM_ACT, STREAM_WGT, STREAM_IDX, STREAM_TABLE, STREAM_OUT = range(5)
STREAMS = 5
"""Streams of transfers; a stream's number is its descriptor bank."""

DMA_REGISTERS = 10
STCE_REGISTERS = 30
"""Registers of a bank, padded to CONFIG's pairs."""

ACT_LANES, LANES, ACT_HALF, WGT_HALF, ACC_HALF, BURST, ROWS = range(7)
"""Slots of the `shape` vector: lanes of ACT and WGT words, words of the halves, burst bytes, R."""

ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_YB, ROLE_IB, ROLE_G = range(7)
LEVELS = 7
"""The loops of a nest by what they walk over; see `nest`."""


@compiled
def new_state(config: Any) -> Any:
    """The state at cycle 0. config: `config_vector`."""
    clock = np.zeros(CLOCK, np.int64)
    channel = np.zeros(channel_size(config), np.int64)
    state = (
        clock,
        channel,
        np.zeros((SEMAPHORES_USED, TOKEN_RING), np.int64),
        np.zeros(SEMAPHORES_USED, np.int64),
        np.zeros(SEMAPHORES_USED, np.int64),
        np.zeros(4, np.int64),
        np.zeros((STREAMS, DMA_REGISTERS), np.int64),
        np.zeros(STCE_REGISTERS, np.int64),
    )
    reset_state(state, config)
    return state


@compiled
def reset_state(state: Any, config: Any) -> None:
    """Back to cycle 0."""
    clock, channel, tokens, made, used, ordinals, transfers, array = state
    clock[:] = 0
    clock[DMA_FREE] = FETCH_CYCLES
    clock[STCE_FREE] = FETCH_CYCLES
    reset_channel(channel, config)
    tokens[:] = 0
    made[:] = 0
    used[:] = 0
    ordinals[:] = 0
    transfers[:] = 0
    array[:] = 0


@compiled
def consume(state: Any, semaphore: int) -> int:
    """Take the next token; returns the cycle from which it can be consumed."""
    tokens, used = state[2], state[4]
    time = tokens[semaphore, used[semaphore] % TOKEN_RING]
    used[semaphore] += 1
    return time


@compiled
def produce(state: Any, semaphore: int, completion: int) -> None:
    """Make a token at the completion of an instruction."""
    tokens, made = state[2], state[3]
    tokens[semaphore, made[semaphore] % TOKEN_RING] = completion + SEMAPHORE_CYCLES
    made[semaphore] += 1
