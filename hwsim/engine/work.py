"""Cycles in which the array goes through the entries of a tile or a fold."""

from typing import NamedTuple

from .records import Stall


class Work(NamedTuple):
    """Cycles by what holds the array up: nothing, the adder's loop, or the feeder."""

    busy: int
    adder: int
    data: int

    @property
    def cycles(self) -> int:
        return self.busy + self.adder + self.data

    @property
    def stalls(self) -> dict[Stall, int]:
        return {Stall.ADDER: self.adder, Stall.DATA: self.data}
