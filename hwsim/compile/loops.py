"""The loops of a nest: how many blocks each has, which of them are alike, what a step of each moves.

Only loops with more than one block are kept, innermost first. Blocks of a loop are *regular* where
they are full and touch no border; regular blocks differ in their addresses and in nothing else.
"""

from typing import Any, cast

import numpy as np

from hwsim.isa import Lhs
from hwsim.jit import compiled, inlined

from .state import (
    LEVELS,
    ROLE_B,
    ROLE_CB,
    ROLE_G,
    ROLE_IB,
    ROLE_TX,
    ROLE_TY,
    ROLE_YB,
    STATE,
    STREAM_ACT,
    STREAM_IDX,
    STREAM_OUT,
    STREAM_TABLE,
    STREAM_WGT,
    STREAMS,
)
from .transfers import ceil_div, entries_of, table_bytes

_COLUMN = int(Lhs.COLUMN)

MATMULS: Any = np.int64(STREAMS)
"""Number of the MATMULs where the streams of transfers and they are numbered together."""
KINDS = STREAMS + 1

ROLE, COUNT, SIZE, LOW, HIGH, REACH = range(6)
"""Of a loop: its role, blocks, steps of one block, first and last regular block, and into how many
blocks loading two steps ahead reaches."""
AT, AHEAD = cast(Any, np.arange(6, 8))
"""Block of the step that runs, and of the step whose operands are loaded next."""
_IRREGULAR = 2
"""That far behind AT and AHEAD: `irregularity` of their block."""
RECURS, OPEN, KNOWN, ROUND = range(10, 14)
"""Whether iterations may begin in equal states; the others: see `repeats`."""
PLACE = 14
"""For each kind: place value of the loop's block in the kind's code, 0 where it does not matter."""
MOVE = PLACE + KINDS
"""For each stream: bytes from regular block to regular block."""
LOOP = MOVE + STREAMS
"""Numbers of a loop. Loop l begins at w[LOOPS + l * LOOP]."""
LOOPS = STATE
LOOPS_END = LOOPS + LEVELS * LOOP

FOR_ACT = 1 << ROLE_CB | 1 << ROLE_TX | 1 << ROLE_TY | 1 << ROLE_YB | 1 << ROLE_IB | 1 << ROLE_G
"""Sets of roles: bit r is role r. Blocks along the others share the left operand."""
_SPATIAL = 1 << ROLE_YB | 1 << ROLE_IB
_KERNEL = 1 << ROLE_CB | 1 << ROLE_TX | 1 << ROLE_TY
_OUTER = 1 << ROLE_B | 1 << ROLE_G


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
    if nest.lhs == _COLUMN:
        if nest.order == 0:
            return ROLE_YB, ROLE_IB, ROLE_B, ROLE_CB, ROLE_TX, ROLE_TY, ROLE_G
        return ROLE_YB, ROLE_IB, ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_G
    if nest.order == 0:
        return ROLE_CB, ROLE_TX, ROLE_TY, ROLE_B, ROLE_YB, ROLE_IB, ROLE_G
    return ROLE_CB, ROLE_TX, ROLE_TY, ROLE_YB, ROLE_IB, ROLE_B, ROLE_G


@compiled
def reduction_roles(nest: Any) -> int:
    """Roles along which the sums of the result run: the innermost loops."""
    return _SPATIAL if nest.lhs == _COLUMN else _KERNEL


@compiled
def weight_roles(nest: Any) -> int:
    """Roles that the block of the right operand depends on."""
    return _OUTER | (_SPATIAL if nest.lhs == _COLUMN else _KERNEL)


@compiled
def result_roles(nest: Any) -> int:
    """Roles that the block of the result depends on."""
    return _OUTER | (_KERNEL if nest.lhs == _COLUMN else _SPATIAL)


@compiled
def _roles_of(nest: Any, kind: int) -> int:
    if kind == STREAM_ACT:
        return FOR_ACT
    if kind == STREAM_OUT:
        return result_roles(nest)
    if kind == MATMULS:
        return FOR_ACT | 1 << ROLE_B
    return weight_roles(nest)


@inlined
def at_loop(level: int) -> int:
    """Where a loop begins in `w`."""
    return LOOPS + level * LOOP


@compiled
def set_loops(nest: Any, w: Any) -> int:
    """Set up the loops in `w`. Returns how many have more than one block."""
    counts, roles = block_counts(nest), loop_roles(nest)
    live, size = 0, 1
    for level in range(LEVELS):
        role = roles[level]
        count = counts[role]
        if count == 1:
            continue
        loop = at_loop(live)
        w[loop + ROLE], w[loop + COUNT], w[loop + SIZE] = role, count, size
        w[loop + LOW], w[loop + HIGH] = regular_range(nest, role, count)
        w[loop + REACH] = 1 if size > 1 else 2
        _set_moves(nest, role, w, loop)
        size *= count
        live += 1
    for kind in range(KINDS):
        _set_places(w, live, kind, _roles_of(nest, kind))
    _set_recurs(w, live)
    set_step(w, live, AT, 0)
    set_step(w, live, AHEAD, 0)
    return live


@compiled
def _set_recurs(w: Any, live: int) -> None:
    """Single steps recur where two blocks of their loop look alike, others also with an outer loop."""
    outer = False
    for level in range(live - 1, -1, -1):
        loop = at_loop(level)
        alike = w[loop + HIGH] - w[loop + REACH] - w[loop + LOW] >= 2
        w[loop + RECURS] = alike or (outer and w[loop + SIZE] > 1)
        outer = outer or w[loop + HIGH] > w[loop + LOW]


@compiled
def _set_places(w: Any, live: int, kind: int, roles: int) -> None:
    """A kind's code numbers the blocks of all loops that it depends on, regular ones as 0."""
    place = 1
    for level in range(live):
        loop = at_loop(level)
        w[loop + PLACE + kind] = 0
        if roles >> w[loop + ROLE] & 1:
            w[loop + PLACE + kind] = place
            place *= 1 + w[loop + COUNT] - max(w[loop + HIGH] - w[loop + LOW] + 1, 0)


@inlined
def irregularity(w: Any, loop: int, block: int) -> int:
    """0 for a regular block, a number of its own from 1 for each other one."""
    low, high = w[loop + LOW], w[loop + HIGH]
    if high < low or block < low:
        return block + 1
    return low + block - high if block > high else 0


@compiled
def code_of(w: Any, live: int, kind: int, walker: int) -> int:
    """Code of a kind's block at AT or AHEAD (`walker`); blocks of equal code are alike."""
    code = 0
    for level in range(live):
        loop = at_loop(level)
        code += w[loop + PLACE + kind] * w[loop + walker + _IRREGULAR]
    return code


@compiled
def regular_range(nest: Any, role: int, count: int) -> Any:
    """(low, high) blocks of a loop that are full and touch no border; high < low where none is."""
    if role in (ROLE_TX, ROLE_TY):
        return 0, -1
    if role == ROLE_CB:
        return 0, count - 1 - (nest.channels % nest.block_channels > 0)
    if role == ROLE_B:
        return 0, count - 1 - (nest.columns % nest.block_columns > 0)
    if role == ROLE_IB:
        return 0, count - 1 - (nest.images % nest.block_images > 0)
    if role == ROLE_G:
        return 0, count - 1
    return _regular_rows(nest, count)


@compiled
def _regular_rows(nest: Any, count: int) -> Any:
    reach = (nest.taps_y - 1) * nest.step_y
    step = nest.block_h * nest.stride_y
    before = nest.origin_y + min(reach, 0)
    after = nest.origin_y + (nest.block_h - 1) * nest.stride_y + max(reach, 0)
    low = max(0, -(before // step))
    full = count - 1 - (nest.out_h % nest.block_h > 0)
    return low, min(full, (nest.in_h - 1 - after) // step)


@compiled
def _set_moves(nest: Any, role: int, w: Any, loop: int) -> None:
    move = loop + MOVE
    w[move + STREAM_ACT] = _act_move(nest, role)
    w[move + STREAM_WGT] = _wgt_move(nest, role)
    w[move + STREAM_IDX] = w[move + STREAM_WGT] // 4
    w[move + STREAM_OUT] = _out_move(nest, role)
    w[move + STREAM_TABLE] = _table_move(nest, role)


@compiled
def _act_move(nest: Any, role: int) -> int:
    """Bytes from block to block of the left operand. Blocks of taps are all irregular."""
    if role == ROLE_G:
        return int(nest.act_group)
    if role == ROLE_IB:
        return int(nest.block_images * nest.act_image)
    if role == ROLE_YB:
        return int(nest.block_h * nest.stride_y * nest.act_row)
    return int(2 * nest.block_channels) if role == ROLE_CB else 0


@compiled
def _wgt_move(nest: Any, role: int) -> int:
    if role == ROLE_G:
        return int(nest.wgt_group)
    if role == ROLE_B:
        if nest.segments > 0:
            return int(nest.segments * nest.segment_channels * nest.wgt_entry)
        return int(2 * nest.block_columns)
    if nest.lhs == _COLUMN:
        tokens = nest.out_w * nest.wgt_entry
        if role == ROLE_IB:
            return int(nest.block_images * nest.out_h * tokens)
        return int(nest.block_h * tokens) if role == ROLE_YB else 0
    return int(entries_of(nest, nest.block_channels) * nest.wgt_entry) if role == ROLE_CB else 0


@compiled
def _out_move(nest: Any, role: int) -> int:
    if role == ROLE_G:
        return int(nest.out_group)
    if nest.lhs == _COLUMN:
        if role == ROLE_B:
            return int(4 * nest.block_columns)
        return int(nest.block_channels * nest.out_pixel) if role == ROLE_CB else 0
    if role == ROLE_B:
        return int(2 * nest.block_columns)
    if role == ROLE_IB:
        return int(nest.block_images * nest.out_image)
    return int(nest.block_h * nest.out_row) if role == ROLE_YB else 0


@compiled
def _table_move(nest: Any, role: int) -> int:
    if nest.segments == 0:
        return 0
    size = table_bytes(nest)
    if role == ROLE_G:
        return int(size * ceil_div(nest.columns, nest.block_columns))
    return int(size) if role == ROLE_B else 0


@compiled
def set_step(w: Any, live: int, walker: int, step: int) -> None:
    """Move AT or AHEAD (`walker`) to a step."""
    for level in range(live):
        loop = at_loop(level)
        count = w[loop + COUNT]
        _set_block(w, loop, walker, step % count)
        step //= count


@compiled
def advance(w: Any, live: int, walker: int) -> int:
    """Move AT or AHEAD to its next step. Returns the loop that goes on, `live` where the nest ends."""
    for level in range(live):
        loop = at_loop(level)
        block = w[loop + walker] + 1
        if block < w[loop + COUNT]:
            _set_block(w, loop, walker, block)
            return level
        _set_block(w, loop, walker, 0)
    return live


@inlined
def _set_block(w: Any, loop: int, walker: int, block: int) -> None:
    w[loop + walker] = block
    w[loop + walker + _IRREGULAR] = irregularity(w, loop, block)


@compiled
def entered(w: Any, live: int, walker: int) -> int:
    """The loop that went on to reach AT or AHEAD; `live` at the nest's first step."""
    level = 0
    while level < live and w[at_loop(level) + walker] == 0:
        level += 1
    return level


@compiled
def turning(w: Any, live: int, level: int) -> int:
    """The first loop from `level` on that is not at its last block."""
    while level < live and w[at_loop(level) + AT] == w[at_loop(level) + COUNT] - 1:
        level += 1
    return level


@compiled
def step_count(w: Any, live: int) -> int:
    """Steps of the nest."""
    return w[at_loop(live - 1) + SIZE] * w[at_loop(live - 1) + COUNT] if live > 0 else 1


@compiled
def moves_from(w: Any, live: int, roles: int) -> int:
    """The innermost loop along one of `roles`: where it or an outer one goes on, an operand changes."""
    level = 0
    while level < live and not roles >> w[at_loop(level) + ROLE] & 1:
        level += 1
    return level


@compiled
def inner_loops(w: Any, live: int, roles: int) -> int:
    """How many of the innermost loops run along `roles`."""
    level = 0
    while level < live and roles >> w[at_loop(level) + ROLE] & 1:
        level += 1
    return level
