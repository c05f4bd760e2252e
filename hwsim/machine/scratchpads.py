"""The scratchpads: bits of every lane, and whether anything has written them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import ProgramError

from ..accesses import Store
from ..config import AcceleratorConfig

_ALL_LANES = slice(None)


@dataclass(frozen=True, eq=False)
class Scratchpad:
    """bits, known: (words of both halves, lanes). The arrays are written in place."""

    store: Store
    bits: Array
    known: Array

    @classmethod
    def unknown(cls, store: Store, half_words: int, lanes: int, dtype: npt.DTypeLike) -> Self:
        """Contents at the start."""
        shape = (2 * half_words, lanes)
        return cls(store, np.zeros(shape, dtype), np.zeros(shape, bool))

    def read(self, addresses: Array, lanes: slice = _ALL_LANES) -> Array:
        """The lanes of each row of words, side by side; addresses: (rows, words).

        Raises ProgramError where nothing has written one of them.
        """
        shape = (len(addresses), addresses.shape[1] * self.bits.shape[1])
        known = self.known[addresses].reshape(shape)[:, lanes]
        if not known.all():
            row, lane = np.argwhere(~known)[0]
            position = int(lane) + (lanes.start or 0)
            word = addresses[row, position // self.bits.shape[1]]
            raise ProgramError(
                f"reads {self.store.name} word {word} lane {position % self.bits.shape[1]}, "
                "which nothing has written"
            )
        return self.bits[addresses].reshape(shape)[:, lanes]

    def write(self, addresses: Array, values: Array) -> None:
        """Fill the first lanes of each row of words; addresses: (rows, words), values: (rows, n).

        A word that two rows name keeps the later one.
        """
        rows, lanes = len(addresses), self.bits.shape[1]
        cells = (addresses[:, :, None] * lanes + np.arange(lanes)).reshape(rows, -1)
        cells = cells[:, : values.shape[1]]
        self.bits.reshape(-1)[cells] = values
        self.known.reshape(-1)[cells] = True


@dataclass(frozen=True, eq=False)
class Scratchpads:
    """ACT and WGT hold FP16 bits, IDX positions, ACC FP32 bits."""

    act: Scratchpad
    wgt: Scratchpad
    idx: Scratchpad
    acc: Scratchpad

    @classmethod
    def unknown(cls, config: AcceleratorConfig) -> Self:
        """Contents at the start."""
        weight_half, cols = config.weight_half_words, config.cols
        act = (config.activation_half_words, config.activation_lanes)
        return cls(
            act=Scratchpad.unknown(Store.ACT, *act, np.uint16),
            wgt=Scratchpad.unknown(Store.WGT, weight_half, cols, np.uint16),
            idx=Scratchpad.unknown(Store.IDX, weight_half, cols, np.uint8),
            acc=Scratchpad.unknown(Store.ACC, config.accumulator_half_words, cols, np.uint32),
        )

    def of(self, store: Store) -> Scratchpad:
        return {
            Store.ACT: self.act,
            Store.WGT: self.wgt,
            Store.IDX: self.idx,
            Store.ACC: self.acc,
        }[store]
