"""The DRAM channel, burst by burst, with equal stretches skipped: docs/microarchitecture.md, "Bursts".

The channel is one int64 array (`channel_size`): counters, parameters, and the done times of the last
`outstanding` bursts as a ring. Numba kernels, allocation-free.

What is skipped, and why that is exact: a grant depends on the past only through the channel's
*relative state*: by how much each done time in the ring, oldest first, lies after the cycle from
which the channel is free (a done time before it can delay nothing, so that it counts as 0). Where
this state is the same before two equal runs at the same address modulo the burst, the runs between
them will repeat as they are, later by the same number of cycles.
"""

from .config_vector import CONFIG_POSITION, Vector
from .constants import DMA_END_CYCLES, DMA_START_CYCLES
from .jit import compiled, inlined

_AXI_BYTES = CONFIG_POSITION["axi_bytes"]
_DRAM_BYTES = CONFIG_POSITION["dram_bytes_per_cycle"]
_DRAM_LATENCY = CONFIG_POSITION["dram_latency_cycles"]
_BURST_BEATS = CONFIG_POSITION["burst_beats"]
_OUTSTANDING = CONFIG_POSITION["outstanding"]

FREE = 0
"""Earliest cycle of the next grant, as far as the channel goes."""
LAST_GRANT = 1
BURSTS = 2
BYTES = 3
BUSY = 4
"""Cycles in which the channel was occupied."""
_HEAD = 5
"""Of the oldest burst in the ring."""
_LATENCY, _DEPTH = 6, 7
_BUS_SHIFT, _BURST_SHIFT = 8, 9
"""log2 of the bytes of a bus word and of a burst."""
_FAT, _SINCE_THIN = 10, 11
"""Occupancy from which on a burst is fat; bursts since the last one that is not."""
_RING = 12

# After the ring: a snapshot of the channel for each of the two inner loops of a transfer, then the
# cycles in which a burst of 0, 1, ... beats occupies the channel.
_RUNS, _ROWS = 0, 1
_SNAPSHOTS = 2
_AT, _NEXT, _PROBE, _FREE_THEN, _BURSTS_THEN, _BUSY_THEN, _SNAPSHOT = range(7)


@compiled
def channel_size(config: Vector) -> int:
    """Length of the channel's array."""
    depth = config[_OUTSTANDING]
    return _RING + depth + _SNAPSHOTS * (_SNAPSHOT + depth) + config[_BURST_BEATS] + 1


@compiled
def reset_channel(channel: Vector, config: Vector) -> None:
    """Set up a channel that has seen no burst. channel: (channel_size,) int64, written."""
    axi, bandwidth, beats = config[_AXI_BYTES], config[_DRAM_BYTES], config[_BURST_BEATS]
    channel[_LATENCY] = config[_DRAM_LATENCY]
    channel[_DEPTH] = config[_OUTSTANDING]
    channel[_BUS_SHIFT] = _log2(axi)
    channel[_BURST_SHIFT] = _log2(beats * axi)
    channel[_FAT] = _fat(channel)
    table = _snapshot(channel, _SNAPSHOTS)
    for touched in range(beats + 1):
        channel[table + touched] = (touched * axi + bandwidth - 1) // bandwidth
    clear_channel(channel)


@compiled
def clear_channel(channel: Vector) -> None:
    """A channel that was set up, as if it had seen no burst."""
    for slot in range(_HEAD + 1):
        channel[slot] = 0
    for slot in range(_RING, _RING + channel[_DEPTH]):
        channel[slot] = 0
    channel[_SINCE_THIN] = channel[_DEPTH]


@compiled
def transfer(
    channel: Vector,
    issue: int,
    dram: int,
    run_bytes: int,
    count0: int,
    stride0: int,
    count1: int,
    stride1: int,
    count2: int,
    stride2: int,
) -> tuple[int, int]:
    """(free, completion) of a LOAD or STORE issued at `issue`; the channel moves on."""
    channel[_SINCE_THIN] = 0
    channel[FREE] = max(channel[FREE], issue + DMA_START_CYCLES)
    channel[BYTES] += run_bytes * count0 * count1 * count2
    if count0 == 1:
        count0, stride0, count1 = count1, stride1, 1
    if count1 == 1:
        count1, stride1, count2 = count2, stride2, 1
    if stride1 == count0 * stride0:
        count0, count1 = count0 * count1, 1
    for i2 in range(count2):
        _rows(channel, dram + i2 * stride2, run_bytes, count0, stride0, count1, stride1)
    return channel[LAST_GRANT] + 1, channel[FREE] + channel[_LATENCY] + DMA_END_CYCLES


@compiled
def uniform_transfer(channel: Vector, issue: int, cycles: int, bursts: int) -> tuple[int, int]:
    """`transfer` of so many bursts of equal occupancy (`uniform_bursts`)."""
    depth, latency = channel[_DEPTH], channel[_LATENCY]
    start = max(channel[FREE], issue + DMA_START_CYCLES)
    clear = start >= channel[FREE] + latency
    fat = cycles >= channel[_FAT]
    if (clear and bursts <= depth) or (fat and (clear or channel[_SINCE_THIN] >= depth - 1)):
        _queue(channel, start, cycles, bursts)
    else:
        channel[FREE] = start
        _equal_bursts(channel, cycles, bursts)
    channel[_SINCE_THIN] = min(channel[_SINCE_THIN] + bursts, depth) if fat else 0
    return channel[LAST_GRANT] + 1, channel[FREE] + latency + DMA_END_CYCLES


@inlined
def _queue(channel: Vector, start: int, cycles: int, bursts: int) -> None:
    """Bursts of which none waits for an outstanding one: one after the other from `start`."""
    depth, latency = channel[_DEPTH], channel[_LATENCY]
    end = start + bursts * cycles
    if bursts >= depth:
        channel[_HEAD] = 0
        for age in range(depth):
            channel[_RING + age] = end + latency - (depth - 1 - age) * cycles
    else:
        head = channel[_HEAD]
        for burst in range(bursts):
            channel[_RING + head] = start + (burst + 1) * cycles + latency
            head = head + 1 if head + 1 < depth else 0
        channel[_HEAD] = head
    _passed(channel, end, cycles, bursts)


@inlined
def _passed(channel: Vector, end: int, cycles: int, bursts: int) -> None:
    channel[FREE] = end
    channel[LAST_GRANT] = end - cycles
    channel[BURSTS] += bursts
    channel[BUSY] += bursts * cycles


@compiled
def uniform_bursts(channel: Vector, dram: int, parts: Vector) -> tuple[int, int]:
    """(occupancy, number) of a transfer's bursts where all are surely equal, else (0, 0).

    parts: run_bytes, then count and stride of the three loops. See `_equal`.
    """
    run, strides = parts[0], 0
    for loop in range(3):
        if parts[1 + 2 * loop] > 1:
            strides |= parts[2 + 2 * loop]
    cycles, bursts = _equal(channel, dram, run, strides)
    return cycles, bursts * parts[1] * parts[3] * parts[5]


@compiled
def outstanding_delays(channel: Vector, issue: int, found: Vector) -> bool:
    """How long the bursts in flight, oldest first, can delay a transfer that issues at `issue` or later.

    Into `found`, (outstanding,). Returns whether any of them may.
    """
    depth, start = channel[_DEPTH], max(channel[FREE], issue + DMA_START_CYCLES)
    if start >= channel[FREE] + channel[_LATENCY]:
        return False
    for age in range(depth):
        place = channel[_HEAD] + age
        slot = _RING + (place if place < depth else place - depth)
        found[age] = max(channel[slot] - start, 0)
    return True


@compiled
def set_channel(channel: Vector, free: int, issue: int, delays: Vector, outstanding: bool) -> None:
    """The channel free from `free`, with bursts in flight that delay as `outstanding_delays` says."""
    channel[FREE] = free
    channel[_HEAD] = 0
    channel[_SINCE_THIN] = 0
    start = max(free, issue + DMA_START_CYCLES)
    for age in range(channel[_DEPTH]):
        channel[_RING + age] = start + delays[age] if outstanding else 0


@compiled
def shift_channel(channel: Vector, elapsed: int) -> None:
    """The same channel `elapsed` cycles later."""
    channel[FREE] += elapsed
    channel[LAST_GRANT] += elapsed
    for slot in range(_RING, _RING + channel[_DEPTH]):
        channel[slot] += elapsed


@inlined
def _rows(
    channel: Vector, dram: int, run_bytes: int, count0: int, stride0: int, count: int, stride: int
) -> None:
    """`count` rows of runs, one every `stride` bytes."""
    _forget(channel, _ROWS)
    row = 0
    while row < count:
        _runs(channel, dram + row * stride, run_bytes, count0, stride0)
        row += 1
        if row < count and _same_phase(channel, row * stride):
            row += _skip(channel, _ROWS, row, count)


@compiled
def _runs(channel: Vector, dram: int, run_bytes: int, count: int, stride: int) -> None:
    """`count` runs, one every `stride` bytes."""
    cycles, bursts = _equal(channel, dram, run_bytes, stride)
    if bursts:
        _equal_bursts(channel, cycles, bursts * count)
        return
    _forget(channel, _RUNS)
    run = 0
    while run < count:
        _run(channel, dram + run * stride, run_bytes)
        run += 1
        if run < count and _same_phase(channel, run * stride):
            run += _skip(channel, _RUNS, run, count)


@inlined
def _equal(channel: Vector, address: int, size: int, stride: int) -> tuple[int, int]:
    """(occupancy, bursts of a run) where all bursts of all runs are surely equal, else (0, 0).

    Runs lie alike on a grid: the power of two in their stride, at most a burst. Either no run leaves
    its cell, and each is one burst; or they are whole bursts.
    """
    burst = 1 << channel[_BURST_SHIFT]
    grid = min(stride & -stride, burst) if stride else burst
    if grid >> channel[_BUS_SHIFT] and (address & (grid - 1)) + size <= grid:
        return _occupancy(channel, address, address + size), 1
    if (address | size | stride) & (burst - 1):
        return 0, 0
    return _occupancy(channel, 0, burst), size >> channel[_BURST_SHIFT]


@inlined
def _run(channel: Vector, address: int, size: int) -> None:
    """Contiguous bytes, cut where the address is a multiple of the burst."""
    shift = channel[_BURST_SHIFT]
    end = address + size
    boundary = ((address >> shift) + 1) << shift
    if end <= boundary:
        _burst(channel, _occupancy(channel, address, end))
        return
    if address & ((1 << shift) - 1):
        _burst(channel, _occupancy(channel, address, boundary))
        address = boundary
    whole = (end - address) >> shift
    if whole:
        _equal_bursts(channel, _occupancy(channel, 0, 1 << shift), whole)
        address += whole << shift
    if address < end:
        _burst(channel, _occupancy(channel, address, end))


@inlined
def _occupancy(channel: Vector, address: int, end: int) -> int:
    """c: cycles in which a burst of the bytes [address, end) occupies the channel."""
    shift = channel[_BUS_SHIFT]
    beats = ((end - 1) >> shift) - (address >> shift) + 1
    return channel[_snapshot(channel, _SNAPSHOTS) + beats]


@inlined
def _burst(channel: Vector, cycles: int) -> bool:
    """Grant one burst. Returns whether it had to wait for an outstanding one."""
    head = channel[_HEAD]
    slot = _RING + head
    free, oldest = channel[FREE], channel[slot]
    grant = max(free, oldest)
    channel[slot] = grant + cycles + channel[_LATENCY]
    channel[_HEAD] = head + 1 if head + 1 < channel[_DEPTH] else 0
    channel[FREE] = grant + cycles
    channel[LAST_GRANT] = grant
    channel[BURSTS] += 1
    channel[BUSY] += cycles
    return oldest >= free


@compiled
def _equal_bursts(channel: Vector, cycles: int, count: int) -> None:
    """`count` bursts of equal occupancy.

    The ring then holds nothing else, and g(i) = max(g(i-1) + cycles, g(i-depth) + round trip). Where depth
    bursts cover the round trip, none waits any more: g(i-depth) <= g(i-1) - (depth-1) * cycles. Otherwise
    all wait from the first that does: g(i) = g(i-depth) + round trip, by induction.
    """
    depth, round_trip = channel[_DEPTH], channel[_LATENCY] + cycles
    left = count - _one_by_one(channel, cycles, min(count, depth))
    if left and depth * cycles >= round_trip:
        _queue(channel, channel[FREE], cycles, left)
        return
    while left and channel[_RING + channel[_HEAD]] < channel[FREE]:
        left -= _one_by_one(channel, cycles, 1)
    if left:
        _repeat_rounds(channel, cycles, left)


@inlined
def _repeat_rounds(channel: Vector, cycles: int, count: int) -> None:
    """Bursts that all wait for the one `depth` before them."""
    depth, round_trip = channel[_DEPTH], channel[_LATENCY] + cycles
    rounds, more, head = count // depth, count % depth, channel[_HEAD]
    for age in range(depth):
        slot = _RING + (head + age if head + age < depth else head + age - depth)
        channel[slot] += (rounds + (age < more)) * round_trip
    newest = head + more - 1 if more else head + depth - 1
    end = channel[_RING + (newest if newest < depth else newest - depth)] - channel[_LATENCY]
    channel[_HEAD] = head + more if head + more < depth else head + more - depth
    _passed(channel, end, cycles, count)


@inlined
def _one_by_one(channel: Vector, cycles: int, count: int) -> int:
    """`count` equal bursts, no more than the ring holds. Returns count."""
    depth, latency = channel[_DEPTH], channel[_LATENCY]
    head, free, grant = channel[_HEAD], channel[FREE], 0
    for _ in range(count):
        grant = max(free, channel[_RING + head])
        free = grant + cycles
        channel[_RING + head] = free + latency
        head = head + 1 if head + 1 < depth else 0
    channel[_HEAD], channel[FREE], channel[LAST_GRANT] = head, free, grant
    channel[BURSTS] += count
    channel[BUSY] += count * cycles
    return count


@compiled
def advance_channel(channel: Vector, elapsed: int, bursts: int, busy: int) -> None:
    """The same relative state `elapsed` cycles later, after so many more bursts."""
    if bursts:
        channel[FREE] += elapsed
        channel[LAST_GRANT] += elapsed
        channel[BURSTS] += bursts
        channel[BUSY] += busy
        for slot in range(_RING, _RING + channel[_DEPTH]):
            channel[slot] += elapsed


@inlined
def _same_phase(channel: Vector, distance: int) -> bool:
    """Whether addresses so many bytes apart are the same modulo the burst."""
    return distance & ((1 << channel[_BURST_SHIFT]) - 1) == 0


@compiled
def _fat(channel: Vector) -> int:
    """Occupancy c with (outstanding - 1) * c >= latency: after outstanding - 1 such bursts none waits.

    A burst waits for the one `outstanding` before it, which is done latency + c(that one) after its
    grant, while that one and outstanding - 1 others have occupied the channel.
    """
    others = channel[_DEPTH] - 1
    if others == 0:
        return 1 << 40
    return (channel[_LATENCY] + others - 1) // others


@inlined
def _log2(x: int) -> int:
    """Of a power of two."""
    shift = 0
    while x > 1 << shift:
        shift += 1
    return shift


@inlined
def _snapshot(channel: Vector, loop: int) -> int:
    """Where the snapshot of a loop begins; that of _SNAPSHOTS, where the last one ends."""
    depth = channel[_DEPTH]
    return _RING + depth + loop * (_SNAPSHOT + depth)


@inlined
def _forget(channel: Vector, loop: int) -> None:
    snapshot = _snapshot(channel, loop)
    channel[snapshot + _AT] = -1
    channel[snapshot + _NEXT] = 0
    channel[snapshot + _BURSTS_THEN] = channel[BURSTS]


@inlined
def _skip(channel: Vector, loop: int, done: int, count: int) -> int:
    """Steps of a loop that are skipped after `done` of `count`, since they only repeat.

    The state is held against a snapshot, which is taken again at ever longer distances (Brent's
    search for a cycle), the first time when the ring holds bursts of this loop only. Call it only
    where the address has the same phase.
    """
    snapshot = _snapshot(channel, loop)
    then = channel[snapshot + _AT]
    if then < 0:
        if channel[BURSTS] - channel[snapshot + _BURSTS_THEN] >= channel[_DEPTH]:
            _remember(channel, snapshot, done)
        return 0
    if _repeats(channel, snapshot):
        period = done - then
        times = (count - done) // period
        advance_channel(
            channel,
            times * (channel[FREE] - channel[snapshot + _FREE_THEN]),
            times * (channel[BURSTS] - channel[snapshot + _BURSTS_THEN]),
            times * (channel[BUSY] - channel[snapshot + _BUSY_THEN]),
        )
        channel[snapshot + _NEXT] = count + 1
        return times * period
    if done >= channel[snapshot + _NEXT]:
        _remember(channel, snapshot, done)
    return 0


@compiled
def _remember(channel: Vector, snapshot: int, done: int) -> None:
    channel[snapshot + _AT] = done
    channel[snapshot + _NEXT] = 2 * done
    channel[snapshot + _PROBE] = 0
    channel[snapshot + _FREE_THEN] = channel[FREE]
    channel[snapshot + _BURSTS_THEN] = channel[BURSTS]
    channel[snapshot + _BUSY_THEN] = channel[BUSY]
    for age in range(channel[_DEPTH]):
        channel[snapshot + _SNAPSHOT + age] = burst_delay(channel, age)


@compiled
def _repeats(channel: Vector, snapshot: int) -> bool:
    """Whether the relative state is that of the snapshot.

    The comparison begins where the last one failed: neighbouring states differ at the same place.
    """
    depth = channel[_DEPTH]
    probe = channel[snapshot + _PROBE]
    for step in range(depth):
        age = probe + step if probe + step < depth else probe + step - depth
        if channel[snapshot + _SNAPSHOT + age] != burst_delay(channel, age):
            channel[snapshot + _PROBE] = age
            return False
    return True


@inlined
def burst_delay(channel: Vector, age: int) -> int:
    """How long after FREE a burst of the ring is done, 0 if before; age 0 is the oldest."""
    depth = channel[_DEPTH]
    place = channel[_HEAD] + age
    slot = _RING + (place if place < depth else place - depth)
    return max(channel[slot] - channel[FREE], 0)
