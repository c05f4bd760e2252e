"""The steps of a nest, once for both purposes: their exact time, and the instructions themselves.

Loads run two steps ahead of the MATMULs, a STORE follows the last MATMUL of its block. Each stream
of transfers and the MATMULs own one descriptor bank; CONFIGs rewrite the registers that differ from
the step before. Tokens, in pairs of halves:

    ACT_FULL, WGT_FULL   LOAD  -> MATMUL      ACC_FULL  MATMUL -> STORE
    ACT_FREE, WGT_FREE   MATMUL -> LOAD       ACC_FREE  STORE  -> MATMUL

When time is asked and not the instructions, a loop of the nest that has come back to the same state
(every pending time relative to the DMA's, tokens, bursts in flight, registers, burst phase of the
addresses) is not walked on: the rest of its regular iterations costs whole multiples of the time
between the two states.
"""

from typing import Any

import numpy as np

from hwsim.bursts import transfer
from hwsim.constants import CONFIG_CYCLES
from hwsim.durations import matmul_cycles
from hwsim.isa import Lhs, Op, Space
from hwsim.jit import compiled

from .regimes import recall, reset_memory
from .state import (
    ACC_FREE,
    ACC_FULL,
    ACC_HALF,
    ACT_FREE,
    ACT_FULL,
    ACT_HALF,
    ACT_LANES,
    ACT_LOADS,
    ARRAY_BUSY,
    BLOCKS,
    BURST,
    BYTES_READ,
    BYTES_WRITTEN,
    DMA_DONE,
    DMA_FREE,
    INSTRUCTIONS,
    LANES,
    LEVELS,
    NO_TOKEN,
    ROLE_B,
    ROLE_CB,
    ROLE_G,
    ROLE_IB,
    ROLE_TX,
    ROLE_TY,
    ROLE_YB,
    STCE_FREE,
    STORES,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
    STREAM_WGT,
    WGT_FREE,
    WGT_FULL,
    WGT_HALF,
    WGT_LOADS,
    consume,
    produce,
)
from .transfers import (
    act_transfer,
    ceil_div,
    idx_transfer,
    matmul_registers,
    out_transfer,
    table_offset,
    table_transfer,
    wgt_transfer,
)

RECORD_WIDTH = 41
"""op, bank, space, accumulate, wait, signal; local and dram or act, wgt, acc, table; registers."""

_LHS_COLUMN = int(Lhs.COLUMN)
_LOAD, _STORE, _MATMUL = int(Op.LOAD), int(Op.STORE), int(Op.MATMUL)
_SPACE_ACT, _SPACE_WGT, _SPACE_IDX = int(Space.ACT), int(Space.WGT), int(Space.IDX)
_SPACE_ACC, _SPACE_ACC16 = int(Space.ACC), int(Space.ACC16)


@compiled
def _changed_pairs(known: Any, registers: Any, count: int) -> int:
    """CONFIGs that turn `known` into `registers`; `known` is updated."""
    pairs = 0
    for first in range(0, count, 2):
        if known[first] != registers[first] or known[first + 1] != registers[first + 1]:
            known[first] = registers[first]
            known[first + 1] = registers[first + 1]
            pairs += 1
    return pairs


@compiled
def _transfer(
    state: Any,
    op: int,
    stream: int,
    space: int,
    local: int,
    parts: Any,
    wait: int,
    signal: int,
    record: Any,
    count: int,
) -> int:
    """One LOAD or STORE: its CONFIGs, its time, its row in the record. Returns the rows recorded."""
    clock, channel, known = state[0], state[1], state[6][stream]
    pairs = 0
    for first in range(1, 10, 2):
        second = parts[first + 1] if first < 9 else 0
        if known[first - 1] != parts[first] or known[first] != second:
            known[first - 1] = parts[first]
            known[first] = second
            pairs += 1
    issue = clock[DMA_FREE] + pairs * CONFIG_CYCLES
    if wait != NO_TOKEN:
        issue = max(issue, consume(state, wait))
    free, done = transfer(
        channel,
        issue,
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        parts[4],
        parts[5],
        parts[6],
        parts[7],
    )
    clock[DMA_FREE] = free
    clock[DMA_DONE] = done
    moved = parts[1] * parts[2] * parts[4] * parts[6]
    clock[BYTES_READ if op == _LOAD else BYTES_WRITTEN] += moved
    clock[INSTRUCTIONS] += pairs + 1
    if signal != NO_TOKEN:
        produce(state, signal, done)
    if record.shape[0] == 0:
        return 0
    row = record[count]
    row[0], row[1], row[2] = op, stream, space
    row[4] = 1 << wait if wait != NO_TOKEN else 0
    row[5] = 1 << signal if signal != NO_TOKEN else 0
    row[6], row[7] = local, parts[0]
    for position in range(1, 10):
        row[10 + position] = parts[position]
    return count + 1


@compiled
def block_counts(nest: Any) -> Any:
    """Blocks along (CB, TX, TY, B, YB, IB, G)."""
    return (
        ceil_div(nest.channels, nest.block_channels),
        ceil_div(nest.taps_x, nest.block_taps_x),
        ceil_div(nest.taps_y, nest.block_taps_y),
        ceil_div(nest.columns, nest.block_columns),
        ceil_div(nest.out_h, nest.block_h),
        ceil_div(nest.images, nest.block_images),
        nest.groups,
    )


@compiled
def loop_roles(nest: Any) -> Any:
    """Roles of the loops, innermost first."""
    if nest.lhs == _LHS_COLUMN:
        if nest.order == 0:
            return ROLE_YB, ROLE_IB, ROLE_B, ROLE_CB, ROLE_TX, ROLE_TY, ROLE_G
        return ROLE_YB, ROLE_IB, ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_G
    if nest.order == 0:
        return ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_YB, ROLE_IB, ROLE_G
    return ROLE_CB, ROLE_TX, ROLE_TY, ROLE_YB, ROLE_IB, ROLE_B, ROLE_G


@compiled
def _place(at: Any, step: int, counts: Any, roles: Any) -> None:
    """Position of a step."""
    for level in range(LEVELS):
        role = roles[level]
        at[role] = step % counts[role]
        step //= counts[role]


@compiled
def _advance(at: Any, counts: Any, roles: Any) -> None:
    """Next step: an odometer over the loops, innermost first."""
    for level in range(LEVELS):
        role = roles[level]
        at[role] += 1
        if at[role] < counts[role]:
            return
        at[role] = 0


@compiled
def _act_moves(at: Any, before: Any) -> bool:
    """Whether a step's left operand differs from the step's before."""
    return bool(
        at[ROLE_CB] != before[ROLE_CB]
        or at[ROLE_TX] != before[ROLE_TX]
        or at[ROLE_TY] != before[ROLE_TY]
        or at[ROLE_YB] != before[ROLE_YB]
        or at[ROLE_IB] != before[ROLE_IB]
        or at[ROLE_G] != before[ROLE_G]
    )


@compiled
def _wgt_moves(nest: Any, at: Any, before: Any) -> bool:
    """Whether a step's right operand differs from the step's before."""
    if at[ROLE_B] != before[ROLE_B] or at[ROLE_G] != before[ROLE_G]:
        return True
    if nest.lhs == _LHS_COLUMN:
        return bool(at[ROLE_YB] != before[ROLE_YB] or at[ROLE_IB] != before[ROLE_IB])
    return bool(
        at[ROLE_CB] != before[ROLE_CB]
        or at[ROLE_TX] != before[ROLE_TX]
        or at[ROLE_TY] != before[ROLE_TY]
    )


@compiled
def _load(nest: Any, at: Any, before: Any, shape: Any, state: Any, rec: Any, count: int) -> int:
    """LOADs of one step, none for an operand that is there from the step before."""
    ordinals = state[5]
    g, ib, yb = at[ROLE_G], at[ROLE_IB], at[ROLE_YB]
    ty, tx, cb, b = at[ROLE_TY], at[ROLE_TX], at[ROLE_CB], at[ROLE_B]
    if _act_moves(at, before):
        parts = act_transfer(nest, g, ib, yb, ty, tx, cb, shape[ACT_LANES])
        wait = ACT_FREE if ordinals[ACT_LOADS] >= 2 else NO_TOKEN
        local = ordinals[ACT_LOADS] % 2 * shape[ACT_HALF]
        count = _transfer(
            state, _LOAD, STREAM_ACT, _SPACE_ACT, local, parts, wait, ACT_FULL, rec, count
        )
        ordinals[ACT_LOADS] += 1
    if _wgt_moves(nest, at, before):
        parts = wgt_transfer(nest, g, ib, yb, ty, tx, cb, b, shape[LANES])
        wait = WGT_FREE if ordinals[WGT_LOADS] >= 2 else NO_TOKEN
        local = ordinals[WGT_LOADS] % 2 * shape[WGT_HALF]
        more = nest.packed or nest.segments > 0
        signal = NO_TOKEN if more else WGT_FULL
        count = _transfer(
            state, _LOAD, STREAM_WGT, _SPACE_WGT, local, parts, wait, signal, rec, count
        )
        if nest.packed:
            indices = idx_transfer(nest, parts)
            count = _transfer(
                state, _LOAD, STREAM_IDX, _SPACE_IDX, local, indices, NO_TOKEN, WGT_FULL, rec, count
            )
        if nest.segments > 0:
            entries = table_transfer(nest, g, b)
            count = _transfer(
                state,
                _LOAD,
                STREAM_TABLE,
                _SPACE_WGT,
                local + table_offset(nest, shape[LANES]),
                entries,
                NO_TOKEN,
                WGT_FULL,
                rec,
                count,
            )
        ordinals[WGT_LOADS] += 1
    return count


@compiled
def _is_first_k(nest: Any, at: Any) -> bool:
    if nest.lhs == _LHS_COLUMN:
        return bool(at[ROLE_YB] == 0 and at[ROLE_IB] == 0)
    return bool(at[ROLE_CB] == 0 and at[ROLE_TX] == 0 and at[ROLE_TY] == 0)


@compiled
def _is_last_k(nest: Any, at: Any, counts: Any) -> bool:
    if nest.lhs == _LHS_COLUMN:
        return bool(at[ROLE_YB] == counts[ROLE_YB] - 1 and at[ROLE_IB] == counts[ROLE_IB] - 1)
    return bool(
        at[ROLE_CB] == counts[ROLE_CB] - 1
        and at[ROLE_TX] == counts[ROLE_TX] - 1
        and at[ROLE_TY] == counts[ROLE_TY] - 1
    )


@compiled
def _matmul(
    nest: Any,
    at: Any,
    counts: Any,
    act_new: bool,
    wgt_new: bool,
    act_last: bool,
    wgt_last: bool,
    shape: Any,
    config: Any,
    state: Any,
    scratch: Any,
    rec: Any,
    count: int,
) -> int:
    """One MATMUL: waits where an operand or its result's half is new, frees what nobody reads again."""
    clock, ordinals, known = state[0], state[5], state[7]
    matmul_registers(
        nest,
        at[ROLE_IB],
        at[ROLE_YB],
        at[ROLE_TY],
        at[ROLE_TX],
        at[ROLE_CB],
        at[ROLE_B],
        shape[ACT_LANES],
        shape[LANES],
        scratch,
    )
    first, last = _is_first_k(nest, at), _is_last_k(nest, at, counts)
    pairs = _changed_pairs(known, scratch, 30)
    issue = clock[STCE_FREE] + pairs * CONFIG_CYCLES
    wait = 0
    if act_new:
        issue = max(issue, consume(state, ACT_FULL))
        wait |= 1 << ACT_FULL
    if wgt_new:
        issue = max(issue, consume(state, WGT_FULL))
        wait |= 1 << WGT_FULL
    if first and ordinals[BLOCKS] >= 2:
        issue = max(issue, consume(state, ACC_FREE))
        wait |= 1 << ACC_FREE
    accumulate = 0 if first else 1
    cycles = matmul_cycles(config, scratch, accumulate)
    done = issue + cycles
    clock[STCE_FREE] = done
    clock[ARRAY_BUSY] += cycles
    clock[INSTRUCTIONS] += pairs + 1
    signal = 0
    if act_last:
        produce(state, ACT_FREE, done)
        signal |= 1 << ACT_FREE
    if wgt_last:
        produce(state, WGT_FREE, done)
        signal |= 1 << WGT_FREE
    if last:
        produce(state, ACC_FULL, done)
        signal |= 1 << ACC_FULL
    if rec.shape[0] > 0:
        row, used = rec[count], state[4]
        row[0], row[3], row[4], row[5] = _MATMUL, accumulate, wait, signal
        row[6] = (used[ACT_FULL] - 1) % 2 * shape[ACT_HALF]
        row[7] = (used[WGT_FULL] - 1) % 2 * shape[WGT_HALF]
        row[8] = ordinals[BLOCKS] % 2 * shape[ACC_HALF]
        row[9] = row[7] + table_offset(nest, shape[LANES]) if nest.segments > 0 else 0
        for position in range(29):
            row[11 + position] = scratch[position]
        count += 1
    if last:
        ordinals[BLOCKS] += 1
    return count


@compiled
def _store(nest: Any, at: Any, shape: Any, state: Any, rec: Any, count: int) -> int:
    """STORE of a finished block."""
    ordinals = state[5]
    parts = out_transfer(
        nest,
        at[ROLE_G],
        at[ROLE_IB],
        at[ROLE_YB],
        at[ROLE_TY],
        at[ROLE_TX],
        at[ROLE_CB],
        at[ROLE_B],
        shape[LANES],
    )
    space = _SPACE_ACC if nest.lhs == _LHS_COLUMN else _SPACE_ACC16
    local = ordinals[STORES] % 2 * shape[ACC_HALF]
    ordinals[STORES] += 1
    return _transfer(state, _STORE, STREAM_OUT, space, local, parts, ACC_FULL, ACC_FREE, rec, count)


@compiled
def walk(nest: Any, shape: Any, config: Any, state: Any, memory: Any, rec: Any) -> int:
    """Run a nest from `state`, which it advances. Returns the number of rows recorded.

    rec: (rows, RECORD_WIDTH) to fill, or (0, RECORD_WIDTH) when only time is asked.
    """
    counts, roles = block_counts(nest), loop_roles(nest)
    steps = 1
    for level in range(LEVELS):
        steps *= counts[level]
    before, at, after = (
        np.full(LEVELS, -1, np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros(LEVELS, np.int64),
    )
    ahead, ahead_before = np.zeros(LEVELS, np.int64), np.full(LEVELS, -1, np.int64)
    scratch = np.zeros(30, np.int64)
    if rec.shape[0] == 0:
        reset_memory(memory, nest, counts, roles, shape)
    count, step, loaded = 0, 0, 0
    while step < steps:
        if rec.shape[0] == 0 and step > 0:
            jumped = recall(memory, at, counts, roles, state, shape[BURST])
            if jumped > 0:
                step += jumped
                loaded = min(loaded + jumped, steps)
                _place(at, step, counts, roles)
                _place(before, step - 1, counts, roles)
                _place(ahead, loaded, counts, roles)
                _place(ahead_before, loaded - 1, counts, roles)
                continue
        while loaded < min(step + 2, steps):
            count = _load(nest, ahead, ahead_before, shape, state, rec, count)
            ahead_before[:] = ahead
            _advance(ahead, counts, roles)
            loaded += 1
        after[:] = at
        _advance(after, counts, roles)
        final = step == steps - 1
        count = _matmul(
            nest,
            at,
            counts,
            _act_moves(at, before),
            _wgt_moves(nest, at, before),
            final or _act_moves(after, at),
            final or _wgt_moves(nest, after, at),
            shape,
            config,
            state,
            scratch,
            rec,
            count,
        )
        if step + 2 < steps:
            count = _load(nest, ahead, ahead_before, shape, state, rec, count)
            ahead_before[:] = ahead
            _advance(ahead, counts, roles)
            loaded += 1
        if _is_last_k(nest, at, counts):
            count = _store(nest, at, shape, state, rec, count)
        before[:] = at
        at[:] = after
        step += 1
    return count
