"""Transfers and MATMULs of a nest's blocks, worked out once for each kind of block.

Blocks of equal code (`loops.code_of`) have the same registers, bytes and bursts; what is worked out
for one of them is kept. Register contents are kept as numbered rows, equal contents under one number,
so that descriptor banks are compared by their numbers.
"""

from typing import Any

import numpy as np

from hwsim.bursts import uniform_bursts
from hwsim.durations import matmul_cycles
from hwsim.jit import compiled, inlined

from .loops import KINDS, LOOPS_END, MATMULS, MOVE, ROLE, at_loop, code_of
from .state import (
    ACT_LANES,
    BANK,
    BURST,
    DMA_REGISTERS,
    LANES,
    LEVELS,
    STCE_REGISTERS,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
    STREAM_WGT,
    STREAMS,
)
from .transfers import matmul_registers, transfer_of

CODE, ROW, CYCLES, BURSTS, MOVED, DRAM = range(6)
"""Of a block: its code, its registers' row, occupancy and number of its bursts where all are equal
(otherwise 0), bytes, the address of the block that was worked out."""
FIRST_CYCLES, MORE_CYCLES = CYCLES, BURSTS
"""Of a MATMUL: its duration when it starts a sum and when it accumulates, 0 where not yet asked."""
PARTS = 6
"""run_bytes and the three loops of a transfer."""
_PARTS = 7
POSITION = PARTS + _PARTS
BLOCK = POSITION + LEVELS
"""Numbers of a block."""

_KEPT = 64
"""Blocks kept of each kind; the oldest are forgotten first."""
_ROWS_KEPT = 256
"""Register rows kept of the DMA's banks and of the array's; row 0 is all zeros."""

_COUNT = LOOPS_END
_USED = _COUNT + KINDS
PHASED = _USED + 2
"""For each stream, whether its bursts depend on the address; then whether any stream's do."""
_AT = PHASED + STREAMS + 1
_SCRATCH = _AT + LEVELS
_FOUND = _SCRATCH + STCE_REGISTERS
_ROWS = _FOUND + KINDS * _KEPT * BLOCK
BLOCKS_END = _ROWS + 2 * _ROWS_KEPT * STCE_REGISTERS


@compiled
def reset_blocks(w: Any) -> None:
    """Begin a program: banks hold zeros."""
    forget_blocks(w)
    w[_USED], w[_USED + 1] = 1, 1


@compiled
def forget_blocks(w: Any) -> None:
    """Begin a nest: blocks of another one mean nothing."""
    w[_COUNT:_USED] = 0


@compiled
def rows_are_full(w: Any) -> bool:
    """Whether a step could need more rows of registers than there is room for."""
    return bool(max(w[_USED], w[_USED + 1]) + KINDS > _ROWS_KEPT)


@compiled
def restart_rows(w: Any) -> None:
    """Keep only the rows that banks hold, under new numbers."""
    forget_blocks(w)
    held = np.zeros((KINDS, STCE_REGISTERS), np.int64)
    for kind in range(KINDS):
        row = _at_row(kind, w[BANK + kind])
        held[kind] = w[row : row + STCE_REGISTERS]
    w[_USED], w[_USED + 1] = 1, 1
    for kind in range(KINDS):
        w[_SCRATCH : _SCRATCH + STCE_REGISTERS] = held[kind]
        w[BANK + kind] = _row(w, kind)


@inlined
def _at_row(kind: int, row: int) -> int:
    """Where a row begins in `w`."""
    return _ROWS + ((_ROWS_KEPT if kind == MATMULS else 0) + row) * STCE_REGISTERS


@inlined
def _registers_of(kind: int) -> int:
    return STCE_REGISTERS if kind == MATMULS else DMA_REGISTERS


@compiled
def _row(w: Any, kind: int) -> int:
    """Number of the row that equals the scratch registers."""
    used, size = _USED + (kind == MATMULS), _registers_of(kind)
    for row in range(w[used] - 1, -1, -1):
        if _equal(w, _at_row(kind, row), size):
            return row
    row = w[used]
    begin = _at_row(kind, row)
    for register in range(size):
        w[begin + register] = w[_SCRATCH + register]
    w[used] += 1
    return row


@inlined
def _equal(w: Any, row: int, size: int) -> bool:
    for register in range(size):
        if w[row + register] != w[_SCRATCH + register]:
            return False
    return True


@compiled
def configured(w: Any, kind: int, row: int) -> int:
    """CONFIGs that make a bank hold a row of registers."""
    if w[BANK + kind] == row:
        return 0
    held, wanted, pairs = _at_row(kind, w[BANK + kind]), _at_row(kind, row), 0
    for first in range(0, _registers_of(kind), 2):
        if w[held + first] != w[wanted + first] or w[held + first + 1] != w[wanted + first + 1]:
            pairs += 1
    w[BANK + kind] = row
    return pairs


@compiled
def find_block(
    w: Any, nest: Any, kind: int, live: int, walker: int, shape: Any, channel: Any
) -> int:
    """Where the block of a kind at AT or AHEAD (`walker`) begins in `w`."""
    code = code_of(w, live, kind, walker)
    begin = _FOUND + kind * _KEPT * BLOCK
    for place in range(min(w[_COUNT + kind], _KEPT)):
        if w[begin + place * BLOCK + CODE] == code:
            return begin + place * BLOCK
    block = begin + w[_COUNT + kind] % _KEPT * BLOCK
    w[_COUNT + kind] += 1
    w[block + CODE] = code
    for role in range(LEVELS):
        w[_AT + role] = 0
    for level in range(live):
        at = w[at_loop(level) + walker]
        w[_AT + w[at_loop(level) + ROLE]] = at
        w[block + POSITION + level] = at
    if kind == MATMULS:
        _work_out_matmul(w, nest, block, shape)
    else:
        _work_out_transfer(w, nest, kind, block, shape, channel)
    return block


@compiled
def _work_out_matmul(w: Any, nest: Any, block: int, shape: Any) -> None:
    at, registers = w[_AT : _AT + LEVELS], w[_SCRATCH : _SCRATCH + STCE_REGISTERS]
    matmul_registers(nest, at, shape[ACT_LANES], shape[LANES], registers)
    w[block + ROW] = _row(w, MATMULS)
    w[block + FIRST_CYCLES], w[block + MORE_CYCLES] = 0, 0


@compiled
def matmul_time(w: Any, block: int, accumulate: int, config: Any) -> int:
    """T of a MATMUL."""
    if w[block + FIRST_CYCLES + accumulate] == 0:
        row = _at_row(MATMULS, w[block + ROW])
        registers = w[row : row + STCE_REGISTERS]
        w[block + FIRST_CYCLES + accumulate] = matmul_cycles(config, registers, accumulate)
    return w[block + FIRST_CYCLES + accumulate]


@compiled
def _work_out_transfer(
    w: Any, nest: Any, stream: int, block: int, shape: Any, channel: Any
) -> None:
    parts = transfer_of(nest, stream, w[_AT : _AT + LEVELS], shape[ACT_LANES], shape[LANES])
    scratch, begin = _SCRATCH, block + PARTS
    w[scratch], w[scratch + 1], w[scratch + 2] = parts[1], parts[2], parts[3]
    w[scratch + 3], w[scratch + 4], w[scratch + 5] = parts[4], parts[5], parts[6]
    w[scratch + 6], w[scratch + 7], w[scratch + 8] = parts[7], parts[8], parts[9]
    w[scratch + 9] = 0
    for part in range(_PARTS):
        w[begin + part] = w[scratch + part]
    w[block + DRAM] = parts[0]
    w[block + MOVED] = parts[1] * parts[2] * parts[4] * parts[6]
    w[block + ROW] = _row(w, stream)
    w[block + CYCLES], w[block + BURSTS] = 0, 0
    if w[PHASED + stream] == 0:
        cycles, bursts = uniform_bursts(channel, parts[0], w[begin : begin + _PARTS])
        w[block + CYCLES], w[block + BURSTS] = cycles, bursts


@compiled
def address(w: Any, block: int, live: int, stream: int, walker: int) -> int:
    """DRAM address of a stream's block at AT or AHEAD."""
    dram = w[block + DRAM]
    for level in range(live):
        loop = at_loop(level)
        dram += (w[loop + walker] - w[block + POSITION + level]) * w[loop + MOVE + stream]
    return dram


@compiled
def set_phased(w: Any, nest: Any, live: int, shape: Any) -> None:
    """Set PHASED for a nest."""
    burst = shape[BURST]
    w[PHASED + STREAMS] = 0
    for stream in range(STREAMS):
        w[PHASED + stream] = 0
        if not _has_stream(nest, stream):
            continue
        moves = 0
        for level in range(live):
            moves |= w[at_loop(level) + MOVE + stream]
        if moves & (burst - 1) and not _in_pieces(w, nest, stream, moves, shape):
            w[PHASED + stream], w[PHASED + STREAMS] = 1, 1


@compiled
def _has_stream(nest: Any, stream: int) -> bool:
    if stream == STREAM_IDX:
        return bool(nest.packed)
    return bool(stream != STREAM_TABLE or nest.segments > 0)


@compiled
def _in_pieces(w: Any, nest: Any, stream: int, moves: int, shape: Any) -> bool:
    """Whether every run of a stream surely lies inside one aligned piece of memory, wherever it is.

    Then neither its bursts nor their bus words depend on the address.
    """
    w[_AT : _AT + LEVELS] = 0
    parts = transfer_of(nest, stream, w[_AT : _AT + LEVELS], shape[ACT_LANES], shape[LANES])
    bits = moves | parts[0] | parts[3] | parts[5] | parts[7]
    if stream == STREAM_ACT:
        if parts[1] >= nest.act_row:
            return False
        bits |= nest.act_pixel | nest.act_row | nest.act_image
    elif stream == STREAM_OUT:
        bits |= nest.out_pixel | nest.out_row | nest.out_image
    elif stream == STREAM_WGT:
        bits |= nest.wgt_entry | nest.wgt_tap_x | nest.wgt_tap_y
    elif stream == STREAM_IDX:
        bits |= (nest.wgt_entry | nest.wgt_tap_x | nest.wgt_tap_y) // 4
    return bool(bits == 0 or parts[1] <= bits & -bits)
