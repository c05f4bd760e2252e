"""Repetition in a nest: what one iteration of a loop does is walked once for each state it starts in.

The state between two iterations of a loop is every pending time relative to the DMA's next issue,
the tokens that wait, the bursts in flight, the descriptor registers, the burst phase of the
addresses, and which iteration of each loop it is: regular ones (full blocks, no border, not near
the end) count as the same. A time that can no longer delay anything counts as zero. Where a state
returns, the iteration's effect is applied without walking it; where it leaves the state as it was,
all remaining regular ones at once.
"""

from typing import Any

import numpy as np

from hwsim.bursts import _DEPTH, _HEAD, _RING, FREE, LAST_GRANT
from hwsim.bursts import _delay as ring_delay
from hwsim.config_vector import CONFIG_POSITION
from hwsim.jit import compiled

from .state import (
    ACC_FREE,
    ACT_FULL,
    ACT_LANES,
    CLOCK,
    DMA_FREE,
    DMA_REGISTERS,
    LANES,
    LEVELS,
    ROLE_B,
    ROLE_CB,
    ROLE_G,
    ROLE_IB,
    ROLE_TX,
    ROLE_TY,
    ROLE_YB,
    SEMAPHORES_USED,
    STCE_FREE,
    STCE_REGISTERS,
    STREAMS,
    TOKEN_RING,
    WGT_FULL,
)
from .transfers import act_transfer, idx_transfer, out_transfer, wgt_transfer

_LOW, _HIGH, _STEPS = range(3)
_OUTSTANDING = CONFIG_POSITION["outstanding"]
_KEPT_TOKENS = 4
_PHASES = 4
_BEGUN = LEVELS
_ENDED = LEVELS + 1
_LABELS = LEVELS + 2
"""Entries of a key before the phases: a label for each loop, how many loops begin and end here."""
_REGISTERS = STREAMS * DMA_REGISTERS + STCE_REGISTERS
_ORDINALS = 4
_FIXED = 2 + _ORDINALS + SEMAPHORES_USED * (1 + _KEPT_TOKENS)
"""Entries of a state beside registers and the bursts in flight."""
_KNOWN = 32
"""States remembered for each loop; the oldest is forgotten first."""
REGULAR = -1
_NOT_OPEN = -1


@compiled
def regular_range(nest: Any, role: int, count: int) -> Any:
    """(low, high) iterations of a loop whose blocks are full and touch no border."""
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
def _transfer_of(nest: Any, stream: int, at: Any, shape: Any) -> Any:
    """The transfer of one stream (act, wgt, idx, out) at a step."""
    g, ib, yb = at[ROLE_G], at[ROLE_IB], at[ROLE_YB]
    ty, tx, cb, b = at[ROLE_TY], at[ROLE_TX], at[ROLE_CB], at[ROLE_B]
    if stream == 0:
        return act_transfer(nest, g, ib, yb, ty, tx, cb, shape[ACT_LANES])
    if stream == 3:
        return out_transfer(nest, g, ib, yb, ty, tx, cb, b, shape[LANES])
    values = wgt_transfer(nest, g, ib, yb, ty, tx, cb, b, shape[LANES])
    return idx_transfer(nest, values) if stream == 2 else values


@compiled
def _address_step(nest: Any, stream: int, role: int, low: int, shape: Any) -> int:
    """Bytes by which one iteration of a loop moves a stream's address."""
    at = np.zeros(LEVELS, np.int64)
    at[role] = low
    start = _transfer_of(nest, stream, at, shape)[0]
    at[role] = low + 1
    return _transfer_of(nest, stream, at, shape)[0] - start


@compiled
def _in_pieces(nest: Any, stream: int, steps: Any, shape: Any) -> bool:
    """Whether every run of a stream lies inside one aligned piece of a burst.

    Then neither its number of bursts nor of bus words depends on the address.
    """
    run = _transfer_of(nest, stream, np.zeros(LEVELS, np.int64), shape)
    bits = run[0] | run[3] | run[5] | run[7]
    bits |= nest.act_pixel | nest.act_row if stream == 0 else 0
    for level in range(LEVELS):
        bits |= steps[level, stream]
    return bool(bits == 0 or run[1] <= bits & -bits)


@compiled
def set_ring_delay(channel: Any, age: int, delay: int) -> None:
    """Let a burst of the ring be done `delay` cycles after FREE; age 0 is the oldest."""
    place = channel[_HEAD] + age
    if place >= channel[_DEPTH]:
        place -= channel[_DEPTH]
    channel[_RING + place] = channel[FREE] + delay


@compiled
def new_memory(config: Any) -> Any:
    """Room for what `recall` remembers: (loops, address steps, keys, exits, clocks, counts, open, key)."""
    state = _FIXED + config[_OUTSTANDING] + _REGISTERS
    return (
        np.zeros((LEVELS, 3), np.int64),
        np.zeros((LEVELS, _PHASES), np.int64),
        np.zeros((LEVELS, _KNOWN, _LABELS + _PHASES + state), np.int64),
        np.zeros((LEVELS, _KNOWN, state), np.int64),
        np.zeros((LEVELS, _KNOWN, CLOCK), np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros(_LABELS + _PHASES + state, np.int64),
    )


@compiled
def reset_memory(memory: Any, nest: Any, counts: Any, roles: Any, shape: Any) -> None:
    """Forget everything and set up the loops of a nest."""
    loops, steps, known, opened = memory[0], memory[1], memory[5], memory[6]
    known[:] = 0
    opened[:] = _NOT_OPEN
    size = 1
    for level in range(LEVELS):
        role = roles[level]
        count = counts[role]
        loops[level, _STEPS] = size
        steps[level] = 0
        loops[level, _LOW], loops[level, _HIGH] = regular_range(nest, role, count)
        if count > 1:
            low = max(0, min(loops[level, _LOW], count - 2))
            for stream in range(_PHASES):
                steps[level, stream] = _address_step(nest, stream, role, low, shape)
        size *= count
    for stream in range(_PHASES):
        if _in_pieces(nest, stream, steps, shape):
            steps[:, stream] = 0


@compiled
def _write_state(state: Any, found: Any) -> bool:
    """The state relative to the DMA's next issue. False where it has more than `found` can hold."""
    clock, channel, tokens, made, used = state[0], state[1], state[2], state[3], state[4]
    ordinals, transfers, array_registers = state[5], state[6], state[7]
    base, array = clock[DMA_FREE], clock[STCE_FREE]
    found[0] = array - base
    found[1] = max(channel[FREE] - base, 0)
    position = 2
    for ordinal in range(_ORDINALS):
        found[position] = min(ordinals[ordinal], 2)
        position += 1
    for semaphore in range(SEMAPHORES_USED):
        pending = made[semaphore] - used[semaphore]
        if pending > _KEPT_TOKENS:
            return False
        found[position] = pending
        by_array = semaphore in (ACT_FULL, WGT_FULL, ACC_FREE)
        consumer = array if by_array else base
        for kept in range(_KEPT_TOKENS):
            value = 0
            if kept < pending:
                time = tokens[semaphore, (used[semaphore] + kept) % TOKEN_RING]
                value = max(time, consumer) - base
            found[position + 1 + kept] = value
        position += 1 + _KEPT_TOKENS
    for stream in range(STREAMS):
        for register in range(DMA_REGISTERS):
            found[position] = transfers[stream, register]
            position += 1
    for register in range(STCE_REGISTERS):
        found[position] = array_registers[register]
        position += 1
    for age in range(found.shape[0] - position):
        found[position + age] = ring_delay(channel, age)
    return True


@compiled
def _restore(state: Any, found: Any) -> None:
    """Inverse of `_write_state`, from the DMA's next issue that the clock shows."""
    clock, channel, tokens, made, used = state[0], state[1], state[2], state[3], state[4]
    transfers, array_registers = state[6], state[7]
    base = clock[DMA_FREE]
    for ordinal in range(_ORDINALS):
        state[5][ordinal] = found[2 + ordinal]
    channel[FREE] = base + found[1]
    channel[LAST_GRANT] = base - 1
    position = 2 + _ORDINALS
    for semaphore in range(SEMAPHORES_USED):
        pending = found[position]
        made[semaphore] = used[semaphore] + pending
        for kept in range(pending):
            slot = (used[semaphore] + kept) % TOKEN_RING
            tokens[semaphore, slot] = base + found[position + 1 + kept]
        position += 1 + _KEPT_TOKENS
    for stream in range(STREAMS):
        for register in range(DMA_REGISTERS):
            transfers[stream, register] = found[position]
            position += 1
    for register in range(STCE_REGISTERS):
        array_registers[register] = found[position]
        position += 1
    for age in range(found.shape[0] - position):
        set_ring_delay(channel, age, found[position + age])


@compiled
def _reach(loop: Any) -> int:
    """Iterations of a loop into which loading two steps ahead reaches."""
    return 1 if loop[_STEPS] > 1 else 2


@compiled
def _label(loop: Any, position: int, ahead: int) -> int:
    """REGULAR where this iteration's blocks and those `ahead` of it are regular."""
    regular = loop[_LOW] <= position and position + ahead <= loop[_HIGH]
    return REGULAR if regular else position


@compiled
def _write_labels(memory: Any, level: int, at: Any, counts: Any, roles: Any) -> None:
    """What tells this iteration of `level` from others: borders, loops that begin or end here."""
    loops, key = memory[0], memory[7]
    position = at[roles[level]]
    ahead = _reach(loops[level])
    key[level] = (
        _label(loops[level], position, ahead) if position > loops[level, _LOW] else position
    )
    begun = level
    while begun < LEVELS and at[roles[begun]] == 0:
        begun += 1
    key[_BEGUN] = begun
    turning = LEVELS
    if position + ahead >= counts[roles[level]]:
        turning = level + 1
        while turning < LEVELS and at[roles[turning]] == counts[roles[turning]] - 1:
            turning += 1
        key[_ENDED] = turning
    for outer in range(level + 1, LEVELS):
        ahead = _reach(loops[outer]) if outer == turning else 0
        key[outer] = _label(loops[outer], at[roles[outer]], ahead)


@compiled
def _write_key(
    memory: Any, level: int, at: Any, counts: Any, roles: Any, state: Any, burst: int
) -> bool:
    """The key of the iteration of `level` that starts at `at`."""
    steps, key = memory[1], memory[7]
    key[: _LABELS + _PHASES] = 0
    _write_labels(memory, level, at, counts, roles)
    for outer in range(level, LEVELS):
        for phase in range(_PHASES):
            key[_LABELS + phase] += at[roles[outer]] * steps[outer, phase]
    for phase in range(_PHASES):
        key[_LABELS + phase] %= burst
    return _write_state(state, key[_LABELS + _PHASES :])


@compiled
def _close(memory: Any, level: int, state: Any) -> None:
    """The iteration of `level` that was being walked has ended: keep where it led."""
    exits, clocks, opened = memory[3], memory[4], memory[6]
    slot = opened[level]
    if slot == _NOT_OPEN:
        return
    opened[level] = _NOT_OPEN
    if _write_state(state, exits[level, slot]):
        clocks[level, slot] = state[0] - clocks[level, slot]
        memory[5][level] += 1


@compiled
def recall(memory: Any, at: Any, counts: Any, roles: Any, state: Any, burst: int) -> int:
    """Steps that are left out at this position; their effect is applied to `state`."""
    loops, keys, clocks = memory[0], memory[2], memory[4]
    known, opened, key = memory[5], memory[6], memory[7]
    deepest = 0
    while deepest < LEVELS and (deepest == 0 or at[roles[deepest - 1]] == 0):
        _close(memory, deepest, state)
        deepest += 1
    for level in range(deepest - 1, -1, -1):
        if counts[roles[level]] == 1 or opened[level] != _NOT_OPEN:
            continue
        if not _write_key(memory, level, at, counts, roles, state, burst):
            return 0
        for slot in range(min(known[level], _KNOWN)):
            if np.array_equal(key, keys[level, slot]):
                times = _repetitions(memory, level, slot, at, roles, burst)
                _apply(memory, level, slot, state, times)
                return times * loops[level, _STEPS]
        slot = known[level] % _KNOWN
        keys[level, slot] = key
        clocks[level, slot] = state[0]
        opened[level] = slot
    return 0


@compiled
def _repetitions(memory: Any, level: int, slot: int, at: Any, roles: Any, burst: int) -> int:
    """1, or all iterations to the end of the regular ones where one of them changes nothing."""
    loops, steps, keys, exits = memory[0], memory[1], memory[2], memory[3]
    position = at[roles[level]]
    left = loops[level, _HIGH] - _reach(loops[level]) - position + 1
    if keys[level, slot, level] != REGULAR or left < 2:
        return 1
    for phase in range(_PHASES):
        if steps[level, phase] % burst:
            return 1
    if np.array_equal(keys[level, slot, _LABELS + _PHASES :], exits[level, slot]):
        return left
    return 1


@compiled
def _apply(memory: Any, level: int, slot: int, state: Any, times: int) -> None:
    state[0][:] += times * memory[4][level, slot]
    _restore(state, memory[3][level, slot])
