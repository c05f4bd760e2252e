"""The scratchpads as RTL: what rtl/cosparse_top.sv makes of a configuration, and the block RAMs it takes.

A half of Wide words an access lies in Wide RAMs (rtl/scratchpad_half.sv). A RAMB18 has byte lanes of 9
bits with a write enable each; a lane of a word takes whole ones, so an index of 4 bits takes one:

    512 words   4 byte lanes, one port reads and one writes
    1,024       2, both ports read and write
    2,048       1, of 4 bits 4,096; more words are whole blocks of these, and what is left

A side reader, which reads through the write port, needs both ports.
"""

from dataclasses import dataclass
from math import ceil

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES, INDEX_BITS, VALUE_BYTES


@dataclass(frozen=True)
class Scratchpad:
    """Two halves. copies: of one lane each; wide: words that the DMA moves at once; side: has a side reader.

    readers, writers: users of the ports, which multiplexers join.
    """

    half_words: int
    lanes: int
    lane_bits: int
    wide: int
    readers: int
    writers: int
    copies: int = 1
    side: bool = False

    @property
    def parameters(self) -> dict[str, int]:
        """Of scratchpad_pair."""
        return {
            "HalfWords": self.half_words,
            "Lanes": self.lanes,
            "LaneBits": self.lane_bits,
            "Wide": self.wide,
            "Readers": self.readers,
            "Writers": self.writers,
        }

    @property
    def bram18(self) -> int:
        """RAMB18 blocks of one copy."""
        words = ceil(self.half_words / self.wide)
        byte_lanes = self.lanes * ceil(self.lane_bits / 8)
        full, rest = divmod(words, 4096 if self.lane_bits == 4 else 2048)
        per_block = 1 if rest > 1024 else 2 if rest > 512 or self.side else 4
        blocks = byte_lanes * full + (ceil(byte_lanes / per_block) if rest else 0)
        return 2 * self.wide * blocks


def scratchpads(config: AcceleratorConfig) -> dict[str, Scratchpad]:
    """By name: activations, weights, their indices, and one accumulator bank a column."""
    cols, lanes = config.cols, config.activation_lanes
    value_bits = 8 * VALUE_BYTES
    narrow = _wide(config, VALUE_BYTES * cols)
    indices = _wide(config, INDEX_BITS * cols // 8)
    return {
        "act": Scratchpad(
            config.activation_half_words,
            lanes,
            value_bits,
            _wide(config, VALUE_BYTES * lanes),
            3,
            2,
        ),
        "wgt": Scratchpad(config.weight_half_words, cols, value_bits, narrow, 2, 2, side=True),
        "idx": Scratchpad(config.weight_half_words, cols, INDEX_BITS, indices, 2, 2),
        "acc": Scratchpad(
            config.accumulator_half_words, 1, 8 * ACCUMULATOR_BYTES, narrow, 3, 3, copies=cols
        ),
    }


def _wide(config: AcceleratorConfig, word_bytes: int) -> int:
    """Words that a beat may have."""
    return max(1, config.axi_bytes // max(1, word_bytes))
