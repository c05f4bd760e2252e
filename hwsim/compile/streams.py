"""Tiles that stream through the scratchpads: their exact time, and the instructions themselves.

A section runs equal tiles, numbered 0, 1, ... over its loops, innermost loop first. Its table has one
row for each instruction of a tile. In step s an instruction runs for tile s + AHEAD: loads are one
tile ahead, so that they fill one half of a scratchpad while the units work on the other; what several
units work on in turn is stored a tile later. Tile t lies in half t mod 2. A section drains before the
next one begins.

When time is asked and not the instructions, a loop that has come back to the same relative state
(units, tokens, bursts in flight, burst phase of the addresses) is not walked on: the iterations up to
its end, or to the tiles that drain, cost whole multiples of the time between the two states.
"""

from typing import Any, NamedTuple

import numpy as np

from hwsim.bursts import (
    BURSTS,
    BUSY,
    FREE,
    advance_channel,
    burst_delay,
    channel_size,
    reset_channel,
    transfer,
)
from hwsim.config_vector import CONFIG_POSITION
from hwsim.constants import CONFIG_CYCLES, FETCH_CYCLES, HALT_CYCLES, SEMAPHORE_CYCLES, SEMAPHORES
from hwsim.durations import prune_cycles, update_cycles, vector_cycles
from hwsim.isa import Op, Unit
from hwsim.jit import compiled

LEVELS = 5
"""Loops of a section."""
ADDRESSES = 4
"""Scratchpad addresses of an instruction at most."""
REGISTERS = 10
"""Registers of a bank of the DMA, SORE or WUVE at most, padded to CONFIG's pairs."""

UNIT, OP, BANK, CODE, AHEAD, WAIT, LATE_WAIT, SIGNAL, EARLY_SIGNAL, FENCES, DRAM = range(11)
STEPS = 11
ADDRESS = STEPS + LEVELS
HALF = ADDRESS + ADDRESSES
REGISTER = HALF + ADDRESSES
TABLE_WIDTH = REGISTER + REGISTERS
"""Columns of a section's table.

CODE: space or operation. LATE_WAIT: semaphores of tiles 2, 3, ...; EARLY_SIGNAL: of all tiles but
the last two. FENCES: see FENCE_WAIT. STEPS: bytes by which each loop moves DRAM. HALF: words by which
odd tiles move ADDRESS.
"""

FENCE_WAIT, FENCE_SIGNAL = 1, 2
"""Bits of FENCES. A fence orders transfers: the first one of a section waits for the last one of the
section before, and in a fenced section each group of transfers for the one before it."""

(
    LOADED,
    UPDATED,
    ACT_FULL,
    ACT_FREE,
    PACKED,
    WGT_FREE,
    ACT_LOADED,
    FENCE,
) = range(6, 14)
"""Semaphores; those before serve the products of `walk`.

LOADED DMA -> WUVE, UPDATED WUVE -> DMA, ACT_FULL WUVE -> SORE, ACT_FREE SORE -> WUVE, PACKED SORE ->
DMA, WGT_FREE DMA -> SORE, ACT_LOADED DMA -> SORE, FENCE DMA -> DMA.
"""
_FIRST_SEMAPHORE = LOADED
_TOKEN_RING = 8
_KEPT_TOKENS = 3
"""Tokens of one semaphore that can be waiting at a time: two halves and a margin."""
_BANKS = 32

RECORD_WIDTH = 5
"""row of the table, tile, wait, signal, mask of the register pairs that are written before."""

BYTES_READ, BYTES_WRITTEN, SORE_BUSY, WUVE_BUSY, INSTRUCTIONS = range(5)
COUNTERS = 5
_DONE = len(Unit)
"""Slot of `times` beside the units: completion of the last transfer."""

_LOAD, _STORE = int(Op.LOAD), int(Op.STORE)
_PRUNE, _UPDATE = int(Op.PRUNE), int(Op.UPDATE)
_DMA, _UNITS = int(Unit.DMA), len(Unit)
_OUTSTANDING = CONFIG_POSITION["outstanding"]
_AXI_BYTES, _BURST_BEATS = CONFIG_POSITION["axi_bytes"], CONFIG_POSITION["burst_beats"]
_LATE_TILES = 2
"""Tiles of a half's first and last use: they neither wait for it to be free nor free it."""
_NEVER = -1


class State(NamedTuple):
    """What the timing carries from step to step: int64 arrays.

    times: (units + 1,) each unit's next issue, and _DONE. counters: (COUNTERS,). tokens: (semaphores,
    ring) cycles at which they may be consumed; made, used: how many so far. registers: (units, banks,
    REGISTERS). channel: of `hwsim.bursts`.
    """

    times: Any
    counters: Any
    tokens: Any
    made: Any
    used: Any
    registers: Any
    channel: Any


class Snapshots(NamedTuple):
    """One state for each loop: at which step, until when it is kept, and what it was.

    at, until: (LEVELS,). times: (LEVELS,) the DMA's next issue. counters: (LEVELS, COUNTERS).
    channel: (LEVELS, 2) bursts and busy cycles. relative: (LEVELS, state). scratch: (state,).
    """

    at: Any
    until: Any
    times: Any
    counters: Any
    channel: Any
    relative: Any
    scratch: Any


@compiled
def new_state(config: Any) -> State:
    """The state at cycle 0. config: `config_vector`."""
    channel = np.zeros(channel_size(config), np.int64)
    reset_channel(channel, config)
    return State(
        np.full(_UNITS + 1, FETCH_CYCLES, np.int64),
        np.zeros(COUNTERS, np.int64),
        np.zeros((SEMAPHORES, _TOKEN_RING), np.int64),
        np.zeros(SEMAPHORES, np.int64),
        np.zeros(SEMAPHORES, np.int64),
        np.zeros((_UNITS, _BANKS, REGISTERS), np.int64),
        channel,
    )


@compiled
def finished(state: State) -> int:
    """Cycles of a program that ends here."""
    return int(max(state.times)) + HALT_CYCLES


@compiled
def price_sections(
    table: Any, ends: Any, loops: Any, fenced: Any, config: Any, counters: Any
) -> int:
    """Cycles of sections as one program; see `sections.Streams`. counters: (COUNTERS,), written."""
    state, nothing = new_state(config), np.zeros((0, RECORD_WIDTH), np.int64)
    begin = 0
    for section in range(ends.shape[0]):
        part = table[begin : ends[section]]
        walk_section(part, loops[section], fenced[section] != 0, config, state, nothing)
        begin = ends[section]
    counters[:] = state.counters
    return finished(state)


@compiled
def walk_section(
    table: Any, counts: Any, fenced: bool, config: Any, state: State, record: Any
) -> int:
    """Run one section from `state`, which it advances. Returns the rows recorded.

    table: (instructions, TABLE_WIDTH). counts: (LEVELS,) of the loops, innermost first. record: (rows,
    RECORD_WIDTH) to fill, or (0, RECORD_WIDTH) when only time is asked.
    """
    tiles = counts.prod()
    snapshots = _new_snapshots(config)
    recorded, step = 0, -1
    while step <= tiles:
        if record.shape[0] == 0:
            step += _skip(snapshots, table, counts, step, state, config)
        for index in range(table.shape[0]):
            tile = step + table[index, AHEAD]
            if 0 <= tile < tiles:
                recorded += _execute(
                    table[index], index, tile, counts, fenced, config, state, record, recorded
                )
        step += 1
    return recorded


@compiled
def _execute(
    row: Any,
    index: int,
    tile: int,
    counts: Any,
    fenced: bool,
    config: Any,
    state: State,
    record: Any,
    recorded: int,
) -> int:
    """One instruction and the CONFIGs before it. Returns the rows recorded: 0 or 1."""
    tiles = counts.prod()
    pairs = _configure(row, state) if tile == 0 else 0
    wait = _wait(row, tile, fenced, state)
    signal = row[SIGNAL] | (row[EARLY_SIGNAL] if tile + _LATE_TILES < tiles else 0)
    if row[FENCES] & FENCE_SIGNAL and (fenced or tile == tiles - 1):
        signal |= 1 << FENCE
    issue = max(state.times[row[UNIT]], _consume(state, wait))
    completion = _run(row, tile_address(row, tile, counts), issue, config, state)
    state.counters[INSTRUCTIONS] += 1
    _produce(state, signal, completion)
    if record.shape[0] == 0:
        return 0
    found = record[recorded]
    found[0], found[1], found[2], found[3], found[4] = index, tile, wait, signal, pairs
    return 1


@compiled
def _configure(row: Any, state: State) -> int:
    """Write the registers of the instruction's bank; returns the mask of the pairs that change."""
    known, pairs = state.registers[row[UNIT], row[BANK]], 0
    for pair in range(REGISTERS // 2):
        first, wanted = 2 * pair, REGISTER + 2 * pair
        if known[first] != row[wanted] or known[first + 1] != row[wanted + 1]:
            known[first], known[first + 1] = row[wanted], row[wanted + 1]
            pairs |= 1 << pair
            state.times[row[UNIT]] += CONFIG_CYCLES
            state.counters[INSTRUCTIONS] += 1
    return pairs


@compiled
def _wait(row: Any, tile: int, fenced: bool, state: State) -> int:
    """Mask of the semaphores that the instruction waits for."""
    wait = row[WAIT] | (row[LATE_WAIT] if tile >= _LATE_TILES else 0)
    pending = state.made[FENCE] > state.used[FENCE]
    if row[FENCES] & FENCE_WAIT and (fenced or tile == 0) and pending:
        wait |= 1 << FENCE
    return int(wait)


@compiled
def tile_address(row: Any, tile: int, counts: Any) -> int:
    """DRAM address of an instruction's transfer for a tile."""
    address = row[DRAM]
    for level in range(LEVELS):
        address += tile % counts[level] * row[STEPS + level]
        tile //= counts[level]
    return int(address)


@compiled
def _run(row: Any, dram: int, issue: int, config: Any, state: State) -> int:
    """Completion of an instruction that issues at `issue`."""
    registers, op = row[REGISTER:], row[OP]
    if op in (_LOAD, _STORE):
        runs, size = registers[1] * registers[3] * registers[5], registers[0]
        free, completion = transfer(
            state.channel,
            issue,
            dram,
            size,
            registers[1],
            registers[2],
            registers[3],
            registers[4],
            registers[5],
            registers[6],
        )
        state.times[_DMA] = free
        state.times[_DONE] = completion
        state.counters[BYTES_READ if op == _LOAD else BYTES_WRITTEN] += runs * size
        return int(completion)
    if op == _PRUNE:
        cycles = prune_cycles(config, registers)
    elif op == _UPDATE:
        cycles = update_cycles(config, registers)
    else:
        cycles = vector_cycles(config, registers, row[CODE])
    state.counters[SORE_BUSY if op == _PRUNE else WUVE_BUSY] += cycles
    state.times[row[UNIT]] = issue + cycles
    return int(issue + cycles)


@compiled
def _consume(state: State, wait: int) -> int:
    """Take one token of every semaphore in `wait`; the cycle of the latest, or 0."""
    cycle = 0
    for semaphore in range(_FIRST_SEMAPHORE, SEMAPHORES if wait else 0):
        if wait >> semaphore & 1:
            place = state.used[semaphore] % _TOKEN_RING
            cycle = max(cycle, state.tokens[semaphore, place])
            state.used[semaphore] += 1
    return cycle


@compiled
def _produce(state: State, signal: int, completion: int) -> None:
    """Make one token of every semaphore in `signal`."""
    for semaphore in range(_FIRST_SEMAPHORE, SEMAPHORES if signal else 0):
        if signal >> semaphore & 1:
            place = state.made[semaphore] % _TOKEN_RING
            state.tokens[semaphore, place] = completion + SEMAPHORE_CYCLES
            state.made[semaphore] += 1


@compiled
def _new_snapshots(config: Any) -> Snapshots:
    semaphores = SEMAPHORES - _FIRST_SEMAPHORE
    size = _UNITS + semaphores * (1 + _KEPT_TOKENS) + config[_OUTSTANDING]
    return Snapshots(
        np.full(LEVELS, _NEVER, np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros(LEVELS, np.int64),
        np.zeros((LEVELS, COUNTERS), np.int64),
        np.zeros((LEVELS, 2), np.int64),
        np.zeros((LEVELS, size), np.int64),
        np.zeros(size, np.int64),
    )


@compiled
def _skip(
    snapshots: Snapshots, table: Any, counts: Any, step: int, state: State, config: Any
) -> int:
    """Steps that are left out before `step`, since they only repeat; their effect is applied.

    A step touches the tiles before and after its own. All of them lie in one iteration of the loop
    around, and are neither the first nor the last of a half.
    """
    tiles, size = counts.prod(), 1
    for level in range(LEVELS):
        around = size * counts[level]
        start = max(step // around * around, _LATE_TILES) + 1
        last = min(step // around * around + around, tiles - _LATE_TILES) - 1
        if step >= start and step % size == 0 and counts[level] > 2:
            skipped = _skip_loop(snapshots, level, size, start, last, table, step, state, config)
            if skipped > 0:
                return skipped
        size = around
    return 0


@compiled
def _skip_loop(
    snapshots: Snapshots,
    level: int,
    size: int,
    start: int,
    last: int,
    table: Any,
    step: int,
    state: State,
    config: Any,
) -> int:
    """Steps of one loop that are left out.

    size: steps of an iteration. start, last: the steps that may repeat.
    """
    at = snapshots.at[level]
    _write_relative(table, state, snapshots.scratch)
    if at < start:
        _remember(snapshots, level, step, 2 * size, state)
        return 0
    period = step - at
    if _is_remembered(snapshots, level) and _same_phase(table, level, period // size, config):
        times = (last - step) // period
        if times > 0:
            _repeat(snapshots, level, times, state)
        return int(max(times * period, 0))
    if step >= snapshots.until[level]:
        _remember(snapshots, level, step, 2 * period, state)
    return 0


@compiled
def _remember(snapshots: Snapshots, level: int, step: int, kept: int, state: State) -> None:
    """Take the snapshot of a loop, for so many steps."""
    snapshots.at[level] = step
    snapshots.until[level] = step + kept
    snapshots.times[level] = state.times[_DMA]
    for counter in range(COUNTERS):
        snapshots.counters[level, counter] = state.counters[counter]
    snapshots.channel[level, 0] = state.channel[BURSTS]
    snapshots.channel[level, 1] = state.channel[BUSY]
    for slot in range(snapshots.scratch.shape[0]):
        snapshots.relative[level, slot] = snapshots.scratch[slot]


@compiled
def _is_remembered(snapshots: Snapshots, level: int) -> bool:
    """Whether the relative state is that of the snapshot."""
    for slot in range(snapshots.scratch.shape[0]):
        if snapshots.relative[level, slot] != snapshots.scratch[slot]:
            return False
    return True


@compiled
def _same_phase(table: Any, level: int, iterations: int, config: Any) -> bool:
    """Whether so many iterations move every transfer by whole bursts."""
    burst = config[_AXI_BYTES] * config[_BURST_BEATS]
    moved = 0
    for index in range(table.shape[0]):
        moved |= table[index, STEPS + level] * iterations
    return bool(moved & (burst - 1) == 0)


@compiled
def _write_relative(table: Any, state: State, found: Any) -> None:
    """Units at work, tokens and bursts relative to the DMA's next issue."""
    base = state.times[_DMA]
    for unit in range(_UNITS):
        found[unit] = 0
    for index in range(table.shape[0]):
        unit = table[index, UNIT]
        found[unit] = state.times[unit] - base
    found[_DMA] = state.channel[FREE] - base
    position = _UNITS
    for semaphore in range(_FIRST_SEMAPHORE, SEMAPHORES):
        pending = state.made[semaphore] - state.used[semaphore]
        found[position] = pending
        for kept in range(_KEPT_TOKENS):
            place = (state.used[semaphore] + kept) % _TOKEN_RING
            waiting = kept < pending
            found[position + 1 + kept] = state.tokens[semaphore, place] - base if waiting else 0
        position += 1 + _KEPT_TOKENS
    for age in range(found.shape[0] - position):
        found[position + age] = burst_delay(state.channel, age)


@compiled
def _repeat(snapshots: Snapshots, level: int, times: int, state: State) -> None:
    """The same relative state, `times` periods later."""
    elapsed = times * (state.times[_DMA] - snapshots.times[level])
    bursts = times * (state.channel[BURSTS] - snapshots.channel[level, 0])
    busy = times * (state.channel[BUSY] - snapshots.channel[level, 1])
    advance_channel(state.channel, elapsed, bursts, busy)
    for unit in range(state.times.shape[0]):
        state.times[unit] += elapsed
    for semaphore in range(_FIRST_SEMAPHORE, SEMAPHORES):
        for place in range(_TOKEN_RING):
            state.tokens[semaphore, place] += elapsed
    for counter in range(COUNTERS):
        gained = state.counters[counter] - snapshots.counters[level, counter]
        state.counters[counter] += times * gained
