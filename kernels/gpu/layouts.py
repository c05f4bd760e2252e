"""The GPU's layouts of a packed weight, one frozen class each, with their packers in torch.

A weight is (rows, columns); a product is y = x W^T with x (tokens, columns). Entries of a row that
are gathered one by one are stored in *chunks* of 8 words of 8 entries: word l of a chunk holds the
entries l, l + 8, ..., l + 56, so that a thread reads 8 entries with one access and 8 neighbouring
threads still gather from neighbouring columns. Padding entries are +0 at a valid column.

A weight that serves products on several streams at once needs one copy a stream: `tickets` of the
tiled layouts count arrivals.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

WORD_ENTRIES = 8
CHUNK_WORDS = 8
CHUNK_ENTRIES = WORD_ENTRIES * CHUNK_WORDS
WORD_BITS = 32
KEPT_ALIGNMENT = 64
"""Kept columns of a vector-wise row block are padded to a multiple of this."""
MAX_TILES = 1 << 16
"""Most output tiles whose sum is split among programs."""


def gathers_nm(n: int, m: int) -> bool:
    """Whether an N:M pattern has nibble positions: N divides a word, M a power of two up to 16."""
    return n in (1, 2, 4, 8) and m in (2, 4, 8, 16) and n <= m


def nm_words(columns: int, n: int, m: int) -> int:
    """Words of a row: whole chunks."""
    per_chunk = CHUNK_ENTRIES // n * m
    return -(-columns // per_chunk) * CHUNK_WORDS


@dataclass(frozen=True, eq=False)
class NMRows:
    """N:M, entries with 4-bit positions.

    values: (rows, words * 8); positions: (rows, words) int32, entry i of a word in bits 4i..4i+3.
    Entry i of word w belongs to group (w // 8) * (64 / n) + (i // n) * 8 + w % 8.
    """

    values: Tensor
    positions: Tensor
    n: int
    m: int
    shape: tuple[int, int]

    @property
    def words(self) -> int:
        return self.positions.shape[1]

    @property
    def name(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def planes(self) -> tuple[Tensor, ...]:
        return (self.values, self.positions)


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Any matrix, entries with 16-bit columns.

    values, columns (int16, read as unsigned): (words * 8,); starts: (rows + 1,) int32 in words;
    counts: (rows,) int32, entries without padding. Entry i of a row's word w has the rank
    (w // 8) * 64 + i * 8 + w % 8; ranks from counts on are padding.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor
    counts: Tensor
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        return "rows"

    @property
    def planes(self) -> tuple[Tensor, ...]:
        return (self.values, self.columns, self.starts, self.counts)


@dataclass(frozen=True, eq=False)
class VectorWise:
    """V:N:M, `v` rows share their columns.

    values: (row blocks * v, width); columns: (row blocks, width) int32. The first `kept` places of
    a row are entries, the rest padding with +0 at column 0.
    """

    values: Tensor
    columns: Tensor
    v: int
    kept: int
    shape: tuple[int, int]
    tickets: Tensor = field(repr=False)

    @property
    def name(self) -> str:
        return f"vector {self.v}"

    @property
    def planes(self) -> tuple[Tensor, ...]:
        return (self.values, self.columns)


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Square blocks (BSR) and the view of them by block column.

    values: (blocks, side, side); row_starts, block_columns: block rows in order.
    column_starts, block_rows, block_ids: the same blocks by block column, ids into `values`.
    """

    values: Tensor
    row_starts: Tensor
    block_columns: Tensor
    column_starts: Tensor
    block_rows: Tensor
    block_ids: Tensor
    shape: tuple[int, int]
    tickets: Tensor = field(repr=False)

    @property
    def side(self) -> int:
        return self.values.shape[1]

    @property
    def name(self) -> str:
        return f"block {self.side}"

    @property
    def planes(self) -> tuple[Tensor, ...]:
        return (self.values, self.row_starts, self.block_columns)

    @cached_property
    def owners(self) -> Tensor:
        """Block row of every block, int32."""
        counts = self.row_starts.diff()
        rows = torch.arange(len(counts), device=counts.device, dtype=torch.int32)
        return rows.repeat_interleave(counts)


@dataclass(frozen=True, eq=False)
class BitmapRows:
    """Any matrix, one bit a position.

    values: entries row by row; bits: (rows, words) int32, column c in bit c % 32 of word c // 32;
    offsets: (rows, words) int16, read as unsigned: entries of the row before the word; starts: (rows,)
    int32, entries before the row.
    """

    values: Tensor
    bits: Tensor
    offsets: Tensor
    starts: Tensor
    shape: tuple[int, int]

    @property
    def words(self) -> int:
        return self.bits.shape[1]

    @property
    def name(self) -> str:
        return "bitmap"

    @property
    def planes(self) -> tuple[Tensor, ...]:
        return (self.values, self.bits, self.offsets, self.starts)


GpuWeight = NMRows | SparseRows | VectorWise | BlockRows | BitmapRows


def weight_bytes(weight: GpuWeight) -> int:
    """Bytes that one product must read of the weight."""
    return sum(plane.numel() * plane.element_size() for plane in weight.planes)


def pack_nm_rows(values: Tensor, positions: Tensor, m: int, columns: int) -> NMRows:
    """values: (rows, groups, n); positions: the same shape, 0 <= position < m, any integers."""
    rows, groups, n = values.shape
    per_chunk = CHUNK_ENTRIES // n
    missing = -groups % per_chunk
    image = (rows, -1, WORD_ENTRIES // n, CHUNK_WORDS, n)

    def words(plane: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(plane, (0, 0, 0, missing))
        return padded.reshape(image).transpose(2, 3).reshape(rows, -1)

    shifts = 4 * torch.arange(WORD_ENTRIES, device=values.device)
    nibbles = words(positions.long()).reshape(rows, -1, WORD_ENTRIES)
    packed = (nibbles << shifts).sum(-1)
    return NMRows(words(values), _to_int32(packed), n, m, (rows, columns))


def nm_entries(weight: NMRows) -> tuple[Tensor, Tensor]:
    """Inverse of `pack_nm_rows`: (values, positions), each (rows, groups, n), padding included."""
    rows, n = weight.shape[0], weight.n
    shifts = 4 * torch.arange(WORD_ENTRIES, device=weight.values.device, dtype=torch.int32)
    nibbles = (weight.positions[..., None] >> shifts) & 15
    image = (rows, -1, CHUNK_WORDS, WORD_ENTRIES // n, n)
    return tuple(  # type: ignore[return-value]
        plane.reshape(image).transpose(2, 3).reshape(rows, -1, n)
        for plane in (weight.values, nibbles)
    )


def pack_sparse_rows(dense: Tensor, mask: Tensor) -> SparseRows:
    """dense, mask: (rows, columns), columns <= 65536. Every row is padded to whole chunks."""
    rows, columns = dense.shape
    device = dense.device
    row, column = mask.nonzero(as_tuple=True)
    counts = mask.sum(1)
    chunks = (counts + CHUNK_ENTRIES - 1) // CHUNK_ENTRIES
    chunk_starts = torch.cat([chunks.new_zeros(1), chunks.cumsum(0)])
    rank = torch.arange(len(row), device=device) - (counts.cumsum(0) - counts)[row]
    inside = rank % CHUNK_ENTRIES
    stored = inside % CHUNK_WORDS * WORD_ENTRIES + inside // CHUNK_WORDS
    place = (chunk_starts[row] + rank // CHUNK_ENTRIES) * CHUNK_ENTRIES + stored
    total = int(chunk_starts[-1]) * CHUNK_ENTRIES
    values = dense.new_zeros(total)
    values[place] = dense[row, column]
    index = torch.zeros(total, dtype=torch.int16, device=device)
    index[place] = _to_int16(column)
    starts = (chunk_starts * CHUNK_WORDS).to(torch.int32)
    return SparseRows(values, index, starts, counts.to(torch.int32), (rows, columns))


def row_entries(weight: SparseRows) -> tuple[Tensor, Tensor]:
    """(row, whether it is no padding) of every stored entry, in stored order."""
    widths = weight.starts.diff() * WORD_ENTRIES
    rows = torch.arange(len(widths), device=widths.device)
    row = rows.repeat_interleave(widths)
    place = torch.arange(len(row), device=row.device) - weight.starts[row].long() * WORD_ENTRIES
    chunk, inside = place // CHUNK_ENTRIES, place % CHUNK_ENTRIES
    rank = chunk * CHUNK_ENTRIES + inside % WORD_ENTRIES * CHUNK_WORDS + inside // WORD_ENTRIES
    return row, rank < weight.counts[row]


def pack_bitmap_rows(dense: Tensor, mask: Tensor) -> BitmapRows:
    """dense, mask: (rows, columns), columns <= 65536, fewer than 2**31 marks."""
    rows, columns = dense.shape
    padded = torch.nn.functional.pad(mask, (0, -columns % WORD_BITS)).reshape(rows, -1, WORD_BITS)
    shifts = torch.arange(WORD_BITS, device=mask.device)
    counts = padded.sum(-1)
    before = counts.cumsum(-1) - counts
    totals = counts.sum(-1)
    return BitmapRows(
        values=dense[mask],
        bits=_to_int32((padded.long() << shifts).sum(-1)),
        offsets=_to_int16(before),
        starts=(totals.cumsum(0) - totals).to(torch.int32),
        shape=(rows, columns),
    )


def bitmap_mask(weight: BitmapRows) -> Tensor:
    """Boolean (rows, columns)."""
    shifts = torch.arange(WORD_BITS, device=weight.bits.device, dtype=torch.int32)
    present = (weight.bits[..., None] >> shifts) & 1
    return present.reshape(len(present), -1)[:, : weight.shape[1]].bool()


def pack_vector_wise(dense: Tensor, kept_mask: Tensor, v: int) -> VectorWise:
    """dense: (rows, columns); kept_mask: (row blocks, columns), equally many marks a block."""
    rows, columns = dense.shape
    blocks = len(kept_mask)
    index = kept_mask.nonzero()[:, 1].reshape(blocks, -1)
    count = index.shape[1]
    missing = -count % KEPT_ALIGNMENT
    padded = torch.nn.functional.pad(dense, (0, 0, 0, blocks * v - rows)).reshape(
        blocks, v, columns
    )
    values = padded.gather(2, index[:, None].expand(-1, v, -1))
    values = torch.nn.functional.pad(values, (0, missing)).reshape(blocks * v, -1).contiguous()
    index = torch.nn.functional.pad(index, (0, missing)).to(torch.int32)
    return VectorWise(values, index, v, count, (rows, columns), _tickets(dense.device))


def pack_block_rows(dense: Tensor, kept: Tensor, side: int) -> BlockRows:
    """dense: (rows, columns); kept: (block rows, block columns), which blocks are present."""
    rows, columns = dense.shape
    across, down = kept.shape
    padded = torch.nn.functional.pad(dense, (0, down * side - columns, 0, across * side - rows))
    grid = padded.reshape(across, side, down, side).transpose(1, 2)
    row, column = kept.nonzero(as_tuple=True)
    values = grid[row, column].contiguous()
    order = column.argsort(stable=True)
    return BlockRows(
        values=values,
        row_starts=_starts(kept.sum(1)),
        block_columns=column.to(torch.int32),
        column_starts=_starts(kept.sum(0)),
        block_rows=row[order].to(torch.int32),
        block_ids=order.to(torch.int32),
        shape=(rows, columns),
        tickets=_tickets(dense.device),
    )


def to_dense(weight: GpuWeight) -> Tensor:
    """The dense (rows, columns) tensor, by torch's indexing; absent entries are +0."""
    return _TO_DENSE[type(weight)](weight)


def _dense_nm(weight: NMRows) -> Tensor:
    rows, columns = weight.shape
    values, positions = nm_entries(weight)
    groups = values.new_zeros(rows, values.shape[1], weight.m)
    groups.scatter_(2, positions.long(), values)
    return groups.reshape(rows, -1)[:, :columns].contiguous()


def _dense_rows(weight: SparseRows) -> Tensor:
    rows, columns = weight.shape
    row, present = row_entries(weight)
    dense = weight.values.new_zeros(rows, columns)
    column = weight.columns.long() & 0xFFFF
    dense[row[present], column[present]] = weight.values[present]
    return dense


def _dense_vector_wise(weight: VectorWise) -> Tensor:
    rows, columns = weight.shape
    blocks, width = weight.columns.shape
    dense = weight.values.new_zeros(blocks, weight.v, columns)
    index = weight.columns.long()[:, None].expand(-1, weight.v, -1)
    dense.scatter_add_(2, index, weight.values.reshape(blocks, weight.v, width))
    return dense.reshape(-1, columns)[:rows].contiguous()


def _dense_blocks(weight: BlockRows) -> Tensor:
    rows, columns = weight.shape
    side = weight.side
    across, down = len(weight.row_starts) - 1, len(weight.column_starts) - 1
    grid = weight.values.new_zeros(across, down, side, side)
    grid[weight.owners.long(), weight.block_columns.long()] = weight.values
    dense = grid.transpose(1, 2).reshape(across * side, down * side)
    return dense[:rows, :columns].contiguous()


def _dense_bitmap(weight: BitmapRows) -> Tensor:
    return weight.values.new_zeros(weight.shape).masked_scatter_(bitmap_mask(weight), weight.values)


_TO_DENSE: dict[type, Callable[[Any], Tensor]] = {
    NMRows: _dense_nm,
    SparseRows: _dense_rows,
    VectorWise: _dense_vector_wise,
    BlockRows: _dense_blocks,
    BitmapRows: _dense_bitmap,
}


def _to_int32(words: Tensor) -> Tensor:
    """Keep the low 32 bits of non-negative integers."""
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def _to_int16(values: Tensor) -> Tensor:
    """Keep the bits of integers below 65536."""
    return torch.where(values >= 1 << 15, values - (1 << 16), values).to(torch.int16)


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)


def _tickets(device: torch.device) -> Tensor:
    return torch.zeros(MAX_TILES, dtype=torch.int32, device=device)
