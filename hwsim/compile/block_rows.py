"""Nests of a real block-sparse tensor, whose block rows have different numbers of present blocks.

Neighbouring block rows of a conv group with equally many segments are one nest. A segment is a
block, or a part of one where the array's words or the last channel cut it. A block row without any
multiplies +0 from outside the left tensor by +0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np

from cosparse.spec import Block, BlockTensor, Gemm, Phase, ShapeError
from cosparse.spec.dtypes import Array
from hwsim.config import AcceleratorConfig
from hwsim.constants import BLOCK_INDEX_BYTES, DRAM_ALIGNMENT_BYTES, VALUE_BYTES

from .lower import TENSOR_ALIGNMENT, gemm_nests, padded, pixel_bytes
from .nest import NEST, Nests
from .residues import Residue, residues

_ABSENT = -1


@dataclass(frozen=True)
class BlockRun:
    """The block rows of one nest.

    walk: number of the sub-convolution. lanes: first and last + 1 in the conv group.
    table: (block rows, segments) uint32 entries. values: (block rows, segments, channels, lanes).
    """

    walk: int
    conv_group: int
    lanes: tuple[int, int]
    table: Array
    values: Array

    @property
    def row_table_bytes(self) -> int:
        """Bytes of one block row's table."""
        return padded(BLOCK_INDEX_BYTES * self.table.shape[1], DRAM_ALIGNMENT_BYTES)


@dataclass(frozen=True)
class _Segments:
    """Segments in canonical order: block row, tap, first channel (segments,); values as in BlockRun."""

    rows: Array
    taps: Array
    channels: Array
    values: Array

    def where(self, kept: Array) -> "_Segments":
        return _Segments(self.rows[kept], self.taps[kept], self.channels[kept], self.values[kept])


def block_nests(gemm: Gemm, tensor: BlockTensor, config: AcceleratorConfig) -> Nests:
    """Uncut nests of FF or BP with this tensor, at the addresses of a program of its own.

    Raises ShapeError where the tensor is not the GEMM's, UnsupportedError where it cannot run.
    """
    walks = gemm_nests(gemm, config)
    runs = list(block_runs(gemm, tensor, int(walks[0]["segment_channels"])))
    nests = np.zeros(len(runs), NEST)
    for number, run in enumerate(runs):
        nests[number] = walks[run.walk]
        _narrow(nests[number : number + 1], run, tensor.pattern)
    _place(nests, runs, int(walks["out"].min()))
    return nests


def block_runs(gemm: Gemm, tensor: BlockTensor, channels: int) -> Iterator[BlockRun]:
    """The nests' block rows: sub-convolution by sub-convolution, conv group by conv group.

    channels: of a segment.
    """
    _check_tensor(gemm, tensor)
    groups, _, block_rows, _ = tensor.grid
    segments = _segments_of(tensor, channels)
    for walk, entries in enumerate(_tap_entries(gemm)):
        met = segments.where(entries[segments.taps] != _ABSENT)
        counts = np.bincount(met.rows, minlength=groups * block_rows)
        ends = np.cumsum(counts)
        for group, first, last in _equal_rows(counts.reshape(groups, block_rows)):
            rows = slice(group * block_rows + first, group * block_rows + last)
            part = met.where(np.arange(ends[rows][0] - counts[rows][0], ends[rows][-1]))
            table = (entries[part.taps] | part.channels).astype("<u4")
            shape = (last - first, int(counts[rows][0]))
            lanes = first * tensor.pattern.rows, min(last * tensor.pattern.rows, gemm.n)
            values = part.values.reshape(*shape, *part.values.shape[1:])
            yield BlockRun(walk, group, lanes, table.reshape(shape), values)


def _check_tensor(gemm: Gemm, tensor: BlockTensor) -> None:
    layout = tensor.layout
    got = (tensor.pattern, layout.conv_groups, layout.taps, layout.lanes, layout.reduction)
    expected = (gemm.rhs.pattern, gemm.groups, gemm.taps, gemm.n, gemm.channels)
    if got != expected or tensor.dtype != "float16":
        raise ShapeError(
            f"{gemm.phase} of '{gemm.name}': expected a float16 tensor of (pattern, conv groups, "
            f"taps, lanes, reduction) = {expected}, got {tensor.dtype}, {got}"
        )


def _segments_of(tensor: BlockTensor, channels: int) -> _Segments:
    """Every block cut into segments of `channels`, without those past the last channel."""
    lanes, cols = tensor.pattern.rows, tensor.pattern.cols
    parts = cols // channels
    taps, columns = np.divmod(tensor.block_columns.astype(np.int64), tensor.grid[3])
    first = columns[:, None] * cols + np.arange(parts) * channels
    values = tensor.values.reshape(-1, lanes, parts, channels).transpose(0, 2, 3, 1)
    segments = _Segments(
        np.repeat(tensor.block_rows(), parts),
        np.repeat(taps, parts),
        first.reshape(-1),
        values.reshape(-1, channels, lanes),
    )
    return segments.where(segments.channels < tensor.layout.reduction)


def _tap_entries(gemm: Gemm) -> Iterator[Array]:
    """For each sub-convolution the table entry of every tap, without a channel, or _ABSENT."""
    if gemm.conv is None or gemm.phase is not Phase.BP:
        kernel = gemm.conv.kernel if gemm.conv is not None else (1, 1)
        whole = [Residue(0, 0, 0, 1, size, 0, 0) for size in kernel]
        yield _entries_of(whole[0], whole[1], kernel)
        return
    conv = gemm.conv
    axes = (conv.in_hw, conv.kernel, conv.stride, conv.padding, conv.dilation)
    along = (residues(*(pair[axis] for pair in axes)) for axis in (0, 1))
    for y, x in product(*along):
        yield _entries_of(y, x, conv.kernel)


def _entries_of(y: Residue, x: Residue, kernel: tuple[int, int]) -> Array:
    entries = np.full(kernel, _ABSENT, np.int64)
    taps = np.arange(y.taps)[:, None] << 24 | np.arange(x.taps) << 16
    rows, columns = (r.first + r.tap_step * np.arange(r.taps) for r in (y, x))
    entries[np.ix_(rows, columns)] = taps
    return entries.reshape(-1)


def _equal_rows(counts: Array) -> Iterator[tuple[int, int, int]]:
    """(conv group, first, last + 1) of neighbouring block rows with equal counts."""
    for group, row in enumerate(counts.tolist()):
        first = 0
        for _, equal in groupby(row):
            last = first + len(list(equal))
            yield group, first, last
            first = last


def _narrow(nest: Nests, run: BlockRun, pattern: Block) -> None:
    """Make the nest of a whole walk that of a run."""
    first, last = run.lanes
    nest["groups"] = 1
    nest["columns"] = last - first
    nest["act"] += run.conv_group * nest["act_group"]
    nest["out"] += run.conv_group * nest["out_group"] + VALUE_BYTES * first
    nest["segments"] = run.table.shape[1]
    nest["block_columns"] = pattern.rows
    if run.table.size == 0:
        nest["segment_channels"] = 0
        nest["channels"] = 1
        nest["taps_y"] = nest["taps_x"] = 1
        nest["origin_y"] = nest["in_h"]
        nest["wgt_entry"] = pixel_bytes(last - first)


def _place(nests: Nests, runs: list[BlockRun], out: int) -> None:
    """Addresses: values and tables of all runs, one after the other, then the result.

    out: where the result begins as yet.
    """
    position = int(nests[0]["wgt"])
    for nest, run in zip(nests, runs, strict=True):
        rows, segments, channels, _ = run.values.shape
        nest["wgt"] = position
        entries = rows * segments * channels if run.table.size else 1
        position += entries * int(nest["wgt_entry"])
        nest["table"] = position
        position += rows * run.row_table_bytes
    nests["out"] += padded(position, TENSOR_ALIGNMENT) - out
