"""Exact cycles of nests, step by step where they differ and at once where they repeat.

Follows the instructions of `walk`: loads run two steps ahead of the MATMULs, a STORE follows the last
MATMUL of its block, CONFIGs rewrite what differs from the step before.
"""

from typing import Any

import numpy as np

from hwsim.bursts import (
    channel_size,
    clear_channel,
    reset_channel,
    transfer,
    uniform_bursts,
    uniform_transfer,
)
from hwsim.constants import CONFIG_CYCLES, SEMAPHORE_CYCLES
from hwsim.jit import compiled

from .blocks import (
    BURSTS,
    CYCLES,
    DRAM,
    MOVED,
    PARTS,
    PHASED,
    POSITION,
    ROW,
    address,
    configured,
    find_block,
    forget_blocks,
    matmul_time,
    reset_blocks,
    restart_rows,
    rows_are_full,
    set_phased,
)
from .loops import (
    AHEAD,
    AT,
    FOR_ACT,
    MATMULS,
    advance,
    entered,
    inner_loops,
    moves_from,
    reduction_roles,
    set_loops,
    set_step,
    step_count,
    turning,
    weight_roles,
)
from .repeats import memory_end, recall, reset_memory
from .state import (
    ACT_LOADS,
    ARRAY_BUSY,
    BLOCKS,
    BURST,
    BYTES_READ,
    BYTES_WRITTEN,
    DMA_DONE,
    DMA_FREE,
    INSTRUCTIONS,
    STCE_FREE,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
    STREAM_WGT,
    TOKENS_ACC_FREE,
    TOKENS_ACT_FREE,
    TOKENS_ACT_FULL,
    TOKENS_WGT_FREE,
    TOKENS_WGT_FULL,
    WGT_LOADS,
    consume,
    produce,
    reset_state,
)


@compiled
def new_clock(config: Any) -> Any:
    """(w, channel): everything that timing writes, so that many programs are timed without allocating."""
    w, channel = np.zeros(memory_end(config), np.int64), np.zeros(channel_size(config), np.int64)
    reset_channel(channel, config)
    return w, channel


@compiled
def reset_clock(w: Any, channel: Any) -> None:
    """Back to cycle 0."""
    reset_state(w)
    reset_blocks(w)
    clear_channel(channel)


@compiled
def run_nest(nest: Any, shape: Any, config: Any, w: Any, channel: Any) -> None:
    """Advance the clock by the steps of a cut nest."""
    live = set_loops(nest, w)
    forget_blocks(w)
    set_phased(w, nest, live, shape)
    reset_memory(w, live, config)
    act_from = moves_from(w, live, FOR_ACT)
    wgt_from = moves_from(w, live, weight_roles(nest))
    sums = inner_loops(w, live, reduction_roles(nest))
    steps, ahead = step_count(w, live), live
    for _ in range(min(2, steps)):
        _load(nest, ahead >= act_from, ahead >= wgt_from, shape, w, channel, live)
        ahead = advance(w, live, AHEAD)
    step, begun = 0, live
    while step < steps:
        if step > 0:
            if rows_are_full(w):
                restart_rows(w)
                reset_memory(w, live, config)
            jumped = recall(w, live, channel, shape[BURST])
            if jumped > 0:
                step += jumped
                set_step(w, live, AT, step)
                set_step(w, live, AHEAD, step + 2)
                begun, ahead = entered(w, live, AT), entered(w, live, AHEAD)
                continue
        ended = turning(w, live, 0)
        waits = (begun >= act_from, begun >= wgt_from, begun >= sums)
        frees = (ended >= act_from, ended >= wgt_from, ended >= sums)
        done = _matmul(nest, waits, frees, shape, config, w, channel, live)
        if step + 2 < steps:
            _load(nest, ahead >= act_from, ahead >= wgt_from, shape, w, channel, live)
            ahead = advance(w, live, AHEAD)
        if ended >= sums:
            token = done + SEMAPHORE_CYCLES
            produce(
                w, TOKENS_ACC_FREE, _transfer(nest, STREAM_OUT, AT, token, shape, w, channel, live)
            )
        begun = advance(w, live, AT)
        step += 1


@compiled
def _load(nest: Any, act: bool, wgt: bool, shape: Any, w: Any, channel: Any, live: int) -> None:
    """LOADs of one step, none for an operand that is there from the step before."""
    if act:
        token = consume(w, TOKENS_ACT_FREE) if w[ACT_LOADS] >= 2 else 0
        produce(
            w, TOKENS_ACT_FULL, _transfer(nest, STREAM_ACT, AHEAD, token, shape, w, channel, live)
        )
        w[ACT_LOADS] += 1
    if wgt:
        token = consume(w, TOKENS_WGT_FREE) if w[WGT_LOADS] >= 2 else 0
        done = _transfer(nest, STREAM_WGT, AHEAD, token, shape, w, channel, live)
        if nest.packed:
            done = _transfer(nest, STREAM_IDX, AHEAD, 0, shape, w, channel, live)
        if nest.segments > 0:
            done = _transfer(nest, STREAM_TABLE, AHEAD, 0, shape, w, channel, live)
        produce(w, TOKENS_WGT_FULL, done)
        w[WGT_LOADS] += 1


@compiled
def _transfer(
    nest: Any, stream: int, walker: int, token: int, shape: Any, w: Any, channel: Any, live: int
) -> int:
    """Completion of a LOAD or STORE that waits for a token of the cycle `token`, 0 for none."""
    block = find_block(w, nest, stream, live, walker, shape, channel)
    pairs = configured(w, stream, w[block + ROW])
    issue = max(w[DMA_FREE] + pairs * CONFIG_CYCLES, token)
    dram, cycles, bursts = w[block + DRAM], w[block + CYCLES], w[block + BURSTS]
    if w[PHASED + stream]:
        dram = address(w, block, live, stream, walker)
        cycles, bursts = uniform_bursts(channel, dram, w[block + PARTS : block + POSITION])
    if bursts > 0:
        free, done = uniform_transfer(channel, issue, cycles, bursts)
    else:
        free, done = _uneven_transfer(w, block + PARTS, issue, dram, channel)
    w[DMA_FREE], w[DMA_DONE] = free, done
    w[BYTES_WRITTEN if stream == STREAM_OUT else BYTES_READ] += w[block + MOVED]
    w[INSTRUCTIONS] += pairs + 1
    return done


@compiled
def _uneven_transfer(w: Any, part: int, issue: int, dram: int, channel: Any) -> Any:
    return transfer(
        channel,
        issue,
        dram,
        w[part],
        w[part + 1],
        w[part + 2],
        w[part + 3],
        w[part + 4],
        w[part + 5],
        w[part + 6],
    )


@compiled
def _matmul(
    nest: Any, waits: Any, frees: Any, shape: Any, config: Any, w: Any, channel: Any, live: int
) -> int:
    """Completion of a MATMUL.

    waits: whether its left operand, its right one and its result's half are new. frees: whether nobody
    reads or adds to them again.
    """
    block = find_block(w, nest, MATMULS, live, AT, shape, channel)
    pairs = configured(w, MATMULS, w[block + ROW])
    issue = w[STCE_FREE] + pairs * CONFIG_CYCLES
    if waits[0]:
        issue = max(issue, consume(w, TOKENS_ACT_FULL))
    if waits[1]:
        issue = max(issue, consume(w, TOKENS_WGT_FULL))
    if waits[2] and w[BLOCKS] >= 2:
        issue = max(issue, consume(w, TOKENS_ACC_FREE))
    cycles = matmul_time(w, block, 0 if waits[2] else 1, config)
    done = issue + cycles
    w[STCE_FREE] = done
    w[ARRAY_BUSY] += cycles
    w[INSTRUCTIONS] += pairs + 1
    if frees[0]:
        produce(w, TOKENS_ACT_FREE, done)
    if frees[1]:
        produce(w, TOKENS_WGT_FREE, done)
    w[BLOCKS] += frees[2]
    return done
