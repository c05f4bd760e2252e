"""A double-buffered scratchpad: in each half one reader, and one writer or the side reader, at random.

Every word that was read is compared with a copy. Accesses of several words begin anywhere; beyond the end
of a half nothing is enabled and nothing compared.
"""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from hwsim import cosim

ADDRESS_BITS = 20


class Copy:
    """Words of both halves, and what each output must show: a list of words, or None beyond the end."""

    def __init__(self, given):
        self.half_words, self.wide = given["half_words"], given["wide"]
        self.lanes, self.lane_bits = given["lanes"], given["lane_bits"]
        self.word_bits = self.lanes * self.lane_bits
        self.words = [0] * (2 * self.half_words)

    def address(self, half):
        return half * self.half_words + random.randrange(self.half_words)

    def access(self, address):
        """Addresses of the words of an access; None beyond the half's end."""
        end = (address // self.half_words + 1) * self.half_words
        return [a if a < end else None for a in range(address, address + self.wide)]

    def write(self, address, enables, data):
        """Write the enabled lanes. Returns the enables without those beyond the end."""
        allowed = 0
        for position, word in enumerate(self.access(address)):
            for lane in range(self.lanes):
                bit = position * self.lanes + lane
                if word is None or not enables >> bit & 1:
                    continue
                allowed |= 1 << bit
                mask = ((1 << self.lane_bits) - 1) << lane * self.lane_bits
                fresh = data >> position * self.word_bits
                self.words[word] = self.words[word] & ~mask | fresh & mask
        return allowed

    def read(self, address):
        return [None if word is None else self.words[word] for word in self.access(address)]

    def split(self, data, count):
        mask = (1 << self.word_bits) - 1
        return [data >> i * self.word_bits & mask for i in range(count)]


class Users:
    """Drives all ports in one cycle; `shown` and `side_shown` are what must be seen in the next.

    The output of a reader that does not read is anything: others read the same half.
    """

    def __init__(self, dut, given):
        self.dut, self.copy = dut, Copy(given)
        self.readers, self.writers = given["readers"], given["writers"]
        self.enables = self.copy.wide * self.copy.lanes
        self.shown, self.side_shown = {}, None

    def fill(self, word):
        self.drive({}, None, [(word, (1 << self.copy.lanes) - 1)])

    def work(self):
        """One reader a half, and one writer or the side reader."""
        reads, side, writes = {}, None, []
        for half in (0, 1):
            reader = random.randrange(self.readers)
            if reader not in reads and random.random() < 0.7:
                reads[reader] = self.copy.address(half)
            if side is None and random.random() < 0.4:
                side = self.copy.address(half)
            elif random.random() < 0.7:
                writes.append((self.copy.address(half), random.getrandbits(self.enables)))
        self.drive(reads, side, writes)

    def drive(self, reads, side, writes):
        """reads: address by reader. writes: address and enables, of random writers and data."""
        dut, copy = self.dut, self.copy
        self.shown = {reader: copy.read(address) for reader, address in reads.items()}
        self.side_shown = None if side is None else copy.words[side]
        dut.re_i.value = sum(1 << reader for reader in reads)
        dut.raddr_i.value = sum(a << ADDRESS_BITS * reader for reader, a in reads.items())
        dut.side_re_i.value, dut.side_raddr_i.value = int(side is not None), side or 0
        we = waddr = wdata = 0
        for writer in random.sample(range(self.writers), len(writes)):
            address, enables = writes.pop()
            data = random.getrandbits(copy.wide * copy.word_bits)
            we |= copy.write(address, enables, data) << self.enables * writer
            waddr |= address << ADDRESS_BITS * writer
            wdata |= data << copy.wide * copy.word_bits * writer
        dut.we_i.value, dut.waddr_i.value, dut.wdata_i.value = we, waddr, wdata

    def check(self):
        wide = self.copy.wide
        found = self.copy.split(int(self.dut.rdata_o.value), self.readers * wide)
        for reader, expected in self.shown.items():
            seen = found[reader * wide : (reader + 1) * wide]
            assert all(right in (None, word) for word, right in zip(seen, expected, strict=True))
        if self.side_shown is not None:
            assert int(self.dut.side_rdata_o.value) == self.side_shown


@cocotb.test()
async def random_owners(dut):
    given = cosim.arguments()
    users = Users(dut, given)
    dut.rst_ni.value = 0
    Clock(dut.clk_i, 10, "ns").start(start_high=False)
    users.drive({}, None, [])
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    for word in range(2 * given["half_words"]):
        users.fill(word)
        await FallingEdge(dut.clk_i)
    for _ in range(given["cycles"]):
        users.work()
        await FallingEdge(dut.clk_i)
        users.check()
