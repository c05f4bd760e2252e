"""Repetition in a nest: what one iteration of a loop does is walked once for each state it starts in.

The state between two iterations of a loop is every pending time relative to the DMA's next issue,
the tokens that wait, the bursts in flight, the descriptor registers, the burst phase of the
addresses, and which block of each loop it is: regular ones (not near the end) count as the same. A
time that can no longer delay anything counts as zero.

Where a state returns in the same run of a loop, all whole periods that fit into the rest of its regular
iterations are left out. Where it returns in a later run, the iteration's effect is applied unwalked.
"""

from typing import Any

from hwsim.bursts import FREE, outstanding_delays, set_channel, shift_channel
from hwsim.config_vector import CONFIG_POSITION
from hwsim.constants import DMA_START_CYCLES
from hwsim.jit import compiled, inlined

from .blocks import BLOCKS_END, PHASED
from .loops import (
    AT,
    COUNT,
    HIGH,
    KNOWN,
    LOW,
    MOVE,
    OPEN,
    REACH,
    RECURS,
    ROUND,
    SIZE,
    at_loop,
    turning,
)
from .state import (
    ACT_LOADS,
    BANK,
    BYTES_READ,
    CLOCK,
    DMA_DONE,
    DMA_FREE,
    LEVELS,
    STCE_FREE,
    STREAMS,
    TOKENS_ACC_FREE,
    TOKENS_ACT_FREE,
    TOKENS_ACT_FULL,
    TOKENS_WGT_FREE,
    TOKENS_WGT_FULL,
)

_OUTSTANDING = CONFIG_POSITION["outstanding"]
_REGULAR = -1
_CLOSED = -1

_ARRAY, _BEGUN, _ENDED, _LABELS = 0, 1, 2, 3
_PHASES = _LABELS + LEVELS
_CHANNEL = _PHASES + STREAMS
_LOADS = _CHANNEL + 1
_BANKS = _LOADS + 3
_TOKENS = _BANKS + STREAMS + 1
_SEMAPHORES = 5
_IN_FLIGHT = _TOKENS + 3 * _SEMAPHORES
_DELAYS = _IN_FLIGHT + 1
"""A key: the array, how many loops begin and end here, a label for each loop, address phases, the channel,
loads and blocks, banks, tokens, whether bursts in flight matter and their delays."""

_SEEN = 0
_CLOCK_THEN = _SEEN + 2
_GAIN = _CLOCK_THEN + CLOCK
_KEY = _GAIN + CLOCK
"""A slot: when its state was met last (round of the loop, block, clock), what the iteration adds to the
clock, the key in which it begins, the key in which it ends."""

_SLOTS = 24
"""States remembered for each loop; the oldest is forgotten first."""

_KEY_SIZE = BLOCKS_END
_NOW = _KEY_SIZE + 1
"""The key that is looked up; after it the slots."""


@compiled
def memory_end(config: Any) -> int:
    """Length of `w`."""
    size = _DELAYS + config[_OUTSTANDING]
    return _NOW + size + LEVELS * _SLOTS * (_KEY + 2 * size)


@inlined
def _at_slot(w: Any, level: int, slot: int) -> int:
    """Where a slot begins in `w`."""
    size = w[_KEY_SIZE]
    return _NOW + size + (level * _SLOTS + slot) * (_KEY + 2 * size)


@compiled
def reset_memory(w: Any, live: int, config: Any) -> None:
    """Forget everything."""
    w[_KEY_SIZE] = _DELAYS + config[_OUTSTANDING]
    for phase in range(STREAMS):
        w[_NOW + _PHASES + phase] = 0
    for level in range(live):
        loop = at_loop(level)
        w[loop + OPEN], w[loop + KNOWN], w[loop + ROUND] = _CLOSED, 0, 0


@inlined
def _write_tokens(w: Any, token: int, consumer: int, base: int, place: int) -> None:
    waiting = w[token]
    w[place] = waiting
    w[place + 1] = max(w[token + 1], consumer) - base if waiting > 0 else 0
    w[place + 2] = max(w[token + 2], consumer) - base if waiting > 1 else 0


@compiled
def _write_state(w: Any, channel: Any, key: int) -> None:
    """The state relative to the DMA's next issue, into the key that begins at w[key]."""
    base, array = w[DMA_FREE], w[STCE_FREE]
    w[key + _ARRAY] = array - base
    w[key + _CHANNEL] = max(channel[FREE] - base - DMA_START_CYCLES, 0)
    for ordinal in range(3):
        w[key + _LOADS + ordinal] = min(w[ACT_LOADS + ordinal], 2)
    for bank in range(STREAMS + 1):
        w[key + _BANKS + bank] = w[BANK + bank]
    tokens = key + _TOKENS
    _write_tokens(w, TOKENS_ACT_FULL, array, base, tokens)
    _write_tokens(w, TOKENS_WGT_FULL, array, base, tokens + 3)
    _write_tokens(w, TOKENS_ACC_FREE, array, base, tokens + 6)
    _write_tokens(w, TOKENS_ACT_FREE, base, base, tokens + 9)
    _write_tokens(w, TOKENS_WGT_FREE, base, base, tokens + 12)
    delays = w[key + _DELAYS : key + w[_KEY_SIZE]]
    w[key + _IN_FLIGHT] = outstanding_delays(channel, base, delays)


@compiled
def _restore(w: Any, channel: Any, key: int, moved: bool) -> None:
    """Inverse of `_write_state`, from the DMA's next issue that the clock shows."""
    base = w[DMA_FREE]
    w[STCE_FREE] = base + w[key + _ARRAY]
    for ordinal in range(3):
        w[ACT_LOADS + ordinal] = w[key + _LOADS + ordinal]
    for bank in range(STREAMS + 1):
        w[BANK + bank] = w[key + _BANKS + bank]
    for token in range(TOKENS_ACT_FULL, TOKENS_ACT_FULL + 3 * _SEMAPHORES, 3):
        place = key + _TOKENS + token - TOKENS_ACT_FULL
        w[token], w[token + 1], w[token + 2] = w[place], base + w[place + 1], base + w[place + 2]
    if moved:
        free = base + DMA_START_CYCLES + w[key + _CHANNEL]
        delays = w[key + _DELAYS : key + w[_KEY_SIZE]]
        set_channel(channel, free, base, delays, w[key + _IN_FLIGHT])


@inlined
def _label(w: Any, loop: int, block: int, ahead: int) -> int:
    """_REGULAR where this block and those `ahead` of it are regular."""
    regular = w[loop + LOW] <= block and block + ahead <= w[loop + HIGH]
    return _REGULAR if regular else block


@compiled
def _write_labels(w: Any, live: int, level: int) -> None:
    """What tells this iteration of `level` from others: borders, loops that begin or end here."""
    loop, labels = at_loop(level), _NOW + _LABELS
    block, reach = w[loop + AT], w[loop + REACH]
    first = block <= w[loop + LOW]
    w[labels + level] = block if first else _label(w, loop, block, reach)
    begun = level
    while begun < live and w[at_loop(begun) + AT] == 0:
        begun += 1
    w[_NOW + _BEGUN] = begun
    ended, turns = 0, live
    if block + reach >= w[loop + COUNT]:
        ended = turns = turning(w, live, level + 1)
    w[_NOW + _ENDED] = ended
    for outer in range(level + 1, live):
        loop = at_loop(outer)
        ahead = w[loop + REACH] if outer == turns else 0
        w[labels + outer] = _label(w, loop, w[loop + AT], ahead)


@compiled
def _write_phases(w: Any, live: int, level: int, burst: int) -> None:
    for stream in range(STREAMS):
        phase = 0
        if w[PHASED + stream]:
            for outer in range(level, live):
                phase += w[at_loop(outer) + AT] * w[at_loop(outer) + MOVE + stream]
        w[_NOW + _PHASES + stream] = phase & (burst - 1)


@compiled
def _find(w: Any, live: int, level: int) -> int:
    """Slot of a loop whose key is looked up, or -1."""
    size = w[_KEY_SIZE] if w[_NOW + _IN_FLIGHT] else _DELAYS
    for slot in range(min(w[at_loop(level) + KNOWN], _SLOTS)):
        if _is_now(w, _at_slot(w, level, slot) + _KEY, level, live, size):
            return slot
    return -1


@inlined
def _is_now(w: Any, key: int, level: int, live: int, size: int) -> bool:
    """Labels of loops inside `level` mean nothing."""
    for number in range(_LABELS):
        if w[key + number] != w[_NOW + number]:
            return False
    for number in range(_LABELS + level, _LABELS + live):
        if w[key + number] != w[_NOW + number]:
            return False
    for number in range(_PHASES, size):
        if w[key + number] != w[_NOW + number]:
            return False
    return True


@compiled
def _close(w: Any, level: int, channel: Any) -> None:
    """The iteration of `level` that was being walked has ended: keep where it led."""
    loop = at_loop(level)
    open_slot = w[loop + OPEN]
    w[loop + OPEN] = _CLOSED
    if open_slot != _CLOSED and w[loop + SIZE] > 1:
        slot = _at_slot(w, level, open_slot)
        _write_state(w, channel, slot + _KEY + w[_KEY_SIZE])
        for counter in range(CLOCK):
            w[slot + _GAIN + counter] = w[counter] - w[slot + _CLOCK_THEN + counter]
        w[slot + _GAIN + DMA_DONE] = w[DMA_DONE] - w[DMA_FREE]


@compiled
def _remember(w: Any, level: int) -> None:
    """An iteration is walked: keep where it begins."""
    loop = at_loop(level)
    slot = w[loop + KNOWN] % _SLOTS
    w[loop + KNOWN] += 1
    w[loop + OPEN] = slot
    key = _at_slot(w, level, slot) + _KEY
    for number in range(w[_KEY_SIZE]):
        w[key + number] = w[_NOW + number]
    _note(w, level, slot)


@compiled
def _note(w: Any, level: int, number: int) -> None:
    """The state of a slot is met."""
    loop, slot = at_loop(level), _at_slot(w, level, number)
    w[slot + _SEEN], w[slot + _SEEN + 1] = w[loop + ROUND], w[loop + AT]
    for counter in range(CLOCK):
        w[slot + _CLOCK_THEN + counter] = w[counter]


@compiled
def _periods(w: Any, level: int, number: int) -> int:
    """Whole periods that fit into the regular iterations left, since the slot's state was met last."""
    loop, slot = at_loop(level), _at_slot(w, level, number)
    if w[slot + _SEEN] != w[loop + ROUND] or w[slot + _KEY + _LABELS + level] != _REGULAR:
        return 0
    left = w[loop + HIGH] - w[loop + REACH] - w[loop + AT] + 1
    return max(left, 0) // (w[loop + AT] - w[slot + _SEEN + 1])


@compiled
def _skip(w: Any, level: int, number: int, periods: int, channel: Any) -> int:
    """Leave out whole periods. Returns the steps left out."""
    loop, slot = at_loop(level), _at_slot(w, level, number)
    elapsed = periods * (w[DMA_FREE] - w[slot + _CLOCK_THEN + DMA_FREE])
    for counter in range(BYTES_READ, CLOCK):
        w[counter] += periods * (w[counter] - w[slot + _CLOCK_THEN + counter])
    for time in range(BYTES_READ):
        w[time] += elapsed
    for token in range(TOKENS_ACT_FULL, TOKENS_ACT_FULL + 3 * _SEMAPHORES, 3):
        w[token + 1] += elapsed
        w[token + 2] += elapsed
    shift_channel(channel, elapsed)
    return periods * (w[loop + AT] - w[slot + _SEEN + 1]) * w[loop + SIZE]


@compiled
def _apply(w: Any, level: int, number: int, channel: Any) -> int:
    """Apply one iteration's effect. Returns its steps."""
    slot = _at_slot(w, level, number)
    w[DMA_FREE] += w[slot + _GAIN + DMA_FREE]
    for counter in range(BYTES_READ, CLOCK):
        w[counter] += w[slot + _GAIN + counter]
    moved = w[slot + _GAIN + DMA_FREE] > 0
    if moved:
        w[DMA_DONE] = w[DMA_FREE] + w[slot + _GAIN + DMA_DONE]
    _restore(w, channel, slot + _KEY + w[_KEY_SIZE], moved)
    return w[at_loop(level) + SIZE]


@compiled
def recall(w: Any, live: int, channel: Any, burst: int) -> int:
    """Steps that are left out at this position; their effect is applied to the state."""
    begins = 1
    while begins < live and w[at_loop(begins - 1) + AT] == 0:
        begins += 1
    for level in range(begins):
        _close(w, level, channel)
        w[at_loop(level) + ROUND] += level < begins - 1
    written = False
    for level in range(begins - 1, -1, -1):
        if not _worth_it(w, level):
            continue
        if not written:
            _write_state(w, channel, _NOW)
            written = True
        _write_labels(w, live, level)
        if w[PHASED + STREAMS]:
            _write_phases(w, live, level, burst)
        slot = _find(w, live, level)
        if slot < 0:
            _remember(w, level)
            continue
        periods = _periods(w, level, slot)
        if periods > 0:
            return _skip(w, level, slot, periods, channel)
        _note(w, level, slot)
        if w[at_loop(level) + SIZE] > 1:
            return _apply(w, level, slot, channel)
    return 0


@inlined
def _worth_it(w: Any, level: int) -> bool:
    """Single steps are looked up only where whole periods may be left out."""
    loop = at_loop(level)
    block = w[loop + AT]
    inside = w[loop + LOW] < block and block + w[loop + REACH] <= w[loop + HIGH]
    return w[loop + RECURS] and (w[loop + SIZE] > 1 or inside)
