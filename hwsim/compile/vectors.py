"""Vector work of WUVE over tensors in DRAM, tile by tile, as sections.

Tensors are channels last, [token][channel padded to 8]. Biases and sums over tokens are FP32.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cosparse.spec.patterns import padded
from hwsim.accesses import ceil_div
from hwsim.config import AcceleratorConfig
from hwsim.constants import ACCUMULATOR_BYTES, VALUE_BYTES
from hwsim.isa import Op, Space, VectorOp

from .cuts import Block, Matrices, Tile, Words, blocks
from .sections import Place, Rows, Section, Step, TileWork, marked, mask
from .streams import FENCE_SIGNAL, FENCE_WAIT, LOADED, UPDATED
from .weights import CHANNEL_UNIT, float_bits

KINDS: dict[str, VectorOp] = {
    "copy": VectorOp.COPY,
    "relu": VectorOp.RELU,
    "bias": VectorOp.BIAS,
    "add": VectorOp.ADD,
    "mask": VectorOp.MASK,
    "scale": VectorOp.SCALE,
}
"""What a vector pass can do, in any order: mask keeps values where the forward output is positive."""

TWO_TENSORS = ("add", "mask")
"""Kinds whose second operand is a tensor like the first; that of bias is one row."""

SPACES: dict[str, Space] = {"float16": Space.ACC16, "float32": Space.ACC}
"""By dtype in DRAM."""
_BYTES: dict[Space, int] = {Space.ACC16: VALUE_BYTES, Space.ACC: ACCUMULATOR_BYTES}


@dataclass(frozen=True)
class Tensor:
    """A matrix of tokens x channels in DRAM. repeated: it has one row, which all tokens use."""

    address: int
    space: Space
    columns: int
    repeated: bool = False

    @property
    def row_bytes(self) -> int:
        return padded(self.columns, CHANNEL_UNIT) * _BYTES[self.space]

    def rows(self, block: Block) -> Rows:
        """A tile in DRAM."""
        size = padded(block.columns, CHANNEL_UNIT) * _BYTES[self.space]
        return Rows(size, 1 if self.repeated else block.rows, self.row_bytes)

    def step(self, op: Op, block: Block, place: Place, config: AcceleratorConfig) -> Step:
        """LOAD or STORE of a tile."""
        stride = 0 if self.repeated else self.row_bytes
        column = block.first_column * _BYTES[self.space]
        return Step(
            op,
            self.rows(block).registers(self.space, config),
            (place,),
            code=self.space,
            dram=self.address + block.first_row * stride + column,
            strides=(block.rows * stride, 0, block.columns * _BYTES[self.space]),
        )


@dataclass(frozen=True)
class Elementwise:
    """result = the kinds, one after the other, of source; operands: one for each kind, or None."""

    matrices: Matrices
    kinds: tuple[str, ...]
    source: Tensor
    operands: tuple[Tensor | None, ...]
    result: Tensor
    config: AcceleratorConfig
    scale: float = 1.0

    @property
    def units(self) -> tuple[int, int]:
        """Rows and columns that a tile must keep together."""
        return 1, CHANNEL_UNIT

    def words(self, tile: Tile) -> Words:
        """Of a tile's operands."""
        return Words(acc=sum(self._rows(tile.rows)) * _words(tile.columns, self.config))

    def work(self, block: Block) -> TileWork:
        """Of a tile: operands are loaded, every kind reads at least one, the result is stored."""
        tensors = [self.source, *(item for item in self.operands if item is not None)]
        loads = tuple(tensor.rows(block) for tensor in tensors)
        words = block.rows * _words(block.columns, self.config)
        wuve = len(self.kinds) * words * ceil_div(self.config.cols, self.config.wuve_lanes)
        return TileWork(loads, (self.result.rows(block),), 0, wuve, before_stores=wuve)

    def sections(self, tile: Tile) -> Iterator[Section]:
        """The whole tensor, cut into tiles."""
        for block in blocks(self.matrices, tile):
            counts = (block.row_tiles, 1, block.column_tiles)
            yield Section(tuple(self._steps(block)), counts)

    def _rows(self, rows: int) -> list[int]:
        """Rows of source and operands in ACC."""
        counts = [operand.repeated for operand in self.operands if operand is not None]
        return [rows, *(1 if repeated else rows for repeated in counts)]

    def _places(self, block: Block) -> list[Place]:
        """Of source and operands, one after the other."""
        words, counts = _words(block.columns, self.config), self._rows(block.rows)
        starts = [sum(counts[:index]) * words for index in range(len(counts))]
        return [Place(start, self.config.accumulator_half_words) for start in starts]

    def _steps(self, block: Block) -> Iterator[Step]:
        places = self._places(block)
        tensors = [self.source, *(item for item in self.operands if item is not None)]
        yield from loads(tensors, places, block, self.config)
        yield from marked(
            list(self._vectors(block, places)),
            first={"wait": mask(LOADED)},
            last={"signal": mask(UPDATED)},
        )
        yield store(self.result, places[0], block, self.config)

    def _vectors(self, block: Block, places: list[Place]) -> Iterator[Step]:
        words = _words(block.columns, self.config)
        sizes = dict.fromkeys(("words", "a_words", "b_words", "dst_words"), words)
        registers = {"rows": block.rows, **sizes, "scale": float_bits(self.scale)}
        others = iter(places[1:])
        for kind, operand in zip(self.kinds, self.operands, strict=True):
            other = places[0] if operand is None else next(others)
            operands = (places[0], other, places[0])
            yield Step(Op.VECTOR, registers, operands, code=KINDS[kind])


@dataclass(frozen=True)
class ColumnSum:
    """Sums of the rows of every tile, in order; `result` has one row for each tile of rows."""

    matrices: Matrices
    source: Tensor
    result: Tensor
    config: AcceleratorConfig

    @property
    def units(self) -> tuple[int, int]:
        """Rows and columns that a tile must keep together."""
        return 1, CHANNEL_UNIT

    def words(self, tile: Tile) -> Words | None:
        """Of a tile and its sum; None where no rows are added."""
        if tile.rows == 1 and self.matrices.rows > 1:
            return None
        return Words(acc=(tile.rows + 1) * _words(tile.columns, self.config))

    def work(self, block: Block) -> TileWork:
        """Of a tile: rows are loaded and added."""
        steps = ceil_div(self.config.cols, self.config.wuve_lanes)
        row = max(_words(block.columns, self.config) * steps, self.config.add_latency)
        wuve = block.rows * row
        sums = self.result.rows(replace(block, rows=1))
        return TileWork((self.source.rows(block),), (sums,), 0, wuve, before_stores=wuve)

    def sections(self, tile: Tile) -> Iterator[Section]:
        """The whole tensor, cut into tiles."""
        for block in blocks(self.matrices, tile):
            counts = (block.row_tiles, 1, block.column_tiles)
            yield Section(tuple(self._steps(block, tile)), counts)

    def _steps(self, block: Block, tile: Tile) -> Iterator[Step]:
        words, half = _words(block.columns, self.config), self.config.accumulator_half_words
        rows, total = Place(0, half), Place(block.rows * words, half)
        yield from loads([self.source], [rows], block, self.config)
        registers = {"rows": block.rows, "words": words, "a_words": words, "dst_words": words}
        yield Step(
            Op.VECTOR,
            registers,
            (rows, Place(0, 0), total),
            code=VectorOp.COLSUM,
            wait=mask(LOADED),
            signal=mask(UPDATED),
        )
        first = block.first_row // tile.rows
        sums = Block(1, block.columns, first, block.first_column, block.row_tiles, 1)
        yield store(self.result, total, sums, self.config)


def loads(
    tensors: list[Tensor], places: list[Place], block: Block, config: AcceleratorConfig
) -> Iterator[Step]:
    """LOADs of a tile's operands, a tile ahead."""
    steps = [
        tensor.step(Op.LOAD, block, place, config)
        for tensor, place in zip(tensors, places, strict=True)
    ]
    for step in marked(steps, first={"fences": FENCE_WAIT}, last={"signal": mask(LOADED)}):
        yield replace(step, ahead=1)


def store(tensor: Tensor, place: Place, block: Block, config: AcceleratorConfig) -> Step:
    """STORE of a tile's result."""
    step = tensor.step(Op.STORE, block, place, config)
    return replace(step, wait=mask(UPDATED), fences=FENCE_SIGNAL)


def _words(columns: int, config: AcceleratorConfig) -> int:
    """Words of a tile's row."""
    return ceil_div(padded(columns, CHANNEL_UNIT), config.cols)
