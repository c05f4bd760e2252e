"""What the timing of a nest's steps carries from one to the next: the *state*.

It is the beginning of one integer array `w`, in which `loops`, `blocks` and `repeats` keep what is
theirs too: kernels call each other much faster with one array than with twenty. Beside it stands
the DRAM channel (`hwsim.bursts`). Times are cycles of the program.
"""

from typing import Any, cast

import numpy as np

from hwsim.constants import FETCH_CYCLES, SEMAPHORE_CYCLES
from hwsim.jit import compiled, inlined

DMA_FREE, STCE_FREE, DMA_DONE = range(3)
BYTES_READ, BYTES_WRITTEN, ARRAY_BUSY, INSTRUCTIONS = range(3, 7)
CLOCK = 7
"""First the clock: three times, then counters."""

ACT_LOADS, WGT_LOADS, BLOCKS = range(7, 10)
"""How many loads and finished blocks of the result there have been; the first two find a free half."""

STREAMS = 5
STREAM_ACT, STREAM_WGT, STREAM_IDX, STREAM_TABLE, STREAM_OUT = cast(Any, np.arange(STREAMS))
"""Streams of transfers; a stream's number is its descriptor bank.

NumPy integers: for plain ones Numba would compile every kernel that takes a stream once for each.
"""
BANK = 10
"""For each stream and the MATMULs: which registers their bank holds, a row of `blocks`."""

TOKENS_ACT_FULL, TOKENS_WGT_FULL, TOKENS_ACC_FREE = (
    BANK + STREAMS + 1 + 3 * token for token in range(3)
)
TOKENS_ACT_FREE, TOKENS_WGT_FREE = TOKENS_ACC_FREE + 3, TOKENS_ACC_FREE + 6
"""Tokens: how many wait and their times, at most two, one for each half of a scratchpad."""
STATE = TOKENS_WGT_FREE + 3

DMA_REGISTERS = 10
STCE_REGISTERS = 30
"""Registers of a bank, padded to CONFIG's pairs."""

ACT_LANES, LANES, ACT_HALF, WGT_HALF, ACC_HALF, BURST, ROWS = range(7)
"""Slots of the `shape` vector: lanes of ACT and WGT words, words of the halves, burst bytes, R."""

ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_YB, ROLE_IB, ROLE_G = range(7)
LEVELS = 7
"""The loops of a nest by what they walk over; see `nest`."""


@compiled
def reset_state(w: Any) -> None:
    """Cycle 0."""
    w[:STATE] = 0
    w[DMA_FREE] = FETCH_CYCLES
    w[STCE_FREE] = FETCH_CYCLES


@inlined
def consume(w: Any, token: int) -> int:
    """Take the next token; returns the cycle from which it can be consumed."""
    time = w[token + 1]
    w[token + 1] = w[token + 2]
    w[token] -= 1
    return time


@inlined
def produce(w: Any, token: int, completion: int) -> None:
    """Make a token at the completion of an instruction."""
    w[token + 1 + w[token]] = completion + SEMAPHORE_CYCLES
    w[token] += 1
