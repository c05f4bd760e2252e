"""The instructions of a nest, step by step. Their time: `clock`.

Loads run two steps ahead of the MATMULs, a STORE follows the last MATMUL of its block. Each stream
of transfers and the MATMULs own one descriptor bank; CONFIGs rewrite the registers that differ from
the step before. Tokens, in pairs of halves:

    ACT_FULL, WGT_FULL   LOAD  -> MATMUL      ACC_FULL  MATMUL -> STORE
    ACT_FREE, WGT_FREE   MATMUL -> LOAD       ACC_FREE  STORE  -> MATMUL
"""

from typing import Any

import numpy as np

from hwsim.isa import Lhs, Op, Space
from hwsim.jit import compiled

from .loops import (
    AHEAD,
    AT,
    FOR_ACT,
    LOOPS_END,
    ROLE,
    advance,
    at_loop,
    inner_loops,
    moves_from,
    reduction_roles,
    set_loops,
    step_count,
    turning,
    weight_roles,
)
from .state import (
    ACC_HALF,
    ACT_HALF,
    ACT_LANES,
    LANES,
    LEVELS,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
    STREAM_WGT,
    WGT_HALF,
)
from .transfers import matmul_registers, table_offset, transfer_of

RECORD_WIDTH = 41
"""op, bank, space, accumulate, wait, signal; local and dram or act, wgt, acc, table; registers."""

ACT_FULL, ACT_FREE, WGT_FULL, WGT_FREE, ACC_FULL, ACC_FREE = range(6)
"""Semaphores."""
_NONE = 0

ACT_LOADS, WGT_LOADS, ACT_USED, WGT_USED, BLOCKS = range(5)
ORDINALS = 5
"""How many operands were loaded and used, how many blocks stored; their parity names the half."""

_COLUMN = int(Lhs.COLUMN)
_LOAD, _STORE, _MATMUL = int(Op.LOAD), int(Op.STORE), int(Op.MATMUL)
_SPACE_ACT, _SPACE_WGT, _SPACE_IDX = int(Space.ACT), int(Space.WGT), int(Space.IDX)
_SPACE_ACC, _SPACE_ACC16 = int(Space.ACC), int(Space.ACC16)


@compiled
def walk(nest: Any, shape: Any, ordinals: Any, record: Any) -> int:
    """Fill `record`, (rows, RECORD_WIDTH), with a cut nest's instructions. Returns their number.

    ordinals: (ORDINALS,) of the program so far, advanced.
    """
    w, at = np.zeros(LOOPS_END, np.int64), np.zeros(LEVELS, np.int64)
    live = set_loops(nest, w)
    act_from = moves_from(w, live, FOR_ACT)
    wgt_from = moves_from(w, live, weight_roles(nest))
    sums = inner_loops(w, live, reduction_roles(nest))
    steps, count, ahead, begun = step_count(w, live), 0, live, live
    for step in range(-2, steps):
        if step >= 0:
            ended = turning(w, live, 0)
            _set_place(w, live, AT, at)
            ordinals[ACT_USED] += begun >= act_from
            ordinals[WGT_USED] += begun >= wgt_from
            row = record[count]
            _matmul(nest, at, begun >= sums, shape, ordinals, row)
            wait = _bit(ACT_FULL, begun >= act_from) | _bit(WGT_FULL, begun >= wgt_from)
            row[4] = wait | _bit(ACC_FREE, begun >= sums and ordinals[BLOCKS] >= 2)
            signal = _bit(ACT_FREE, ended >= act_from) | _bit(WGT_FREE, ended >= wgt_from)
            row[5] = signal | _bit(ACC_FULL, ended >= sums)
            count += 1
        if step + 2 < steps:
            _set_place(w, live, AHEAD, at)
            if ahead >= act_from:
                count = _load_act(nest, at, shape, ordinals, record, count)
            if ahead >= wgt_from:
                count = _load_wgt(nest, at, shape, ordinals, record, count)
            ahead = advance(w, live, AHEAD)
        if step >= 0:
            if ended >= sums:
                _set_place(w, live, AT, at)
                count = _store(nest, at, shape, ordinals, record, count)
            begun = advance(w, live, AT)
    return count


@compiled
def _bit(semaphore: int, wanted: bool) -> int:
    return 1 << semaphore if wanted else _NONE


@compiled
def _set_place(w: Any, live: int, walker: int, at: Any) -> None:
    """Blocks along each role."""
    for level in range(live):
        at[w[at_loop(level) + ROLE]] = w[at_loop(level) + walker]


@compiled
def _transfer(
    nest: Any, op: int, stream: int, space: int, local: int, at: Any, shape: Any, row: Any
) -> None:
    """One LOAD or STORE without its tokens."""
    parts = transfer_of(nest, stream, at, shape[ACT_LANES], shape[LANES])
    row[0], row[1], row[2] = op, stream, space
    row[6], row[7] = local, parts[0]
    for position in range(1, 10):
        row[10 + position] = parts[position]


@compiled
def _load_act(nest: Any, at: Any, shape: Any, ordinals: Any, record: Any, count: int) -> int:
    local = ordinals[ACT_LOADS] % 2 * shape[ACT_HALF]
    row = record[count]
    _transfer(nest, _LOAD, STREAM_ACT, _SPACE_ACT, local, at, shape, row)
    row[4] = _bit(ACT_FREE, ordinals[ACT_LOADS] >= 2)
    row[5] = _bit(ACT_FULL, True)
    ordinals[ACT_LOADS] += 1
    return count + 1


@compiled
def _load_wgt(nest: Any, at: Any, shape: Any, ordinals: Any, record: Any, count: int) -> int:
    """LOADs of the values, then of the indices or the segment table; the last one signals."""
    local = ordinals[WGT_LOADS] % 2 * shape[WGT_HALF]
    _transfer(nest, _LOAD, STREAM_WGT, _SPACE_WGT, local, at, shape, record[count])
    record[count, 4] = _bit(WGT_FREE, ordinals[WGT_LOADS] >= 2)
    if nest.packed:
        count += 1
        _transfer(nest, _LOAD, STREAM_IDX, _SPACE_IDX, local, at, shape, record[count])
    if nest.segments > 0:
        count += 1
        table = local + table_offset(nest, shape[LANES])
        _transfer(nest, _LOAD, STREAM_TABLE, _SPACE_WGT, table, at, shape, record[count])
    record[count, 5] = _bit(WGT_FULL, True)
    ordinals[WGT_LOADS] += 1
    return count + 1


@compiled
def _matmul(nest: Any, at: Any, first: bool, shape: Any, ordinals: Any, row: Any) -> None:
    """One MATMUL without its tokens."""
    row[0], row[3] = _MATMUL, 0 if first else 1
    row[6] = (ordinals[ACT_USED] - 1) % 2 * shape[ACT_HALF]
    row[7] = (ordinals[WGT_USED] - 1) % 2 * shape[WGT_HALF]
    row[8] = ordinals[BLOCKS] % 2 * shape[ACC_HALF]
    row[9] = row[7] + table_offset(nest, shape[LANES]) if nest.segments > 0 else 0
    matmul_registers(nest, at, shape[ACT_LANES], shape[LANES], row[11:])


@compiled
def _store(nest: Any, at: Any, shape: Any, ordinals: Any, record: Any, count: int) -> int:
    """STORE of a finished block."""
    space = _SPACE_ACC if nest.lhs == _COLUMN else _SPACE_ACC16
    local = ordinals[BLOCKS] % 2 * shape[ACC_HALF]
    _transfer(nest, _STORE, STREAM_OUT, space, local, at, shape, record[count])
    record[count, 4], record[count, 5] = _bit(ACC_FULL, True), _bit(ACC_FREE, True)
    ordinals[BLOCKS] += 1
    return count + 1
