"""What SORE makes of a matrix in the activation scratchpad, and how it goes to DRAM.

A copy is an image [matrix][entry][lane]: of every group of m values the n largest, groups along the
rows of the matrix and lanes its columns, or transposed. With n = m = 1 it is the matrix itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from cosparse.spec import NM, Dense, Pattern, UnsupportedError
from cosparse.spec.patterns import padded
from hwsim.accesses import ceil_div
from hwsim.config import AcceleratorConfig
from hwsim.constants import (
    DRAM_ALIGNMENT_BYTES,
    INDEX_BITS,
    PACKED_LANES,
    PRUNE_START_CYCLES,
    VALUE_BYTES,
)
from hwsim.isa import Op, Space

from .cuts import Block, Matrices
from .sections import Place, Rows, Step

INDEX_SHARE = 8 * VALUE_BYTES // INDEX_BITS
"""Bytes of values for one byte of indices."""


@dataclass(frozen=True)
class Copy:
    """One copy of all matrices. values, indices: byte addresses; indexed: the positions are stored.

    lane_padding: lanes of the image are padded to a multiple of it.
    """

    name: str
    matrices: Matrices
    n: int
    m: int
    transposed: bool
    indexed: bool
    lane_padding: int = PACKED_LANES
    values: int = 0
    indices: int = 0

    @classmethod
    def packed(
        cls, name: str, pattern: Pattern, matrices: Matrices, config: AcceleratorConfig
    ) -> Self:
        """The image that a product reads: "ff", or "bp", which is transposed.

        Raises UnsupportedError for a pattern that SORE cannot select.
        """
        if isinstance(pattern, Dense):
            return cls(name, matrices, 1, 1, name == "bp", indexed=False)
        if not isinstance(pattern, NM):
            raise UnsupportedError(
                f"{name} copy on {config.name}: SORE selects N:M and copies dense, got {pattern}"
            )
        if config.group_max % pattern.m or pattern.n > config.n_max:
            raise UnsupportedError(
                f"{name} copy on {config.name}: expected M that divides group_max = "
                f"{config.group_max} and N <= n_max = {config.n_max}, got {pattern}"
            )
        return cls(name, matrices, pattern.n, pattern.m, name == "bp", indexed=True)

    @property
    def lane_unit(self) -> int:
        """Lanes that a tile must keep together: 16 bytes of values, or of indices."""
        values = DRAM_ALIGNMENT_BYTES // VALUE_BYTES
        return values * INDEX_SHARE if self.indexed else values

    @property
    def row_unit(self) -> int:
        """Rows of the matrix that a tile must keep together."""
        return self.lane_unit if self.transposed else self.m

    @property
    def column_unit(self) -> int:
        return self.m if self.transposed else self.lane_unit

    @property
    def lane_bytes(self) -> int:
        """Bytes of one entry's values."""
        lanes = self.matrices.rows if self.transposed else self.matrices.columns
        return padded(lanes, self.lane_padding) * VALUE_BYTES

    @property
    def matrix_bytes(self) -> int:
        """Bytes of one matrix's values."""
        length = self.matrices.columns if self.transposed else self.matrices.rows
        return self._entries(length) * self.lane_bytes

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each plane by name."""
        size = self.matrices.count * self.matrix_bytes
        planes = {f"{self.name}_values": size, f"{self.name}_indices": size // INDEX_SHARE}
        return planes if self.indexed else {f"{self.name}_values": size}

    def placed(self, addresses: Mapping[str, int]) -> Self:
        """The copy at the addresses of its planes."""
        values = addresses[f"{self.name}_values"]
        return replace(self, values=values, indices=addresses.get(f"{self.name}_indices", 0))

    def wgt_words(self, rows: int, columns: int, config: AcceleratorConfig) -> int:
        """Words of the weight scratchpad that a tile occupies."""
        entries, lanes = self._tile(rows, columns)
        return entries * ceil_div(lanes, config.cols)

    def prune(
        self, block: Block, act: Place, act_words: int, wgt: Place, config: AcceleratorConfig
    ) -> Step:
        """PRUNE of a tile at `act`, rows `act_words` words apart, into `wgt`."""
        _, lanes = self._tile(block.rows, block.columns)
        registers = {
            "n": self.n,
            "m": self.m,
            "rows": block.rows,
            "columns": block.columns,
            "transpose": int(self.transposed),
            "act_words": act_words,
            "wgt_words": ceil_div(lanes, config.cols),
        }
        return Step(Op.PRUNE, registers, (act, wgt))

    def stores(self, block: Block, wgt: Place, config: AcceleratorConfig) -> tuple[Step, ...]:
        """STOREs of a tile's values and indices."""
        entries, lanes = self._tile(block.rows, block.columns)
        size = lanes * VALUE_BYTES
        strides = (
            self._offset(block.rows, 0),
            self.matrix_bytes,
            self._offset(0, block.columns),
        )
        first = self._offset(block.first_row, block.first_column)
        planes = [(Space.WGT, self.values, 1)]
        planes += [(Space.IDX, self.indices, INDEX_SHARE)] if self.indexed else []
        return tuple(
            Step(
                Op.STORE,
                Rows(size // share, entries, self.lane_bytes // share).registers(space, config),
                (wgt,),
                code=space,
                dram=address + first // share,
                strides=tuple(stride // share for stride in strides),
            )
            for space, address, share in planes
        )

    def planes(self, block: Block) -> tuple[Rows, ...]:
        """What `stores` moves."""
        entries, lanes = self._tile(block.rows, block.columns)
        size, shares = lanes * VALUE_BYTES, (1, INDEX_SHARE) if self.indexed else (1,)
        return tuple(Rows(size // share, entries, self.lane_bytes // share) for share in shares)

    def sore_cycles(self, block: Block, config: AcceleratorConfig) -> int:
        """What `prune` takes at least."""
        _, lanes = self._tile(block.rows, block.columns)
        passes = ceil_div(ceil_div(lanes, config.cols) * config.cols, config.sore_lanes)
        if self.transposed:
            length = padded(block.columns, max(self.m, config.sore_lanes))
        else:
            length = padded(block.rows, self.m)
        return PRUNE_START_CYCLES + passes * length

    def _entries(self, length: int) -> int:
        return ceil_div(length, self.m) * self.n

    def _tile(self, rows: int, columns: int) -> tuple[int, int]:
        """(entries, lanes that are stored) of a tile."""
        length, lanes = (columns, rows) if self.transposed else (rows, columns)
        return self._entries(length), padded(lanes, self.lane_unit)

    def _offset(self, row: int, column: int) -> int:
        """Bytes from the first value of a matrix to that of a tile that begins at (row, column)."""
        length, lane = (column, row) if self.transposed else (row, column)
        return length // self.m * self.n * self.lane_bytes + lane * VALUE_BYTES
