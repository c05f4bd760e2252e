"""Events of a program that cost energy, counted from its instructions.

R, C, a: rows, columns, activation values a row and cycle. Scratchpads are accessed in whole words.

    LOAD, STORE, FILL   bytes of the runs at DRAM; words written or read x word bytes at the scratchpad
    MATMUL              macs         rows x columns of the result x entries of K; one LUTRAM read each
                        idle slots   R x C x (entries x S, summed over tiles or steps of folds) - macs
                        activations  the words that the feeder reads, again for every tile or column tile
                        weights      entries x ceil(w / C) words a tile or fold, indices when packed,
                                     the segment table once a tile
                        sums         a word of C for every row: written once a tile or fold, read back
                                     in later folds and with accumulate
    PRUNE               one ACT word a cycle; every lane takes a value; groups x n entries are written
    UPDATE, VECTOR      reads and writes of C values a word; COLSUM writes one row
    instructions        16 bytes each; HALT is in all four streams
"""

from collections.abc import Callable
from typing import TypeAlias

from .banks import Banks
from .config import AcceleratorConfig
from .constants import (
    ACCUMULATOR_BYTES,
    BLOCK_INDEX_BYTES,
    INDEX_BITS,
    INSTRUCTION_BYTES,
    VALUE_BYTES,
)
from .energy import EventCounts
from .engine.context import Registers
from .engine.fold import fold_plans
from .engine.sore import lane_blocks, values_per_lane
from .engine.walk import Walk, ceil_div
from .engine.wuve import operand_reads
from .isa import Flow, Instruction, Op, Space, Unit, VectorOp
from .program import Program

_Counter: TypeAlias = Callable[[Instruction, Registers, AcceleratorConfig], EventCounts]


def count_events(program: Program, config: AcceleratorConfig) -> EventCounts:
    """Totals over the program; they do not depend on time."""
    banks = {unit: Banks(unit) for unit in Unit}
    fetched = len(program) + len(Unit) - 1
    total = EventCounts(instruction_bytes=fetched * INSTRUCTION_BYTES)
    for instruction in program:
        unit = instruction.unit
        if instruction.op is Op.CONFIG and unit is not None:
            banks[unit].write(instruction)
        elif unit is not None:
            registers = banks[unit].read(instruction.args.get("bank", 0))
            total += _COUNTERS[instruction.op](instruction, registers, config)
    return total


def _transfer(
    instruction: Instruction, registers: Registers, config: AcceleratorConfig
) -> EventCounts:
    """Every row of a transfer takes whole scratchpad words."""
    space = Space(instruction.args["space"])
    runs = registers["count0"] * registers["count1"] * registers["count2"]
    moved = registers["run_bytes"] * runs
    rows = moved // registers["row_bytes"]
    words = rows * ceil_div(8 * registers["row_bytes"], _DRAM_BITS[space] * _lanes(space, config))
    local = words * _word_bytes(space, config)
    if instruction.op is Op.STORE:
        return EventCounts(**{"dram_bytes_written": moved, _READS[space]: local})
    return EventCounts(**{"dram_bytes_read": moved, _WRITES[space]: local})


def _fill(instruction: Instruction, _: Registers, config: AcceleratorConfig) -> EventCounts:
    space = Space(instruction.args["space"])
    return EventCounts(**{_WRITES[space]: instruction.args["words"] * _word_bytes(space, config)})


def _matmul(
    instruction: Instruction, registers: Registers, config: AcceleratorConfig
) -> EventCounts:
    walk = Walk.of(registers, config)
    accumulate = bool(instruction.args["accumulate"])
    if walk.flow is Flow.WS:
        return _folds(walk, accumulate)
    return _tiles(walk, accumulate)


def _tiles(walk: Walk, accumulate: bool) -> EventCounts:
    config, tiles, chunks = walk.config, list(walk.tiles()), walk.chunks()
    entries = sum(chunk.entries for chunk in chunks)
    macs = entries * sum(tile.rows * tile.columns for tile in tiles)
    slots = sum(max(walk.slots(tile), config.add_latency) for tile in tiles)
    sums = sum(tile.rows * ceil_div(tile.columns, config.cols) for tile in tiles)
    weights = entries * sum(ceil_div(tile.columns, config.cols) for tile in tiles)
    table = walk.segments * BLOCK_INDEX_BYTES if walk.table else 0
    activations = len(tiles) * sum(chunk.fill_cycles for chunk in chunks)
    sum_bytes = sums * _word_bytes(Space.ACC, config)
    return EventCounts(
        macs_fp16=macs,
        lutram_reads=macs,
        idle_slots=config.rows * config.cols * entries * slots - macs,
        activation_words_read_bytes=activations * _word_bytes(Space.ACT, config),
        weight_bytes_read=weights * _pair_word_bytes(walk.packed, config) + len(tiles) * table,
        accumulator_bytes_read=sum_bytes if accumulate else 0,
        accumulator_bytes_written=sum_bytes,
    )


def _folds(walk: Walk, accumulate: bool) -> EventCounts:
    config, plans = walk.config, fold_plans(walk)
    folds = walk.folds()
    column_tiles = list(walk.column_tiles())
    macs = walk.tokens * walk.columns * sum(fold.entries for fold in folds)
    entry_cycles = sum(plan.steps * plan.entry_cycles for plan in plans)
    column_words = sum(ceil_div(columns, config.cols) for columns in column_tiles)
    activations = walk.tokens * len(column_tiles) * sum(fold.words for fold in folds)
    weights = column_words * sum(fold.entries for fold in folds)
    sum_bytes = walk.tokens * column_words * _word_bytes(Space.ACC, config)
    return EventCounts(
        macs_fp16=macs,
        lutram_reads=macs,
        idle_slots=config.rows * config.cols * entry_cycles - macs,
        activation_words_read_bytes=activations * _word_bytes(Space.ACT, config),
        weight_bytes_read=weights * _pair_word_bytes(walk.packed, config),
        accumulator_bytes_read=sum_bytes * (len(folds) - 1 + accumulate),
        accumulator_bytes_written=sum_bytes * len(folds),
    )


def _prune(_: Instruction, registers: Registers, config: AcceleratorConfig) -> EventCounts:
    cycles = lane_blocks(registers, config) * values_per_lane(registers, config)
    depth = registers["columns"] if registers["transpose"] else registers["rows"]
    words = ceil_div(depth, registers["m"]) * registers["n"] * registers["wgt_words"]
    return EventCounts(
        sore_values=cycles * config.sore_lanes,
        activation_words_read_bytes=cycles * _word_bytes(Space.ACT, config),
        weight_bytes_written=words * _pair_word_bytes(True, config),
    )


def _update(
    instruction: Instruction, registers: Registers, config: AcceleratorConfig
) -> EventCounts:
    """Reads w, v and dW; writes w, v and the FP16 copy."""
    words = registers["rows"] * registers["words"]
    word_bytes = _word_bytes(Space.ACC, config)
    return EventCounts(
        wuve_elements=words * config.cols,
        accumulator_bytes_read=words * operand_reads(instruction) * word_bytes,
        accumulator_bytes_written=2 * words * word_bytes,
        activation_bytes_written=words * config.cols * VALUE_BYTES,
    )


def _vector(
    instruction: Instruction, registers: Registers, config: AcceleratorConfig
) -> EventCounts:
    words = registers["rows"] * registers["words"]
    column_sum = instruction.args["vector_op"] == VectorOp.COLSUM
    results = (registers["words"] if column_sum else words) * config.cols
    to_act = bool(registers["to_act"])
    return EventCounts(
        wuve_elements=words * config.cols,
        accumulator_bytes_read=words * operand_reads(instruction) * _word_bytes(Space.ACC, config),
        accumulator_bytes_written=0 if to_act else results * ACCUMULATOR_BYTES,
        activation_bytes_written=results * VALUE_BYTES if to_act else 0,
    )


def _lanes(space: Space, config: AcceleratorConfig) -> int:
    return config.activation_lanes if space is Space.ACT else config.cols


def _word_bytes(space: Space, config: AcceleratorConfig) -> int:
    return _lanes(space, config) * _LOCAL_BITS[space] // 8


def _pair_word_bytes(packed: bool, config: AcceleratorConfig) -> int:
    """C weights, with their indices when packed."""
    indices = _word_bytes(Space.IDX, config) if packed else 0
    return _word_bytes(Space.WGT, config) + indices


_COUNTERS: dict[Op, _Counter] = {
    Op.LOAD: _transfer,
    Op.STORE: _transfer,
    Op.FILL: _fill,
    Op.MATMUL: _matmul,
    Op.PRUNE: _prune,
    Op.UPDATE: _update,
    Op.VECTOR: _vector,
}

_LOCAL_BITS: dict[Space, int] = {
    Space.ACT: 8 * VALUE_BYTES,
    Space.WGT: 8 * VALUE_BYTES,
    Space.IDX: INDEX_BITS,
    Space.ACC: 8 * ACCUMULATOR_BYTES,
    Space.ACC16: 8 * ACCUMULATOR_BYTES,
}
"""Bits of a lane in the scratchpad."""

_DRAM_BITS: dict[Space, int] = {**_LOCAL_BITS, Space.ACC16: 8 * VALUE_BYTES}
"""Bits of a lane in DRAM."""

_READS: dict[Space, str] = {
    Space.ACT: "activation_words_read_bytes",
    Space.WGT: "weight_bytes_read",
    Space.IDX: "weight_bytes_read",
    Space.ACC: "accumulator_bytes_read",
    Space.ACC16: "accumulator_bytes_read",
}

_WRITES: dict[Space, str] = {
    Space.ACT: "activation_bytes_written",
    Space.WGT: "weight_bytes_written",
    Space.IDX: "weight_bytes_written",
    Space.ACC: "accumulator_bytes_written",
    Space.ACC16: "accumulator_bytes_written",
}
