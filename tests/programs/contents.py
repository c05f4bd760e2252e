"""What random programs have written: no program reads a word that holds nothing."""

from dataclasses import dataclass

import numpy as np

from hwsim.accesses import Store, half_words
from hwsim.config import AcceleratorConfig

SCRATCHPADS = (Store.ACT, Store.WGT, Store.IDX, Store.ACC)

UNWRITTEN = 0
PLAIN = 1
"""Values of any kind. IDX words hold 1 + the bound of their positions, table words 1 + alignment."""


@dataclass(frozen=True)
class Block:
    """`rows` rows of `words` words, `stride` words apart, from word `start` of a scratchpad."""

    store: Store
    start: int
    rows: int
    stride: int
    words: int

    @property
    def span(self) -> int:
        """Words from the first to the last, holes included."""
        return (self.rows - 1) * self.stride + self.words

    @property
    def stop(self) -> int:
        return self.start + self.span


class Contents:
    """A mark for every word of every scratchpad."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self._marks = {
            store: np.zeros(2 * half_words(store, config), np.int64) for store in SCRATCHPADS
        }

    def write(self, block: Block, mark: int = PLAIN) -> None:
        marks = self._marks[block.store]
        for row in range(block.rows):
            start = block.start + row * block.stride
            marks[start : start + block.words] = mark

    def written(self, block: Block) -> bool:
        """Whether all words are, holes included."""
        return bool((self._marks[block.store][block.start : block.stop] != UNWRITTEN).all())

    def marked(self, block: Block, low: int, high: int) -> bool:
        """Whether the marks of all words are from `low` to `high`."""
        marks = self._marks[block.store][block.start : block.stop]
        return bool(((marks >= low) & (marks <= high)).all())

    def runs(self, store: Store, half: int) -> list[tuple[int, int]]:
        """(start, stop) of the longest written stretches of a half."""
        size = len(self._marks[store]) // 2
        marks = self._marks[store][half * size : (half + 1) * size] != UNWRITTEN
        edges = np.flatnonzero(np.diff(np.r_[0, marks.astype(np.int8), 0])) + half * size
        return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
