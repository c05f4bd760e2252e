"""The DRAM channel against a walk over every burst of every run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim import AcceleratorConfig
from hwsim.bursts import BURSTS, BUSY, BYTES, channel_size, reset_channel, transfer
from hwsim.config_vector import config_vector

DMA_START, DMA_END = 4, 2


def channel_of(config):
    vector = config_vector(config)
    channel = np.empty(channel_size(vector), np.int64)
    reset_channel(channel, vector)
    return channel


class Walk:
    """Every burst, one by one."""

    def __init__(self, config):
        self.config = config
        self.bursts = []  # (grant, occupancy)
        self.bytes = 0

    def transfer(self, issue, dram, run_bytes, count0, stride0, count1, stride1, count2, stride2):
        earliest = issue + DMA_START
        for i2 in range(count2):
            for i1 in range(count1):
                for i0 in range(count0):
                    address = dram + i2 * stride2 + i1 * stride1 + i0 * stride0
                    for first, last in self.cut(address, run_bytes):
                        earliest = self.grant(earliest, self.occupancy(first, last)) + 1
        return earliest, self.done(len(self.bursts) - 1) + DMA_END

    def cut(self, address, size):
        """(first, last) byte of every burst of a run."""
        size_of = self.config.burst_beats * self.config.axi_bytes
        end = address + size
        while address < end:
            boundary = (address // size_of + 1) * size_of
            yield address, min(boundary, end) - 1
            address = boundary

    def occupancy(self, first, last):
        self.bytes += last - first + 1
        words = range(first // self.config.axi_bytes, last // self.config.axi_bytes + 1)
        return max(1, -(-len(words) * self.config.axi_bytes // self.config.dram_bytes_per_cycle))

    def grant(self, earliest, cycles):
        if self.bursts:
            earliest = max(earliest, sum(self.bursts[-1]))
        if len(self.bursts) >= self.config.outstanding:
            earliest = max(earliest, self.done(len(self.bursts) - self.config.outstanding))
        self.bursts.append((earliest, cycles))
        return earliest

    def done(self, number):
        grant, cycles = self.bursts[number]
        return grant + self.config.dram_latency_cycles + cycles


def check(config, transfers):
    """transfers: (cycles between two issues, arguments)."""
    channel, walk, issue = channel_of(config), Walk(config), 0
    for gap, arguments in transfers:
        expected = walk.transfer(issue, *arguments)
        assert transfer(channel, issue, *arguments) == expected
        issue = expected[0] + gap
    assert channel[BYTES] == walk.bytes
    assert channel[BURSTS] == len(walk.bursts)
    assert channel[BUSY] == sum(cycles for _, cycles in walk.bursts)


@st.composite
def memories(draw):
    """Bandwidth-bound and latency-bound ones, down to one burst in flight."""
    axi_bytes = draw(st.sampled_from([4, 8, 16, 32, 64, 128]))
    beats = [x for x in (1, 2, 4, 8, 16, 32) if x * axi_bytes <= 4096]
    return AcceleratorConfig.preset(
        "sat-8x8",
        axi_bytes=axi_bytes,
        burst_beats=draw(st.sampled_from(beats)),
        dram_bytes_per_cycle=draw(st.integers(1, axi_bytes)),
        dram_latency_cycles=draw(st.integers(1, 90)),
        outstanding=draw(st.integers(1, 12)),
    )


SIXTEENS = st.integers(-40, 80).map(lambda x: 16 * x)
STRIDES = SIXTEENS | st.sampled_from([256, 512, 1024, 4096, -4096])


@st.composite
def arguments(draw):
    """dram, run_bytes, and three loops; one of them long."""
    counts = [draw(st.integers(1, 4)) for _ in range(3)]
    counts[draw(st.integers(0, 2))] = draw(st.integers(1, 60))
    run_bytes = 16 * draw(st.integers(1, 8) | st.integers(1, 200))
    strides = [draw(STRIDES | st.just(run_bytes)) for _ in range(3)]
    if draw(st.booleans()):
        strides[1] = counts[0] * strides[0]
    dram = (1 << 22) + 16 * draw(st.integers(0, 300))
    loops = [value for pair in zip(counts, strides, strict=True) for value in pair]
    return dram, run_bytes, *loops


TRANSFERS = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(0, 200), arguments()), min_size=1, max_size=4
)


@given(memories(), TRANSFERS)
@settings(max_examples=300)
def test_every_burst(config, transfers):
    check(config, transfers)


@given(memories(), st.integers(1, 60_000).map(lambda x: 16 * x), st.integers(0, 300))
@settings(max_examples=60)
def test_one_long_run(config, run_bytes, offset):
    check(config, [(0, (16 * offset, run_bytes, 1, 0, 1, 0, 1, 0)), (5, (0, 64, 1, 0, 1, 0, 1, 0))])


@given(memories(), st.integers(1, 20), st.integers(100, 1500), STRIDES, st.integers(0, 300))
@settings(max_examples=60)
def test_many_equal_runs(config, sixteens, count, stride, offset):
    dram = (1 << 24) + 16 * offset
    check(config, [(0, (dram, 16 * sixteens, count, stride, 1, 0, 1, 0))] * 2)


def test_three_bursts_by_hand():
    """The drawing of the document: outstanding 2, c = 4, latency 10; the third waits for the first."""
    config = AcceleratorConfig.preset(
        "sat-8x8", outstanding=2, dram_latency_cycles=10, burst_beats=4, dram_bytes_per_cycle=16
    )
    free, completion = transfer(channel_of(config), 100, 0, 192, 1, 0, 1, 0, 1, 0)
    first_done = 104 + 10 + 4
    assert free == first_done + 1
    assert completion == first_done + 10 + 4 + DMA_END


def test_runs_that_touch_are_not_joined():
    """Two runs of half a burst are two bursts of half the beats."""
    config = AcceleratorConfig.preset("sat-8x8")
    channel = channel_of(config)
    transfer(channel, 0, 0, 128, 2, 128, 1, 0, 1, 0)
    assert channel[BURSTS] == 2
    assert channel[BUSY] == 16


@pytest.mark.parametrize(("outstanding", "run_bytes"), [(1, 80), (3, 80), (12, 80), (5, 336)])
def test_a_long_transfer_is_skipped_exactly(outstanding, run_bytes):
    """Ten million runs off the grid take as long as the slope between two short transfers says.

    A stride of 336 bytes has 16 phases modulo the burst; 3840 = 16 * 12 * 20 runs are whole periods.
    """
    config = AcceleratorConfig.preset("sat-8x8", outstanding=outstanding, dram_latency_cycles=50)

    def completion(runs):
        return transfer(channel_of(config), 0, 0, run_bytes, runs, 336, 1, 0, 1, 0)[1]

    slope = completion(7680) - completion(3840)
    assert completion(3840 * 3000) == completion(3840) + 2999 * slope


@pytest.mark.parametrize(
    ("outstanding", "latency", "gaps", "bursts"),
    [
        (4, 47, (6, 35, 35, 3, 1), 10),
        (5, 59, (40, 7, 1, 3), 11),
        (6, 79, (17, 12, 16, 23, 23, 10, 1, 1), 14),
        (6, 76, (13, 1, 9, 3), 13),
    ],
)
def test_a_long_run_that_follows_scattered_bursts(outstanding, latency, gaps, bursts):
    """Its first bursts wait for older ones at odd distances; its later ones must not inherit those."""
    config = AcceleratorConfig.preset(
        "sat-8x8", outstanding=outstanding, dram_latency_cycles=latency
    )
    channel, walk = channel_of(config), Walk(config)
    single = (0, 16, 1, 0, 1, 0, 1, 0)
    transfers = [*[single] * len(gaps), (1 << 20, 256 * bursts, 1, 0, 1, 0, 1, 0), *[single] * 8]
    issue = 0
    for position, parts in enumerate(transfers):
        found = transfer(channel, issue, *parts)
        assert found == walk.transfer(issue, *parts)
        issue = found[0] + (gaps[position] if position < len(gaps) else 0)
