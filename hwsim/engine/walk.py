"""How the array walks one MATMUL: tiles and chunks (OS), column tiles and folds (WS).

R, C, a: rows, columns, activation values a row and cycle. docs/microarchitecture.md, "STCE".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from ..config import AcceleratorConfig
from ..isa import Flow, Lhs
from .context import Registers


def ceil_div(total: int, step: int) -> int:
    return -(-total // step)


class TileShape(NamedTuple):
    """Rows x columns of the result that one OS tile computes."""

    rows: int
    columns: int


class Chunk(NamedTuple):
    """Part of a segment: entries a slot takes, cycles in which the feeder brings it."""

    entries: int
    fill_cycles: int


class Fold(NamedTuple):
    """R groups of K. entries: (value, index) pairs of all its groups; words: distinct ACT words."""

    entries: int
    words: int


@dataclass(frozen=True)
class Walk:
    """The loops of one MATMUL, from the registers of its bank."""

    config: AcceleratorConfig
    flow: Flow
    column_lhs: bool
    packed: bool
    table: bool
    n: int
    m: int
    ic: int
    ir: int
    tokens: int
    taps: int
    segments: int
    channels: int
    columns: int

    @classmethod
    def of(cls, registers: Registers, config: AcceleratorConfig) -> Self:
        taps = registers["taps_y"] * registers["taps_x"]
        return cls(
            config=config,
            flow=Flow(registers["flow"]),
            column_lhs=registers["lhs"] == Lhs.COLUMN,
            packed=bool(registers["packed"]),
            table=bool(registers["use_table"]),
            n=registers["n"],
            m=registers["m"],
            ic=registers["ic"],
            ir=registers["ir"],
            tokens=registers["images"] * registers["out_h"] * registers["out_w"],
            taps=taps,
            segments=registers["segments"] if registers["use_table"] else taps,
            channels=registers["channels"],
            columns=registers["columns"],
        )

    def column_tiles(self) -> Iterator[int]:
        """Columns of each column tile, Ic * C but for the last."""
        return _parts(self.columns, self.ic * self.config.cols)

    def tiles(self) -> Iterator[TileShape]:
        """OS: columns outermost, then taps (lhs = COLUMN), then rows."""
        height = self.ir * self.config.rows
        taps, rows = (self.taps, self.channels) if self.column_lhs else (1, self.tokens)
        for columns in self.column_tiles():
            for _ in range(taps):
                for part in _parts(rows, height):
                    yield TileShape(part, columns)

    def slots(self, tile: TileShape) -> int:
        """Occupied by the tile in every PE, those of its edges included."""
        return ceil_div(tile.rows, self.config.rows) * ceil_div(tile.columns, self.config.cols)

    def chunks(self) -> list[Chunk]:
        """OS: what every tile accumulates, in order."""
        if self.column_lhs:
            return [
                Chunk(tokens, tokens * ceil_div(self.ir, self.config.act_values_per_row_cycle))
                for tokens in _parts(self.tokens, self.config.chunk)
            ]
        passes = self.ir * self.config.rows
        segment = [
            Chunk(
                self._entries(q), passes * ceil_div(self._filled(q), self.config.activation_lanes)
            )
            for q in _parts(self.channels, self.config.chunk)
        ]
        return segment * self.segments

    def folds(self) -> list[Fold]:
        """WS: the folds of every column tile, in order."""
        groups = [
            (segment, first)
            for segment in range(self.segments)
            for first in range(0, self.channels, self.m)
        ]
        rows = self.config.rows
        return [self._fold(groups[at : at + rows]) for at in range(0, len(groups), rows)]

    def _fold(self, groups: list[tuple[int, int]]) -> Fold:
        """groups: (segment, first channel)."""
        entries = 0
        words: set[tuple[int, int]] = set()
        for segment, first in groups:
            length = min(self.m, self.channels - first)
            entries += self._entries(length)
            words.update((segment, word) for word in self._words(first, length))
        return Fold(entries, len(words))

    def _words(self, first: int, length: int) -> range:
        """ACT words, inside a pixel, of `length` channels from `first`."""
        lanes = self.config.activation_lanes
        return range(first // lanes, (first + length - 1) // lanes + 1)

    def _filled(self, channels: int) -> int:
        """Positions that the entries of a chunk may name: of whole groups when packed."""
        return ceil_div(channels, self.m) * self.m if self.packed else channels

    def _entries(self, channels: int) -> int:
        """Entries of consecutive channels; a packed group has n, also where it is cut."""
        return ceil_div(channels, self.m) * self.n if self.packed else channels


def _parts(total: int, step: int) -> Iterator[int]:
    """Cut `total` into parts of `step`; the last one is what is left."""
    return (min(step, total - first) for first in range(0, total, step))
