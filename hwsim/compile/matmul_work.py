"""What one MATMUL does in its cycles: MACs, waits of the array, words of the scratchpads.

The classes of tiles and folds are those of `hwsim.durations`, whose cycles this splits; see `counts`.
"""

from typing import NamedTuple

from hwsim.config_vector import CONFIG_POSITION, Vector
from hwsim.constants import BLOCK_INDEX_BYTES
from hwsim.decoded import REGISTER_COLUMN
from hwsim.durations import (
    Chunks,
    Cut,
    chunks_of,
    cut_of,
    entries_of_chunk,
    first_slots,
    fold_reads,
    folds_alike,
    group_count,
    last_tile_work,
    segment_count,
    tile_work,
    token_count,
    turn_cycles,
    ws_entry,
)
from hwsim.isa import Flow, Lhs, Unit
from hwsim.jit import compiled

from .transfers import ceil_div

_ROWS, _COLS = CONFIG_POSITION["rows"], CONFIG_POSITION["cols"]
_ADD_LATENCY = CONFIG_POSITION["add_latency"]
_ACT_VALUES = CONFIG_POSITION["act_values_per_row_cycle"]

_STCE = REGISTER_COLUMN[Unit.STCE]
_FLOW, _LHS, _PACKED, _USE_TABLE = (_STCE[k] for k in ("flow", "lhs", "packed", "use_table"))
_N, _M, _IC, _IR = (_STCE[k] for k in ("n", "m", "ic", "ir"))
_TAPS_Y, _TAPS_X = _STCE["taps_y"], _STCE["taps_x"]
_CHANNELS, _COLUMNS = _STCE["channels"], _STCE["columns"]
_WS, _COLUMN = int(Flow.WS), int(Lhs.COLUMN)


class Work(NamedTuple):
    """One MATMUL. Cycles of the array as above, over R x C: busy is issue and edges.

    act_words, wgt_words, sums_read, sums_written: words of ACT, WGT and ACC. table_bytes: read of
    segment tables.
    """

    macs: int
    busy_cycles: int
    adder_cycles: int
    data_cycles: int
    act_words: int
    wgt_words: int
    table_bytes: int
    sums_read: int
    sums_written: int


@compiled
def matmul_work(config: Vector, registers: Vector, accumulate: int) -> Work:
    """What one MATMUL does in its cycles."""
    if registers[_FLOW] == _WS:
        return _ws_work(config, registers, accumulate)
    return _os_work(config, registers, accumulate)


@compiled
def _os_work(config: Vector, registers: Vector, accumulate: int) -> Work:
    by_channels = registers[_LHS] == _COLUMN
    bands = registers[_TAPS_Y] * registers[_TAPS_X] if by_channels else 1
    height = registers[_CHANNELS] if by_channels else token_count(registers)
    rows = cut_of(height, registers[_IR], config[_ROWS])
    columns = cut_of(registers[_COLUMNS], registers[_IC], config[_COLS])
    chunks = chunks_of(config, registers)
    entries = token_count(registers) if by_channels else _product_entries(registers)
    adder, data = _os_waits(config[_ADD_LATENCY], chunks, entries, bands, rows, columns)
    row_tiles = bands * rows.pieces
    tiles = row_tiles * columns.pieces
    sums = bands * height * _slots(columns)
    chain = config[_ROWS] * registers[_IC] * registers[_IR] if accumulate else 0
    return Work(
        macs=entries * bands * height * registers[_COLUMNS],
        busy_cycles=entries * bands * _slots(rows) * _slots(columns),
        adder_cycles=adder,
        data_cycles=data + max(chunks.whole_fill if chunks.whole else chunks.rest_fill, chain),
        act_words=tiles * _fills(chunks),
        wgt_words=entries * row_tiles * _slots(columns),
        table_bytes=tiles * segment_count(registers) * BLOCK_INDEX_BYTES
        if registers[_USE_TABLE]
        else 0,
        sums_read=sums if accumulate else 0,
        sums_written=sums,
    )


@compiled
def _os_waits(
    L: int, chunks: Chunks, entries: int, bands: int, rows: Cut, columns: Cut
) -> tuple[int, int]:
    """Cycles of all tiles beyond their occupied slots: (adder, data). entries: of a tile."""
    adder = data = 0
    for height, row_tiles in ((rows.slots, rows.pieces - 1), (rows.last_slots, 1)):
        for width, column_tiles in ((columns.slots, columns.pieces - 1), (columns.last_slots, 1)):
            tiles = bands * row_tiles * column_tiles
            S = max(height * width, L)
            adder += tiles * entries * (S - height * width)
            data += tiles * (tile_work(chunks, S) - entries * S)
    corner = max(rows.last_slots * columns.last_slots, L)
    return adder, data - tile_work(chunks, corner) + last_tile_work(chunks, corner)


@compiled
def _fills(chunks: Chunks) -> int:
    """Words that the feeder reads for a tile, one a cycle."""
    return chunks.segments * (chunks.whole * chunks.whole_fill + chunks.rest_fill)


@compiled
def _product_entries(registers: Vector) -> int:
    """Entries of K where the rows are tokens."""
    return segment_count(registers) * entries_of_chunk(registers, registers[_CHANNELS])


@compiled
def _slots(cut: Cut) -> int:
    """Occupied slots of all pieces."""
    return (cut.pieces - 1) * cut.slots + cut.last_slots


@compiled
def _ws_work(config: Vector, registers: Vector, accumulate: int) -> Work:
    R, n, ir = config[_ROWS], registers[_N], registers[_IR]
    tokens, columns = (
        token_count(registers),
        cut_of(registers[_COLUMNS], registers[_IC], config[_COLS]),
    )
    entries, folds = _product_entries(registers), ceil_div(group_count(registers), R)
    steps = ceil_div(tokens, ir)
    column_words = _slots(columns)
    adder, data = _ws_waits(config, registers, folds, steps, columns)
    first_words = ir * fold_reads(config, registers, 0)
    return Work(
        macs=tokens * registers[_COLUMNS] * entries,
        busy_cycles=folds * steps * n * ir * column_words,
        adder_cycles=adder,
        data_cycles=data + max(R * n * first_slots(columns), first_words),
        act_words=tokens * columns.pieces * _words_of_folds(config, registers, folds),
        wgt_words=column_words * entries,
        table_bytes=0,
        sums_read=tokens * column_words * (folds - 1 + accumulate),
        sums_written=tokens * column_words * folds,
    )


@compiled
def _ws_waits(
    config: Vector, registers: Vector, folds: int, steps: int, columns: Cut
) -> tuple[int, int]:
    """Cycles of all steps beyond their occupied slots: (adder, data).

    steps: of a fold. Beside each one the feeder brings the next, beside the last one of a fold the first
    of the fold behind it, and beside the very last one nothing.
    """
    n, ir = registers[_N], registers[_IR]
    adder = data = 0
    turn = turn_cycles(config, registers)
    for width, column_tiles in ((columns.slots, columns.pieces - 1), (columns.last_slots, 1)):
        S = ws_entry(config, registers, width)
        adder += column_tiles * folds * steps * n * (S - ir * width)
        steady = _passes(config, registers, folds, width, 0) - folds * n * S
        changes = _passes(config, registers, folds, width, turn) - folds * n * S
        data += column_tiles * ((steps - 1) * steady + changes)
    S = ws_entry(config, registers, columns.last_slots)
    first_reads = turn + ir * fold_reads(config, registers, 0)
    return adder, data - max(0, first_reads - n * S)


@compiled
def _passes(config: Vector, registers: Vector, folds: int, slots: int, turn: int) -> int:
    """P, summed over the folds of a column tile of `slots` slots; reads take `turn` cycles more."""
    entry, ir = registers[_N] * ws_entry(config, registers, slots), registers[_IR]
    total = fold = 0
    while fold < folds:
        alike = min(folds_alike(config, registers, fold), folds - fold)
        reads = fold_reads(config, registers, fold)
        total += alike * max(entry, turn + ir * reads)
        fold += alike
    return total


@compiled
def _words_of_folds(config: Vector, registers: Vector, folds: int) -> int:
    """Distinct (segment, ACT word) pairs, summed over folds.

    Each once, and once more where a fold begins inside a word.
    """
    lanes, m = config[_ACT_VALUES] * config[_ROWS], registers[_M]
    words = segment_count(registers) * ceil_div(registers[_CHANNELS], lanes)
    groups = ceil_div(registers[_CHANNELS], m)
    for fold in range(1, folds):
        if fold * config[_ROWS] % groups * m % lanes:
            words += 1
    return words
