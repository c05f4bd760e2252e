"""Cycles of one instruction of the STCE, SORE and WUVE: the formulas of docs/microarchitecture.md.

The letters are those of that page. Numba kernels in integer arithmetic, allocation-free. `config`
is `config_vector(config)`, `registers` begins with the registers of the instruction's bank in the
order of `isa.REGISTERS` (a row of `Decoded.rows` does); all of them are those of a legal program.
The cost depends neither on the number of tiles nor on the length of a segment.
"""

from typing import NamedTuple

from .config_vector import CONFIG_POSITION, Vector
from .constants import (
    MATMUL_START_CYCLES,
    PARTIAL_SUM_WRITE_CYCLES,
    PRUNE_START_CYCLES,
    VECTOR_LATENCY_CYCLES,
    VECTOR_START_CYCLES,
)
from .decoded import REGISTER_COLUMN
from .isa import Flow, Lhs, Unit, VectorOp
from .jit import compiled

_ROWS = CONFIG_POSITION["rows"]
_COLS = CONFIG_POSITION["cols"]
_GROUP_MAX = CONFIG_POSITION["group_max"]
_MUL_LATENCY = CONFIG_POSITION["mul_latency"]
_ADD_LATENCY = CONFIG_POSITION["add_latency"]
_ACT_VALUES = CONFIG_POSITION["act_values_per_row_cycle"]
_SORE_LANES = CONFIG_POSITION["sore_lanes"]
_WUVE_LANES = CONFIG_POSITION["wuve_lanes"]

_STCE = REGISTER_COLUMN[Unit.STCE]
_FLOW, _LHS, _PACKED, _USE_TABLE = (_STCE[k] for k in ("flow", "lhs", "packed", "use_table"))
_N, _M, _IC, _IR = (_STCE[k] for k in ("n", "m", "ic", "ir"))
_IMAGES, _OUT_H, _OUT_W = (_STCE[k] for k in ("images", "out_h", "out_w"))
_TAPS_Y, _TAPS_X = _STCE["taps_y"], _STCE["taps_x"]
_CHANNELS, _COLUMNS, _SEGMENTS = (_STCE[k] for k in ("channels", "columns", "segments"))
_WS, _COLUMN = int(Flow.WS), int(Lhs.COLUMN)

_SORE = REGISTER_COLUMN[Unit.SORE]
_PRUNE_N, _PRUNE_M = _SORE["n"], _SORE["m"]
_PRUNE_ROWS, _PRUNE_COLUMNS = _SORE["rows"], _SORE["columns"]
_TRANSPOSE, _PRUNE_WGT_WORDS = _SORE["transpose"], _SORE["wgt_words"]

_WUVE = REGISTER_COLUMN[Unit.WUVE]
_VECTOR_ROWS, _VECTOR_WORDS = _WUVE["rows"], _WUVE["words"]
_UPDATE_READS = 3
_BIAS, _ADD, _MASK = int(VectorOp.BIAS), int(VectorOp.ADD), int(VectorOp.MASK)
_COLSUM = int(VectorOp.COLSUM)


class Chunks(NamedTuple):
    """The chunks of one OS tile: `segments` times `whole` chunks of Q, then one of the rest.

    A segment has at least one chunk; rest_entries is 0 where Q divides the segment.
    """

    segments: int
    whole: int
    whole_entries: int
    whole_fill: int
    rest_entries: int
    rest_fill: int


class Cut(NamedTuple):
    """A length cut into `pieces`: all alike but the last. Sizes in slots of a PE."""

    pieces: int
    slots: int
    last_slots: int


@compiled
def matmul_cycles(config: Vector, registers: Vector, accumulate: int) -> int:
    """T of a MATMUL."""
    if registers[_FLOW] == _WS:
        return ws_cycles(config, registers)
    return os_cycles(config, registers, accumulate)


@compiled
def os_cycles(config: Vector, registers: Vector, accumulate: int) -> int:
    """T of an output-stationary MATMUL. accumulate: 0 or 1."""
    R, C, L = config[_ROWS], config[_COLS], config[_ADD_LATENCY]
    ic, ir = registers[_IC], registers[_IR]
    by_channels = registers[_LHS] == _COLUMN
    taps = registers[_TAPS_Y] * registers[_TAPS_X]
    bands = taps if by_channels else 1
    rows = cut_of(registers[_CHANNELS] if by_channels else token_count(registers), ir, R)
    columns = cut_of(registers[_COLUMNS], ic, C)
    chunks = chunks_of(config, registers)
    E = R * ic * ir
    gap = E + R - 1 if accumulate else E
    work = _os_work(L, chunks, bands, rows, columns, gap, accumulate)
    return (
        MATMUL_START_CYCLES
        + max(chunks.whole_fill if chunks.whole else chunks.rest_fill, E if accumulate else 0)
        + work
        + (R - 1)
        + (C - 1)
        + config[_MUL_LATENCY]
        + L
        + E
    )


@compiled
def _os_work(
    L: int, chunks: Chunks, bands: int, rows: Cut, columns: Cut, gap: int, accumulate: int
) -> int:
    """U(1) + sum over t >= 2 of max(U(t), gap), by classes of tiles; accumulate: tile 1 has a gap too.

    A tile is whole or last in its column, and whole or last in its row; the first and the last tile
    of all are taken out of their classes, since no gap precedes the one and no fill follows the
    other.
    """
    corner = max(rows.last_slots * columns.last_slots, L)
    end = last_tile_work(chunks, corner)
    if bands * rows.pieces * columns.pieces == 1:
        return end
    full_rows, full_columns = bands * (rows.pieces - 1), columns.pieces - 1
    first = tile_work(chunks, max(rows.slots * columns.slots, L))
    total = full_rows * full_columns * max(first, gap)
    if full_rows > 0:
        total += full_rows * max(tile_work(chunks, max(rows.slots * columns.last_slots, L)), gap)
    if full_columns > 0:
        total += (
            bands
            * full_columns
            * max(tile_work(chunks, max(rows.last_slots * columns.slots, L)), gap)
        )
    total += bands * max(tile_work(chunks, corner), gap)
    total += max(end, gap) - max(tile_work(chunks, corner), gap)
    if accumulate:
        return total
    begin = tile_work(chunks, max(first_slots(rows) * first_slots(columns), L))
    return total - max(begin, gap) + begin


@compiled
def tile_work(chunks: Chunks, S: int) -> int:
    """U of a tile that another one follows."""
    work = chunks.whole - 1 if chunks.whole > 1 else 0
    work *= max(chunks.whole_entries * S, chunks.whole_fill)
    if chunks.whole == 0:
        work += max(chunks.rest_entries * S, chunks.rest_fill)
    elif chunks.rest_entries == 0:
        work += max(chunks.whole_entries * S, chunks.whole_fill)
    else:
        work += max(chunks.whole_entries * S, chunks.rest_fill)
        work += max(chunks.rest_entries * S, chunks.whole_fill)
    return chunks.segments * work


@compiled
def last_tile_work(chunks: Chunks, S: int) -> int:
    """U of the last tile: the feeder has nothing left to bring beside the last chunk."""
    entries = chunks.rest_entries if chunks.rest_entries else chunks.whole_entries
    fill = chunks.whole_fill if chunks.whole else chunks.rest_fill
    return tile_work(chunks, S) - max(entries * S, fill) + entries * S


@compiled
def chunks_of(config: Vector, registers: Vector) -> Chunks:
    R, a = config[_ROWS], config[_ACT_VALUES]
    Q = max(config[_GROUP_MAX], a * R)
    by_channels = registers[_LHS] == _COLUMN
    if by_channels:
        segments, length = 1, token_count(registers)
    else:
        segments, length = segment_count(registers), registers[_CHANNELS]
    whole = length // Q
    rest = length - whole * Q
    return Chunks(
        segments,
        whole,
        entries_of_chunk(registers, Q),
        _fill(config, registers, Q),
        entries_of_chunk(registers, rest),
        _fill(config, registers, rest),
    )


@compiled
def _fill(config: Vector, registers: Vector, q: int) -> int:
    """Cycles in which the feeder brings a chunk."""
    R, a, ir = config[_ROWS], config[_ACT_VALUES], registers[_IR]
    if registers[_LHS] == _COLUMN:
        return q * _ceil(ir, a)
    return ir * R * _ceil(_round_up(q, registers[_M]) if registers[_PACKED] else q, a * R)


@compiled
def entries_of_chunk(registers: Vector, q: int) -> int:
    """Entries of a chunk."""
    return _ceil(q, registers[_M]) * registers[_N] if registers[_PACKED] else q


@compiled
def ws_cycles(config: Vector, registers: Vector) -> int:
    """T of a weight-stationary MATMUL: its last fold ends last."""
    R, C = config[_ROWS], config[_COLS]
    folds = _ceil(group_count(registers), R)
    columns = cut_of(registers[_COLUMNS], registers[_IC], C)
    n, ir = registers[_N], registers[_IR]
    first_reads = fold_reads(config, registers, 0)
    last_reads = fold_reads(config, registers, folds - 1)
    slots, last_slots = columns.slots, columns.last_slots
    start = MATMUL_START_CYCLES + max(R * n * first_slots(columns), ir * first_reads)
    if columns.pieces > 1:
        whole = columns.pieces - 1
        start += whole * _fold_starts(config, registers, folds, slots)
        start += (whole - 1) * _spacing(config, registers, last_reads, slots, first_reads, slots)
        start += _spacing(config, registers, last_reads, slots, first_reads, last_slots)
    start += _fold_starts(config, registers, folds, last_slots)
    last_step = (_ceil(token_count(registers), ir) - 1) * fold_pass(
        config, registers, last_reads, last_slots
    )
    sums = _partial_sum_cycles(config, registers, last_slots) + ir * last_slots - 1
    return start + last_step + sums + (C - 1) + config[_MUL_LATENCY]


@compiled
def _fold_starts(config: Vector, registers: Vector, folds: int, slots: int) -> int:
    """start(last fold) - start(first fold) of a column tile of `slots` slots."""
    reads = fold_reads(config, registers, 0)
    total, fold = 0, 0
    while True:
        alike = min(folds_alike(config, registers, fold), folds - fold)
        total += (alike - 1) * _spacing(config, registers, reads, slots, reads, slots)
        fold += alike
        if fold == folds:
            return total
        following = fold_reads(config, registers, fold)
        total += _spacing(config, registers, reads, slots, following, slots)
        reads = following


@compiled
def _spacing(
    config: Vector, registers: Vector, reads: int, slots: int, next_reads: int, next_slots: int
) -> int:
    """start(f) - start(f-1), of folds that read so many words and occupy so many column slots."""
    R, n, ir = config[_ROWS], registers[_N], registers[_IR]
    steps = _ceil(token_count(registers), ir)
    P = fold_pass(config, registers, reads, slots)
    gained = max(0, P - fold_pass(config, registers, next_reads, next_slots))
    lag = row_delay(config, registers, slots) - row_delay(config, registers, next_slots)
    blocks = _ceil(registers[_M], config[_ACT_VALUES])
    busy = max(n * ws_entry(config, registers, slots), ir * blocks) + (R - 1) * lag
    last_step = max(busy, turn_cycles(config, registers) + ir * next_reads)
    return max(
        (steps - 1) * P + last_step,
        R * n * next_slots,
        _partial_sum_cycles(config, registers, slots) + (steps - 1) * gained,
    )


@compiled
def fold_pass(config: Vector, registers: Vector, reads: int, slots: int) -> int:
    """P of a fold: Ir tokens."""
    entry = ws_entry(config, registers, slots)
    return max(registers[_N] * entry, registers[_IR] * reads)


@compiled
def _partial_sum_cycles(config: Vector, registers: Vector, slots: int) -> int:
    """D: from the start of a fold until the first slot's sum may be read back."""
    return config[_ROWS] * row_delay(config, registers, slots) + PARTIAL_SUM_WRITE_CYCLES


@compiled
def row_delay(config: Vector, registers: Vector, slots: int) -> int:
    """d: a row of the array begins a step so much later than the row above it."""
    return (registers[_N] - 1) * ws_entry(config, registers, slots) + config[_ADD_LATENCY] + 1


@compiled
def turn_cycles(config: Vector, registers: Vector) -> int:
    """Between folds: rows take the blocks of the word before, but for its first one."""
    return min(config[_ROWS], _ceil(registers[_M], config[_ACT_VALUES])) - 1


@compiled
def ws_entry(config: Vector, registers: Vector, slots: int) -> int:
    """S of a column tile."""
    return max(registers[_IR] * slots, config[_ADD_LATENCY])


@compiled
def fold_reads(config: Vector, registers: Vector, fold: int) -> int:
    """Distinct (segment, ACT word) pairs of a fold, at least ceil(m / a).

    Words are numbered through all segments; those of a fold follow each other.
    """
    R, a = config[_ROWS], config[_ACT_VALUES]
    m, channels, lanes = registers[_M], registers[_CHANNELS], a * R
    groups, words = _ceil(channels, m), _ceil(channels, lanes)
    first = fold * R
    last = min(first + R, group_count(registers)) - 1
    segment, group = first // groups, first % groups
    first_word = segment * words + group * m // lanes
    segment, group = last // groups, last % groups
    last_word = segment * words + (min((group + 1) * m, channels) - 1) // lanes
    return max(last_word - first_word + 1, _ceil(m, a))


@compiled
def folds_alike(config: Vector, registers: Vector, fold: int) -> int:
    """A number of folds from `fold` on that surely read as many words as it does.

    Folds inside the whole groups of one segment do where a fold is a number of ACT words (m >= a);
    all folds do where a segment is a number of whole folds.
    """
    R = config[_ROWS]
    m, channels = registers[_M], registers[_CHANNELS]
    if channels % (m * R) == 0:
        return group_count(registers) // R - fold
    if m < config[_ACT_VALUES]:
        return 1
    group = fold * R % _ceil(channels, m)
    return max((channels // m - group) // R, 1)


@compiled
def group_count(registers: Vector) -> int:
    """Groups of all segments."""
    return segment_count(registers) * _ceil(registers[_CHANNELS], registers[_M])


@compiled
def segment_count(registers: Vector) -> int:
    """Segments of K where the rows are tokens."""
    if registers[_USE_TABLE]:
        return registers[_SEGMENTS]
    return registers[_TAPS_Y] * registers[_TAPS_X]


@compiled
def token_count(registers: Vector) -> int:
    return registers[_IMAGES] * registers[_OUT_H] * registers[_OUT_W]


@compiled
def cut_of(length: int, slots: int, lanes: int) -> Cut:
    """Pieces of slots * lanes."""
    piece = slots * lanes
    pieces = _ceil(length, piece)
    return Cut(pieces, slots, _ceil(length - (pieces - 1) * piece, lanes))


@compiled
def first_slots(cut: Cut) -> int:
    """Slots of the first piece."""
    return cut.slots if cut.pieces > 1 else cut.last_slots


@compiled
def prune_cycles(config: Vector, registers: Vector) -> int:
    """T of a PRUNE."""
    lanes, m = config[_SORE_LANES], registers[_PRUNE_M]
    blocks = _ceil(registers[_PRUNE_WGT_WORDS] * config[_COLS], lanes)
    if registers[_TRANSPOSE]:
        K, flush = _round_up(registers[_PRUNE_COLUMNS], max(m, lanes)), lanes
    else:
        K, flush = _round_up(registers[_PRUNE_ROWS], m), 0
    return PRUNE_START_CYCLES + blocks * K + registers[_PRUNE_N] + flush


@compiled
def update_cycles(config: Vector, registers: Vector) -> int:
    """T of an UPDATE."""
    return _streamed(config, registers, _UPDATE_READS)


@compiled
def vector_cycles(config: Vector, registers: Vector, operation: int) -> int:
    """T of a VECTOR. operation: a VectorOp."""
    if operation == _COLSUM:
        steps = registers[_VECTOR_WORDS] * _ceil(config[_COLS], config[_WUVE_LANES])
        row = max(steps, config[_ADD_LATENCY])
        return VECTOR_START_CYCLES + registers[_VECTOR_ROWS] * row + VECTOR_LATENCY_CYCLES
    two = operation in (_BIAS, _ADD, _MASK)
    return _streamed(config, registers, 2 if two else 1)


@compiled
def _streamed(config: Vector, registers: Vector, reads: int) -> int:
    words = registers[_VECTOR_ROWS] * registers[_VECTOR_WORDS]
    steps = words * reads * _ceil(config[_COLS], config[_WUVE_LANES])
    return VECTOR_START_CYCLES + steps + VECTOR_LATENCY_CYCLES


@compiled
def _ceil(x: int, y: int) -> int:
    return (x + y - 1) // y


@compiled
def _round_up(x: int, y: int) -> int:
    return _ceil(x, y) * y
