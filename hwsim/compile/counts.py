"""Events of a cut nest and where the array's time goes, by classes of blocks, not step by step.

Each loop of a nest has whole blocks and a last one, and the tiles of a MATMUL do too. MATMULs, loads
of the right operand and stores depend on nothing else. Loads of the left operand also depend on the
border of the image; their pixel rows are summed over the blocks that touch it.

Time of the array is in PE-cycles, R x C a cycle, so that every part is an integer (letters as in
docs/microarchitecture.md):

    issue    MACs: rows x columns of the MATMUL x entries of K; where C < 8 its columns include those
             that fill a stored piece of 16 bytes
    edges    other PEs while an entry is worked on, occupied slots x entries x R x C - MACs: rows and
             columns of a tile beyond the result; in WS also tokens that the last step has less than
             Ir, groups that the last fold has less than R, and entries that a short group misses
    adder    entries x (S - occupied slots)
    data     P - entries x S (WS: P - n x S), none after the last tile or step; before the first tile
             the first fill or, when longer, the first values that accumulate (WS: the first weights
             or words)
    drain    OS: gap - U, skew, Lm + L and the last shadow chain
             WS: the next fold waits for its weights or for D; the last sums on their way to the banks
    start    matmul_start

They sum to R x C x the durations of all MATMULs. Over R x C, issue + edges is what the engine calls
busy, and data + start its stall `data`; adder and drain are its stalls of the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.config_vector import CONFIG_POSITION, config_vector
from hwsim.constants import (
    ACCUMULATOR_BYTES,
    INDEX_BITS,
    INSTRUCTION_BYTES,
    MATMUL_START_CYCLES,
    VALUE_BYTES,
)
from hwsim.decoded import REGISTER_COLUMN
from hwsim.durations import matmul_cycles
from hwsim.energy import EventCounts
from hwsim.isa import Flow, Lhs, Unit
from hwsim.jit import compiled

from .loops import block_counts, loop_roles
from .matmul_work import matmul_work
from .nest import Nests
from .state import (
    LEVELS,
    ROLE_B,
    ROLE_CB,
    ROLE_G,
    ROLE_IB,
    ROLE_TX,
    ROLE_TY,
    ROLE_YB,
    STCE_REGISTERS,
)
from .transfers import (
    block_size,
    ceil_div,
    idx_transfer,
    matmul_registers,
    out_transfer,
    patch,
    slice_bytes,
    table_transfer,
    wgt_transfer,
)

ARRAY = ("issue", "edges", "adder", "data", "drain", "start")
"""Where the array's time goes; see above."""

TRAFFIC = (
    "activation_words_read_bytes",
    "activation_bytes_written",
    "weight_bytes_read",
    "weight_bytes_written",
    "accumulator_bytes_read",
    "accumulator_bytes_written",
    "dram_bytes_read",
    "dram_bytes_written",
)
_ISSUE, _EDGES, _ADDER, _DATA, _DRAIN, _START = range(6)
(
    _ACT_READ,
    _ACT_WRITTEN,
    _WGT_READ,
    _WGT_WRITTEN,
    _ACC_READ,
    _ACC_WRITTEN,
    _DRAM_READ,
    _DRAM_WRITTEN,
) = range(6, 14)
_COUNTERS = len(ARRAY) + len(TRAFFIC)
"""Slots of `found`: ARRAY, then TRAFFIC."""

_SPATIAL = 1 << ROLE_YB | 1 << ROLE_IB
_KERNEL = 1 << ROLE_CB | 1 << ROLE_TX | 1 << ROLE_TY
_CUT = _SPATIAL | _KERNEL | 1 << ROLE_B
"""Sets of roles: bit r is role r. One of _SPATIAL and _KERNEL is K, the other the result's rows."""

_ROWS, _COLS = CONFIG_POSITION["rows"], CONFIG_POSITION["cols"]
_ADD_LATENCY = CONFIG_POSITION["add_latency"]
_ACT_VALUES = CONFIG_POSITION["act_values_per_row_cycle"]

_STCE = REGISTER_COLUMN[Unit.STCE]
_FLOW, _LHS, _PACKED, _USE_TABLE = (_STCE[k] for k in ("flow", "lhs", "packed", "use_table"))
_N, _M, _IC, _IR = (_STCE[k] for k in ("n", "m", "ic", "ir"))
_TAPS_Y, _TAPS_X = _STCE["taps_y"], _STCE["taps_x"]
_CHANNELS, _COLUMNS = _STCE["channels"], _STCE["columns"]
_WS, _COLUMN = int(Flow.WS), int(Lhs.COLUMN)


@dataclass(frozen=True)
class Counts:
    """One operation. array: PE-cycles for each of ARRAY."""

    events: EventCounts
    array: Mapping[str, int]


def count(nests: Nests, config: AcceleratorConfig, instructions: int | None = None) -> Counts:
    """Counts of the program that runs cut nests one after the other.

    instructions: of that program without HALT, as `evaluate` counts them; None leaves
    events.instruction_bytes at 0.
    """
    found = np.zeros(_COUNTERS, np.int64)
    count_nests(nests, config_vector(config), found)
    values = found.tolist()
    array = dict(zip(ARRAY, values, strict=False))
    fetched = 0 if instructions is None else instructions + len(Unit)
    events = EventCounts(
        macs_fp16=array["issue"],
        lutram_reads=array["issue"],
        idle_slots=array["edges"] + array["adder"],
        instruction_bytes=fetched * INSTRUCTION_BYTES,
        **dict(zip(TRAFFIC, values[len(ARRAY) :], strict=True)),
    )
    return Counts(events, array)


@compiled
def count_nests(nests: Any, config: Any, found: Any) -> None:
    """Add the counts of all steps of cut nests to `found`: (_COUNTERS,) int64."""
    registers = np.zeros(STCE_REGISTERS, np.int64)
    at = np.zeros(LEVELS, np.int64)
    for nest in nests:
        _count_left_loads(nest, config, found)
        _count_classes(nest, config, registers, at, found)


@compiled
def _count_classes(nest: Any, config: Any, registers: Any, at: Any, found: Any) -> None:
    """MATMULs, loads of the right operand and stores.

    A class is a set of roles: those at their last block; the others are at any block before it, for
    which `at` takes the first. Where blocks along some roles share a transfer, the class that has all
    these roles in it counts the transfer.
    """
    counts = block_counts(nest)
    reduction, rows = (_SPATIAL, _KERNEL) if nest.lhs == _COLUMN else (_KERNEL, _SPATIAL)
    reloaded = _reloaded(nest, counts, rows)
    for last in range(_CUT + 1):
        times = nest.groups * _blocks(counts, last, _CUT)
        if times == 0:
            continue
        _place(at, counts, last)
        firsts = 0
        if _at_first(at, reduction):
            firsts = nest.groups * _blocks(counts, last, _CUT & ~reduction)
        _count_matmuls(nest, config, registers, at, firsts, times - firsts, found)
        if reloaded or last & rows == rows:
            _count_right_loads(nest, config, at, times, found)
        if last & reduction == reduction:
            _count_stores(nest, config, at, times, found)


@compiled
def _blocks(counts: Any, last: int, roles: int) -> int:
    """Blocks of a class along some roles."""
    blocks = 1
    for role in range(ROLE_G):
        if roles & ~last & 1 << role:
            blocks *= counts[role] - 1
    return blocks


@compiled
def _place(at: Any, counts: Any, last: int) -> None:
    for role in range(ROLE_G):
        at[role] = counts[role] - 1 if last & 1 << role else 0


@compiled
def _at_first(at: Any, roles: int) -> bool:
    """Whether a class has the first block along some roles."""
    passed = 0
    for role in range(ROLE_G):
        if roles & 1 << role:
            passed += at[role]
    return bool(passed == 0)


@compiled
def _reloaded(nest: Any, counts: Any, constant: int) -> bool:
    """Whether an operand that is constant along some neighbouring loops is loaded again in them.

    It is when another loop runs inside: that one has replaced it by the time they come to it again.
    """
    roles = loop_roles(nest)
    inside = 1
    for level in range(LEVELS):
        if constant & 1 << roles[level]:
            return bool(inside > 1)
        inside *= counts[roles[level]]
    return False


@compiled
def _count_left_loads(nest: Any, config: Any, found: Any) -> None:
    counts = block_counts(nest)
    lanes = config[_ACT_VALUES] * config[_ROWS]
    passes = counts[ROLE_B] if _reloaded(nest, counts, 1 << ROLE_B) else 1
    width = patch(nest, 0, 0, 0)[1][1]
    pixels = nest.groups * passes * nest.images * _pixel_rows(nest, counts) * width
    pixels *= counts[ROLE_TX]
    for block, blocks in ((0, counts[ROLE_CB] - 1), (counts[ROLE_CB] - 1, 1)):
        size = slice_bytes(nest, block)
        words = ceil_div(size, VALUE_BYTES * lanes)
        found[_DRAM_READ] += pixels * blocks * size
        found[_ACT_WRITTEN] += pixels * blocks * words * VALUE_BYTES * lanes


@compiled
def _pixel_rows(nest: Any, counts: Any) -> int:
    """Resident pixel rows, summed over the blocks of token rows and of tap rows."""
    rows = 0
    for tap in range(counts[ROLE_TY]):
        begin, end = _inner_blocks(nest, counts, tap)
        rows += (end - begin) * patch(nest, begin, tap, 0)[0][1]
        for block in range(begin):
            rows += patch(nest, block, tap, 0)[0][1]
        for block in range(end, counts[ROLE_YB]):
            rows += patch(nest, block, tap, 0)[0][1]
    return rows


@compiled
def _inner_blocks(nest: Any, counts: Any, tap: int) -> Any:
    """(begin, end) of whole blocks of token rows that read inside the image: equally many rows."""
    reach = (block_size(tap, nest.block_taps_y, nest.taps_y) - 1) * nest.step_y
    origin = nest.origin_y + tap * nest.block_taps_y * nest.step_y
    highest = origin + (nest.block_h - 1) * nest.stride_y + max(reach, 0)
    step = nest.block_h * nest.stride_y
    begin = max(ceil_div(-origin - min(reach, 0), step), 0)
    end = min((nest.in_h - 1 - highest) // step + 1, counts[ROLE_YB] - 1)
    end = max(end, 0)
    return min(begin, end), end


@compiled
def _count_right_loads(nest: Any, config: Any, at: Any, times: int, found: Any) -> None:
    C = config[_COLS]
    values = wgt_transfer(
        nest, 0, at[ROLE_IB], at[ROLE_YB], at[ROLE_TY], at[ROLE_TX], at[ROLE_CB], at[ROLE_B], C
    )
    word = VALUE_BYTES * C
    _count_load(values, word, times, found)
    if nest.packed:
        _count_load(idx_transfer(nest, values), C * INDEX_BITS // 8, times, found)
    if nest.segments > 0:
        _count_load(table_transfer(nest, 0, at[ROLE_B]), word, times, found)


@compiled
def _count_load(parts: Any, word_bytes: int, times: int, found: Any) -> None:
    """A LOAD into WGT or IDX, whose words have the same bytes in DRAM."""
    found[_DRAM_READ] += times * _moved(parts)
    found[_WGT_WRITTEN] += times * _words(parts, word_bytes) * word_bytes


@compiled
def _count_stores(nest: Any, config: Any, at: Any, times: int, found: Any) -> None:
    C = config[_COLS]
    parts = out_transfer(
        nest, 0, at[ROLE_IB], at[ROLE_YB], at[ROLE_TY], at[ROLE_TX], at[ROLE_CB], at[ROLE_B], C
    )
    lane_bytes = ACCUMULATOR_BYTES if nest.lhs == _COLUMN else VALUE_BYTES
    found[_DRAM_WRITTEN] += times * _moved(parts)
    found[_ACC_READ] += times * _words(parts, lane_bytes * C) * ACCUMULATOR_BYTES * C


@compiled
def _moved(parts: Any) -> int:
    """DRAM bytes of a transfer."""
    moved: int = parts[1] * parts[2] * parts[4] * parts[6]
    return moved


@compiled
def _words(parts: Any, word_bytes: int) -> int:
    """Scratchpad words of a transfer. word_bytes: DRAM bytes of one."""
    rows: int = _moved(parts) // parts[8]
    return rows * ceil_div(parts[8], word_bytes)


@compiled
def _count_matmuls(
    nest: Any, config: Any, registers: Any, at: Any, firsts: int, others: int, found: Any
) -> None:
    """MATMULs of one class: those that start a sum, and those that accumulate."""
    lanes, C = config[_ACT_VALUES] * config[_ROWS], config[_COLS]
    matmul_registers(nest, at, lanes, C, registers)
    for accumulate, times in ((0, firsts), (1, others)):
        if times > 0:
            work = matmul_work(config, registers, accumulate)
            cycles = matmul_cycles(config, registers, accumulate)
            _add_array(config, work, cycles, times, found)
            _add_reads(config, work, registers[_PACKED], times, found)


@compiled
def _add_array(config: Any, work: Any, cycles: int, times: int, found: Any) -> None:
    counted = work.busy_cycles + work.adder_cycles + work.data_cycles + MATMUL_START_CYCLES
    array = times * config[_ROWS] * config[_COLS]
    found[_ISSUE] += times * work.macs
    found[_EDGES] += array * work.busy_cycles - times * work.macs
    found[_ADDER] += array * work.adder_cycles
    found[_DATA] += array * work.data_cycles
    found[_DRAIN] += array * (cycles - counted)
    found[_START] += array * MATMUL_START_CYCLES


@compiled
def _add_reads(config: Any, work: Any, packed: int, times: int, found: Any) -> None:
    C = config[_COLS]
    act_bytes = VALUE_BYTES * config[_ACT_VALUES] * config[_ROWS]
    pair_bytes = VALUE_BYTES * C + (C * INDEX_BITS // 8 if packed else 0)
    found[_ACT_READ] += times * work.act_words * act_bytes
    found[_WGT_READ] += times * (work.wgt_words * pair_bytes + work.table_bytes)
    found[_ACC_READ] += times * work.sums_read * ACCUMULATOR_BYTES * C
    found[_ACC_WRITTEN] += times * work.sums_written * ACCUMULATOR_BYTES * C
