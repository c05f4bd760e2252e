"""Observers of bursts and tiles. Units report to one of them and do not know which."""

from .records import Burst, Tile


class Recorder:
    """Keeps every burst and tile, in the order of their grants and starts."""

    def __init__(self) -> None:
        self.bursts: list[Burst] = []
        self.tiles: list[Tile] = []

    def burst(self, record: Burst) -> None:
        self.bursts.append(record)

    def tile(self, record: Tile) -> None:
        self.tiles.append(record)


class Silent(Recorder):
    """Keeps nothing."""

    def burst(self, record: Burst) -> None:
        pass

    def tile(self, record: Tile) -> None:
        pass
