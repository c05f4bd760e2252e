"""Which events a set of random programs contains, counted in their instructions.

    python -m tests.programs 1000

The durations of folds and tiles are worked out here once more from docs/microarchitecture.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hwsim.banks import Banks
from hwsim.config import AcceleratorConfig
from hwsim.constants import PARTIAL_SUM_WRITE_CYCLES
from hwsim.disassembler import named_bank
from hwsim.isa import Flow, Instruction, Lhs, Op, Space, Unit, VectorOp
from hwsim.program import Program

from .generator import program_from_seed

Registers = Mapping[str, int]

_FORMATS = ("1:8", "2:4", "2:8", "2:16")

EVENTS: tuple[str, ...] = (
    *(f"{op.name} {space.name}" for op in (Op.LOAD, Op.STORE) for space in Space),
    *(f"FILL {space.name}" for space in (Space.ACT, Space.WGT, Space.ACC)),
    *("3-level strides", "negative stride", "burst cut by alignment", "padded row"),
    *(f"VECTOR {operation.name}" for operation in VectorOp),
    *("VECTOR to ACT", "UPDATE", "PRUNE", "PRUNE transposed", "PRUNE n = m"),
    *(f"{flow.name} {name}" for flow in Flow for name in ("dense", *_FORMATS)),
    *(
        "OS table",
        "OS column fill",
        "stride 2",
        "padding",
        "dilation",
        "negative step",
        "images > 1",
    ),
    *("Ir = 2", "partial groups", "Ci < M", "edge tile", "accumulate", "several tiles"),
    *("spilled partial sums", ">= 3 WS folds", "U < E", "weights > V", "D > V", "adder stall"),
    *("wait of a CONFIG", "token of DMA to DMA", "two tokens taken at once", "tokens outstanding"),
)
"""Everything that a thousand seeds contain."""


class Coverage:
    """Programs that contain each event."""

    def __init__(self) -> None:
        self.programs = 0
        self._counts: Counter[str] = Counter()

    def add(self, config: AcceleratorConfig, program: Program) -> None:
        """Count the events of one program."""
        instructions = list(program)
        found = set(_token_events(instructions))
        banks = {unit: Banks(unit) for unit in Unit}
        for item in instructions:
            if item.op is Op.CONFIG:
                banks[Unit(item.args["unit"])].write(item)
            found |= set(_events(item, named_bank(banks, item), config))
        self.programs += 1
        self._counts.update(found)

    @property
    def missing(self) -> list[str]:
        """Events that no program contained."""
        return [event for event in EVENTS if not self._counts[event]]

    def table(self) -> str:
        """A row an event: how many of the programs contain it."""
        width = max(map(len, EVENTS))
        rows = [f"{event:<{width}}  {self._counts[event]:>6}" for event in EVENTS]
        return "\n".join([f"{'event':<{width}}  programs of {self.programs}", *rows])


def coverage_of(seeds: Iterable[int]) -> Coverage:
    """Coverage of the programs of some seeds."""
    coverage = Coverage()
    for seed in seeds:
        coverage.add(*program_from_seed(seed))
    return coverage


def _events(item: Instruction, r: Registers, config: AcceleratorConfig) -> Iterator[str]:
    if item.op in (Op.LOAD, Op.STORE, Op.FILL):
        yield f"{item.op.name} {Space(item.args['space']).name}"
    if item.op in (Op.LOAD, Op.STORE):
        yield from _transfer_events(item, r, config)
    elif item.op is Op.MATMUL:
        yield from _matmul_events(item, r, config)
    elif item.op is Op.PRUNE:
        yield "PRUNE transposed" if r["transpose"] else "PRUNE"
        if r["n"] == r["m"]:
            yield "PRUNE n = m"
    elif item.op is Op.UPDATE:
        yield "UPDATE"
    elif item.op is Op.VECTOR:
        yield f"VECTOR {VectorOp(item.args['vector_op']).name}"
        if r["to_act"]:
            yield "VECTOR to ACT"


def _token_events(instructions: list[Instruction]) -> Iterator[str]:
    """Counts as serial execution leaves them."""
    makers: dict[int, Unit | None] = {}
    counts: Counter[int] = Counter()
    for item in instructions:
        for semaphore in item.waits():
            counts[semaphore] -= 1
            if item.unit is Unit.DMA and makers[semaphore] is Unit.DMA:
                yield "token of DMA to DMA"
        for semaphore in item.signals():
            makers[semaphore] = item.unit
            counts[semaphore] += 1
            if counts[semaphore] > 1:
                yield "tokens outstanding"
        if item.op is Op.CONFIG and item.wait:
            yield "wait of a CONFIG"
        if len(item.waits()) > 1:
            yield "two tokens taken at once"


def _transfer_events(item: Instruction, r: Registers, config: AcceleratorConfig) -> Iterator[str]:
    if min(r["count0"], r["count1"], r["count2"]) > 1:
        yield "3-level strides"
    if any(r[f"stride{level}"] < 0 and r[f"count{level}"] > 1 for level in range(3)):
        yield "negative stride"
    offset = item.args["dram"] % config.burst_bytes
    if offset and offset + r["run_bytes"] > config.burst_bytes:
        yield "burst cut by alignment"
    word = {
        Space.ACT: 2 * config.act_values_per_row_cycle * config.rows,
        Space.IDX: config.cols // 2,
        Space.ACC: 4 * config.cols,
    }.get(Space(item.args["space"]), 2 * config.cols)
    if r["row_bytes"] % word:
        yield "padded row"


def _matmul_events(item: Instruction, r: Registers, config: AcceleratorConfig) -> Iterator[str]:
    yield from _format_events(r)
    yield from _walk_events(r)
    if r["ir"] == 2:
        yield "Ir = 2"
    if item.args["accumulate"]:
        yield "accumulate"
    if r["lhs"] == Lhs.ROW and r["channels"] % r["m"]:
        yield "partial groups"
    if r["lhs"] == Lhs.ROW and r["channels"] < r["m"]:
        yield "Ci < M"
    yield from (_ws_events(r, config) if r["flow"] == Flow.WS else _os_events(r, config))


def _format_events(r: Registers) -> Iterator[str]:
    flow = Flow(r["flow"]).name
    if r["use_table"]:
        yield "OS table"
    elif r["lhs"] == Lhs.COLUMN:
        yield "OS column fill"
    elif r["packed"]:
        yield f"{flow} {r['n']}:{r['m']}"
    else:
        yield f"{flow} dense"


def _walk_events(r: Registers) -> Iterator[str]:
    if 2 in (r["stride_y"], r["stride_x"]):
        yield "stride 2"
    if min(r["origin_y"], r["origin_x"]) < 0 <= min(r["step_y"], r["step_x"]):
        yield "padding"
    if max(abs(r["step_y"]), abs(r["step_x"])) > 1:
        yield "dilation"
    if min(r["step_y"], r["step_x"]) < 0:
        yield "negative step"
    if r["images"] > 1:
        yield "images > 1"


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _tokens(r: Registers) -> int:
    return r["images"] * r["out_h"] * r["out_w"]


def _segments(r: Registers) -> int:
    return r["segments"] if r["use_table"] else r["taps_y"] * r["taps_x"]


def _os_events(r: Registers, config: AcceleratorConfig) -> Iterator[str]:
    tiles = [_Tile(rows, columns) for columns in _widths(r, config) for rows in _heights(r, config)]
    full = _Tile(r["ir"] * config.rows, r["ic"] * config.cols)
    exit_cycles = config.rows * r["ic"] * r["ir"]
    works = [
        _os_tile_cycles(r, config, tile, last=number == len(tiles) - 1)
        for number, tile in enumerate(tiles)
    ]
    if len(tiles) > 1:
        yield "several tiles"
    if any(tile != full for tile in tiles):
        yield "edge tile"
    if any(work < exit_cycles for work in works[1:]):
        yield "U < E"
    if any(tile.slots(config) < config.add_latency for tile in tiles):
        yield "adder stall"


@dataclass(frozen=True)
class _Tile:
    rows: int
    columns: int

    def slots(self, config: AcceleratorConfig) -> int:
        """Occupied slots of a PE."""
        return _ceil(self.rows, config.rows) * _ceil(self.columns, config.cols)


def _widths(r: Registers, config: AcceleratorConfig) -> list[int]:
    return _cuts(r["columns"], r["ic"] * config.cols)


def _heights(r: Registers, config: AcceleratorConfig) -> list[int]:
    height = r["ir"] * config.rows
    if r["lhs"] == Lhs.COLUMN:
        return _cuts(r["channels"], height) * _segments(r)
    return _cuts(_tokens(r), height)


def _cuts(length: int, size: int) -> list[int]:
    """`length` in pieces of `size`; the last one may be shorter."""
    return [min(size, length - start) for start in range(0, length, size)]


def _os_tile_cycles(r: Registers, config: AcceleratorConfig, tile: _Tile, last: bool) -> int:
    """U of a tile."""
    column_fill = r["lhs"] == Lhs.COLUMN
    chunk = max(config.group_max, config.activation_lanes)
    segments = [_tokens(r)] if column_fill else [r["channels"]] * _segments(r)
    chunks = [length for segment in segments for length in _cuts(segment, chunk)]
    fills = [_fill_cycles(r, config, length, column_fill) for length in chunks]
    following = [*fills[1:], 0 if last else fills[0]]
    slot_cycles = max(tile.slots(config), config.add_latency)
    entries = [_ceil(length, r["m"]) * r["n"] if r["packed"] else length for length in chunks]
    return sum(
        max(count * slot_cycles, fill) for count, fill in zip(entries, following, strict=True)
    )


def _fill_cycles(r: Registers, config: AcceleratorConfig, length: int, column_fill: bool) -> int:
    if column_fill:
        return length * _ceil(r["ir"], config.act_values_per_row_cycle)
    return r["ir"] * config.rows * _ceil(length, config.activation_lanes)


def _ws_events(r: Registers, config: AcceleratorConfig) -> Iterator[str]:
    groups = [
        (segment, group)
        for segment in range(_segments(r))
        for group in range(_ceil(r["channels"], r["m"]))
    ]
    folds = [groups[start : start + config.rows] for start in range(0, len(groups), config.rows)]
    if len(folds) > 1:
        yield "spilled partial sums"
    if len(folds) >= 3:
        yield ">= 3 WS folds"
    if len(folds[-1]) < config.rows:
        yield "edge tile"
    for columns in _widths(r, config):
        slots = r["ir"] * _ceil(columns, config.cols)
        if slots < config.add_latency:
            yield "adder stall"
        for fold in folds:
            yield from _fold_events(r, config, fold, columns, more=len(folds) > 1)


def _fold_events(
    r: Registers,
    config: AcceleratorConfig,
    fold: list[tuple[int, int]],
    columns: int,
    more: bool,
) -> Iterator[str]:
    words_across = _ceil(columns, config.cols)
    slot_cycles = max(r["ir"] * words_across, config.add_latency)
    read = {
        (segment, channel // config.activation_lanes)
        for segment, group in fold
        for channel in range(group * r["m"], min((group + 1) * r["m"], r["channels"]))
    }
    reads = max(len(read), _ceil(r["m"], config.act_values_per_row_cycle))
    pass_cycles = max(r["n"] * slot_cycles, r["ir"] * reads)
    stream = _ceil(_tokens(r), r["ir"]) * pass_cycles
    skew = (r["n"] - 1) * slot_cycles + config.add_latency + 1
    if more and config.rows * r["n"] * words_across > stream:
        yield "weights > V"
    if more and config.rows * skew + PARTIAL_SUM_WRITE_CYCLES > stream:
        yield "D > V"
