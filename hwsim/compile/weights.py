"""UPDATE and PRUNE of a layer's weight, tile by tile, as sections.

Master weights, momenta and gradients are FP32 [conv group][tap][input][output padded to 8]. The FP16
weight ("half") is [conv group][tap][input][output padded to 32], and so is a dense FF copy. UPDATE
writes the FP16 copy of a tile into ACT, from where SORE packs it, or a STORE takes it to DRAM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import lcm

import numpy as np

from cosparse.spec.patterns import padded
from hwsim.accesses import ceil_div
from hwsim.config import AcceleratorConfig
from hwsim.constants import (
    ACCUMULATOR_BYTES,
    DRAM_ALIGNMENT_BYTES,
    PACKED_LANES,
    VALUE_BYTES,
    VECTOR_LATENCY_CYCLES,
    VECTOR_START_CYCLES,
)
from hwsim.isa import Op, Space

from .copies import Copy
from .cuts import Block, Matrices, Tile, Words, blocks
from .sections import Place, Rows, Section, Step, TileWork, marked, mask
from .streams import (
    ACT_FREE,
    ACT_FULL,
    ACT_LOADED,
    FENCE_SIGNAL,
    FENCE_WAIT,
    LOADED,
    PACKED,
    UPDATED,
    WGT_FREE,
)

MASTERS = ("weight", "momentum", "gradient")
"""Operands of UPDATE, in the order of the instruction's fields."""
CHANNEL_UNIT = DRAM_ALIGNMENT_BYTES // VALUE_BYTES
"""Outputs of an FP32 row, and of a tile, are padded to 16 bytes of FP16."""
_ORDERED_TILES = 4
"""A LOAD knows of the STOREs so many tiles before it that they are complete, without a fence."""


@dataclass(frozen=True)
class Sgd:
    """g = dW * scale + decay * w; v = momentum * v + g; w = w - rate * v, in FP32.

    scale: 1 / the loss scale.
    """

    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 0.0
    scale: float = 1.0

    @property
    def registers(self) -> dict[str, int]:
        """FP32 bits."""
        return {name: float_bits(value) for name, value in vars(self).items()}


def float_bits(value: float) -> int:
    """Bits of an FP32 number."""
    return int(np.float32(value).view(np.uint32))


@dataclass(frozen=True)
class Update:
    """UPDATE of a weight. masters: byte addresses. copies: what SORE packs of every tile.

    half: byte address of the FP16 weight where it is stored straight from ACT; None where it is not.
    """

    matrices: Matrices
    masters: dict[str, int]
    copies: tuple[Copy, ...]
    half: int | None
    config: AcceleratorConfig
    optimizer: Sgd = field(default_factory=Sgd)

    @property
    def units(self) -> tuple[int, int]:
        """Rows and columns that a tile must keep together."""
        return units_of(self.copies)

    def words(self, tile: Tile) -> Words:
        """Of a tile."""
        return Words(
            tile.rows * self._act_words(tile.columns),
            copies_words(self.copies, tile, self.config),
            len(MASTERS) * tile.rows * self._acc_words(tile.columns),
        )

    def work(self, block: Block) -> TileWork:
        """Of a tile: masters are loaded, updated and stored, then packed."""
        master = self._master_rows(block)
        stores, sore = packing_work(self.copies, block, self.config)
        stores += (master, master)
        if self.half is not None:
            row_bytes = padded(self.matrices.columns, PACKED_LANES) * VALUE_BYTES
            stores += (half_rows(block, row_bytes),)
        steps = ceil_div(self.config.cols, self.config.wuve_lanes)
        words = block.rows * self._acc_words(block.columns)
        wuve = VECTOR_START_CYCLES + words * len(MASTERS) * steps + VECTOR_LATENCY_CYCLES
        return TileWork((master,) * len(MASTERS), stores, sore, wuve, before_stores=wuve)

    def sections(self, tile: Tile) -> Iterator[Section]:
        """The update of all matrices, cut into tiles."""
        for block in blocks(self.matrices, tile):
            fenced = self._fenced(block)
            yield Section(tuple(self._steps(block, fenced)), loops(block, self.matrices), fenced)

    def _fenced(self, block: Block) -> bool:
        """Whether tiles that follow closely meet, compared as intervals: columns of the same rows."""
        apart = block.row_tiles * self.matrices.count
        return block.columns < self.matrices.columns and block.rows > 1 and apart < _ORDERED_TILES

    def _steps(self, block: Block, fenced: bool) -> Iterator[Step]:
        yield from self._loads(block, fenced)
        yield self._update(block)
        stores = [self._master(Op.STORE, name, block) for name in ("weight", "momentum")]
        if self.half is not None:
            stores.append(self._half_store(self.half, block))
        yield from marked(
            stores,
            first={"wait": mask(UPDATED), "fences": FENCE_WAIT if fenced else 0},
            last={"fences": FENCE_SIGNAL if fenced or not self.copies else 0},
        )
        if self.copies:
            yield from self._packing(block, fenced)

    def _loads(self, block: Block, fenced: bool) -> Iterator[Step]:
        loads = [self._master(Op.LOAD, name, block, ahead=1) for name in MASTERS]
        last = {"signal": mask(LOADED), "fences": FENCE_SIGNAL if fenced else 0}
        return marked(loads, first={"fences": FENCE_WAIT}, last=last)

    def _packing(self, block: Block, fenced: bool) -> Iterator[Step]:
        """PRUNE of every copy, and the STOREs a tile later."""
        prunes, stores = pack_steps(
            self.copies, block, self._act_words(block.columns), self.config, ahead=-1
        )
        yield from marked(
            prunes,
            first={"wait": mask(ACT_FULL), "late_wait": mask(WGT_FREE)},
            last={"signal": mask(PACKED), "early_signal": mask(ACT_FREE)},
        )
        yield from marked(
            stores,
            first={"wait": mask(PACKED)},
            last={"early_signal": mask(WGT_FREE), "fences": 0 if fenced else FENCE_SIGNAL},
        )

    def _update(self, block: Block) -> Step:
        words = self._acc_words(block.columns)
        registers = {
            "rows": block.rows,
            "words": words,
            "a_words": words,
            "dst_words": self._act_words(block.columns),
            **self.optimizer.registers,
        }
        act = Place(0, self.config.activation_half_words)
        places = (*(self._place(name, block) for name in MASTERS), act)
        return Step(
            Op.UPDATE,
            registers,
            places,
            wait=mask(LOADED),
            late_wait=mask(ACT_FREE) if self.copies else 0,
            signal=mask(UPDATED, ACT_FULL) if self.copies else mask(UPDATED),
        )

    def _master(self, op: Op, name: str, block: Block, ahead: int = 0) -> Step:
        rows = self._master_rows(block)
        row_bytes = rows.stride
        first = block.first_row * row_bytes + block.first_column * ACCUMULATOR_BYTES
        return Step(
            op,
            rows.registers(Space.ACC, self.config),
            (self._place(name, block),),
            code=Space.ACC,
            ahead=ahead,
            dram=self.masters[name] + first,
            strides=(
                block.rows * row_bytes,
                self.matrices.rows * row_bytes,
                block.columns * ACCUMULATOR_BYTES,
            ),
        )

    def _master_rows(self, block: Block) -> Rows:
        row_bytes = padded(self.matrices.columns, CHANNEL_UNIT) * ACCUMULATOR_BYTES
        size = padded(block.columns, CHANNEL_UNIT) * ACCUMULATOR_BYTES
        return Rows(size, block.rows, row_bytes)

    def _half_store(self, half: int, block: Block) -> Step:
        row_bytes = padded(self.matrices.columns, PACKED_LANES) * VALUE_BYTES
        words = self._act_words(block.columns)
        return half_step(Op.STORE, half, self.matrices, block, row_bytes, words, self.config)

    def _acc_words(self, columns: int) -> int:
        """Words of a tile's row in ACC."""
        return ceil_div(padded(columns, CHANNEL_UNIT), self.config.cols)

    def _act_words(self, columns: int) -> int:
        """Words of a tile's row in ACT: UPDATE fills whole words of ACC."""
        lanes = self._acc_words(columns) * self.config.cols
        return ceil_div(lanes, self.config.activation_lanes)

    def _place(self, name: str, block: Block) -> Place:
        words = block.rows * self._acc_words(block.columns)
        return Place(MASTERS.index(name) * words, self.config.accumulator_half_words)


@dataclass(frozen=True)
class Prune:
    """Copies of FP16 matrices in DRAM: rows of `row_bytes`, `half` the byte address."""

    matrices: Matrices
    half: int
    row_bytes: int
    copies: tuple[Copy, ...]
    config: AcceleratorConfig

    @property
    def units(self) -> tuple[int, int]:
        """Rows and columns that a tile must keep together."""
        return units_of(self.copies)

    def words(self, tile: Tile) -> Words:
        """Of a tile."""
        act = tile.rows * self._act_words(tile.columns)
        return Words(act, copies_words(self.copies, tile, self.config))

    def work(self, block: Block) -> TileWork:
        """Of a tile: the FP16 rows are loaded, then packed."""
        stores, sore = packing_work(self.copies, block, self.config)
        return TileWork((half_rows(block, self.row_bytes),), stores, sore, 0, before_stores=sore)

    def sections(self, tile: Tile) -> Iterator[Section]:
        """The copies of all matrices, cut into tiles."""
        for block in blocks(self.matrices, tile):
            yield Section(tuple(self._steps(block)), loops(block, self.matrices))

    def _steps(self, block: Block) -> Iterator[Step]:
        act_words = self._act_words(block.columns)
        load = half_step(
            Op.LOAD, self.half, self.matrices, block, self.row_bytes, act_words, self.config
        )
        yield replace(load, ahead=1, signal=mask(ACT_LOADED), fences=FENCE_WAIT)
        prunes, stores = pack_steps(self.copies, block, act_words, self.config)
        yield from marked(prunes, first={"wait": mask(ACT_LOADED)}, last={"signal": mask(PACKED)})
        yield from marked(stores, first={"wait": mask(PACKED)}, last={"fences": FENCE_SIGNAL})

    def _act_words(self, columns: int) -> int:
        return ceil_div(padded(columns, CHANNEL_UNIT), self.config.activation_lanes)


def half_rows(block: Block, row_bytes: int) -> Rows:
    """An FP16 tile in DRAM."""
    return Rows(padded(block.columns, CHANNEL_UNIT) * VALUE_BYTES, block.rows, row_bytes)


def half_step(
    op: Op,
    address: int,
    matrices: Matrices,
    block: Block,
    row_bytes: int,
    row_words: int,
    config: AcceleratorConfig,
) -> Step:
    """LOAD or STORE of an FP16 tile: rows of `row_bytes` in DRAM, `row_words` apart in ACT."""
    rows = half_rows(block, row_bytes)
    return Step(
        op,
        {**rows.registers(Space.ACT, config), "row_words": row_words},
        (Place(0, config.activation_half_words),),
        code=Space.ACT,
        dram=address + block.first_row * row_bytes + block.first_column * VALUE_BYTES,
        strides=(
            block.rows * row_bytes,
            matrices.rows * row_bytes,
            block.columns * VALUE_BYTES,
        ),
    )


def pack_steps(
    copies: Sequence[Copy],
    block: Block,
    act_words: int,
    config: AcceleratorConfig,
    ahead: int = 0,
) -> tuple[list[Step], list[Step]]:
    """PRUNEs and STOREs of a tile's copies, which lie one after the other in WGT."""
    prunes: list[Step] = []
    stores: list[Step] = []
    word = 0
    for copy in copies:
        wgt = Place(word, config.weight_half_words)
        act = Place(0, config.activation_half_words)
        prunes.append(copy.prune(block, act, act_words, wgt, config))
        stores += [replace(step, ahead=ahead) for step in copy.stores(block, wgt, config)]
        word += copy.wgt_words(block.rows, block.columns, config)
    return prunes, stores


def copies_words(copies: Sequence[Copy], tile: Tile, config: AcceleratorConfig) -> int:
    """Words of WGT that all copies of a tile occupy."""
    return sum(copy.wgt_words(tile.rows, tile.columns, config) for copy in copies)


def packing_work(
    copies: Sequence[Copy], block: Block, config: AcceleratorConfig
) -> tuple[tuple[Rows, ...], int]:
    """(transfers, SORE's cycles) of `pack_steps`."""
    moved = tuple(rows for copy in copies for rows in copy.planes(block))
    return moved, sum(copy.sore_cycles(block, config) for copy in copies)


def units_of(copies: Sequence[Copy]) -> tuple[int, int]:
    """Rows and columns of a tile that cut neither a group nor a burst of any copy."""
    rows = lcm(1, *(copy.row_unit for copy in copies))
    return rows, lcm(CHANNEL_UNIT, *(copy.column_unit for copy in copies))


def loops(block: Block, matrices: Matrices) -> tuple[int, ...]:
    """Loops of a section: rows, matrices, columns."""
    return block.row_tiles, matrices.count, block.column_tiles
