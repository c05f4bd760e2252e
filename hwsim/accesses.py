"""What an instruction reads and writes: words of the scratchpads and bytes of DRAM."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from cosparse.spec.dtypes import Array

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES, VALUE_BYTES
from .isa import Instruction, Lhs, Op, Space, VectorOp

Registers = Mapping[str, int]


class Store(Enum):
    """Memories that hold operands. IDX has the addresses of WGT."""

    DRAM = "DRAM"
    ACT = "ACT"
    WGT = "WGT"
    IDX = "IDX"
    ACC = "ACC"


STORE_OF: dict[Space, Store] = {
    Space.ACT: Store.ACT,
    Space.WGT: Store.WGT,
    Space.IDX: Store.IDX,
    Space.ACC: Store.ACC,
    Space.ACC16: Store.ACC,
}


@dataclass(frozen=True)
class Job:
    """An instruction with what it needs to be understood.

    registers: of the bank that it names; empty for HALT, CONFIG and FILL.
    """

    instruction: Instruction
    registers: Registers
    config: AcceleratorConfig

    @property
    def args(self) -> Mapping[str, int]:
        """Fields of the instruction."""
        return self.instruction.args


@dataclass(frozen=True)
class Access:
    """Operand `name` of an instruction: `rows` rows of `words` words, `stride` words apart.

    Of DRAM it is one row, of bytes.
    """

    name: str
    store: Store
    writes: bool
    first: int
    words: int
    rows: int = 1
    stride: int = 0

    @property
    def last(self) -> int:
        """The last address of the interval from the first one, holes included."""
        return self.first + (self.rows - 1) * self.stride + self.words - 1

    @property
    def addresses(self) -> Array:
        """Every word, (rows, words)."""
        starts = self.first + np.arange(self.rows)[:, None] * self.stride
        return starts + np.arange(self.words)

    def same(self, other: "Access") -> bool:
        """Whether both are the same words in the same order."""
        shapes = (self.first, self.rows, self.words) == (other.first, other.rows, other.words)
        return shapes and (self.rows == 1 or self.stride == other.stride)

    def meets(self, other: "Access") -> bool:
        """Whether both have a common word."""
        if self.store is not other.store or self.last < other.first or other.last < self.first:
            return False
        return bool(np.isin(self.addresses, other.addresses).any())


def accesses(job: Job) -> tuple[Access, ...]:
    """Every operand of a job whose sizes are legal; none for CONFIG and HALT."""
    op = job.instruction.op
    return _ACCESSES[op](job) if op in _ACCESSES else ()


def half_words(store: Store, config: AcceleratorConfig) -> int:
    """Words of one half of a scratchpad."""
    return {
        Store.ACT: config.activation_half_words,
        Store.WGT: config.weight_half_words,
        Store.IDX: config.weight_half_words,
        Store.ACC: config.accumulator_half_words,
    }[store]


def word_bytes(space: Space, config: AcceleratorConfig) -> int:
    """DRAM bytes of one scratchpad word."""
    return {
        Space.ACT: VALUE_BYTES * config.activation_lanes,
        Space.WGT: VALUE_BYTES * config.cols,
        Space.IDX: config.cols // 2,
        Space.ACC: ACCUMULATOR_BYTES * config.cols,
        Space.ACC16: VALUE_BYTES * config.cols,
    }[space]


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up."""
    return -(-dividend // divisor)


def transfer_bytes(registers: Registers) -> int:
    """Bytes that a LOAD or STORE moves."""
    runs = registers["count0"] * registers["count1"] * registers["count2"]
    return runs * registers["run_bytes"]


def matmul_tokens(registers: Registers) -> int:
    return registers["images"] * registers["out_h"] * registers["out_w"]


def matmul_rows(registers: Registers) -> int:
    """Rows of the result."""
    if registers["lhs"] == Lhs.ROW:
        return matmul_tokens(registers)
    return registers["taps_y"] * registers["taps_x"] * registers["channels"]


def segment_count(registers: Registers) -> int:
    """Segments of K, with lhs = ROW."""
    if registers["use_table"]:
        return registers["segments"]
    return registers["taps_y"] * registers["taps_x"]


def segment_entries(registers: Registers) -> int:
    """Entries of the right operand in one segment."""
    if registers["lhs"] == Lhs.COLUMN:
        return matmul_tokens(registers)
    if registers["packed"]:
        return ceil_div(registers["channels"], registers["m"]) * registers["n"]
    return registers["channels"]


def matmul_entries(registers: Registers) -> int:
    """Entries of the right operand."""
    segments = segment_count(registers) if registers["lhs"] == Lhs.ROW else 1
    return segments * segment_entries(registers)


def prune_lanes(registers: Registers) -> int:
    """Lanes of the source: the dimension that is not grouped."""
    return registers["rows"] if registers["transpose"] else registers["columns"]


def prune_reduction(registers: Registers) -> int:
    """K of the source: the dimension that is grouped."""
    return registers["columns"] if registers["transpose"] else registers["rows"]


OPERANDS_OF_VECTOR: dict[VectorOp, int] = {
    VectorOp.COPY: 1,
    VectorOp.RELU: 1,
    VectorOp.BIAS: 2,
    VectorOp.ADD: 2,
    VectorOp.MASK: 2,
    VectorOp.SCALE: 1,
    VectorOp.COLSUM: 1,
}


def _transfer(job: Job) -> tuple[Access, ...]:
    regs, loads = job.registers, job.instruction.op is Op.LOAD
    space = Space(job.args["space"])
    spans = [(regs[f"count{i}"] - 1) * regs[f"stride{i}"] for i in range(3)]
    first = job.args["dram"] + sum(min(span, 0) for span in spans)
    length = sum(abs(span) for span in spans) + regs["run_bytes"]
    local = Access(
        "local",
        STORE_OF[space],
        loads,
        job.args["local"],
        ceil_div(regs["row_bytes"], word_bytes(space, job.config)),
        transfer_bytes(regs) // regs["row_bytes"],
        regs["row_words"],
    )
    return (Access("dram", Store.DRAM, not loads, first, length), local)


def _fill(job: Job) -> tuple[Access, ...]:
    store = STORE_OF[Space(job.args["space"])]
    return (Access("local", store, True, job.args["local"], job.args["words"]),)


def _matmul(job: Job) -> tuple[Access, ...]:
    args, regs = job.args, job.registers
    words = ceil_div(regs["columns"], job.config.cols)
    right = (args["wgt"], words, matmul_entries(regs), regs["wgt_words"])
    result = (args["acc"], words, matmul_rows(regs), regs["acc_words"])
    operands = [_left_operand(job), Access("wgt", Store.WGT, False, *right)]
    if regs["packed"]:
        operands.append(Access("wgt", Store.IDX, False, *right))
    if regs["use_table"]:
        table_words = ceil_div(regs["segments"], job.config.cols // 2)
        operands.append(Access("table", Store.WGT, False, args["table"], table_words))
    if args["accumulate"]:
        operands.append(Access("acc", Store.ACC, False, *result))
    return (*operands, Access("acc", Store.ACC, True, *result))


def _left_operand(job: Job) -> Access:
    """All pixels that lie in the scratchpad. A segment table may name any channel of its half."""
    act, regs, half = job.args["act"], job.registers, job.config.activation_half_words
    last_pixel = (
        (regs["images"] - 1) * regs["image_words"]
        + (regs["in_h"] - 1) * regs["row_words"]
        + (regs["in_w"] - 1) * regs["pixel_words"]
    )
    length = last_pixel + ceil_div(regs["channels"], job.config.activation_lanes)
    if regs["use_table"]:
        length = max(last_pixel + 1, half - act % half)
    return Access("act", Store.ACT, False, act, length)


def _prune(job: Job) -> tuple[Access, ...]:
    args, regs = job.args, job.registers
    source_words = ceil_div(regs["columns"], job.config.activation_lanes)
    entries = ceil_div(prune_reduction(regs), regs["m"]) * regs["n"]
    result = (args["wgt"], regs["wgt_words"], entries, regs["wgt_words"])
    return (
        Access("act", Store.ACT, False, args["act"], source_words, regs["rows"], regs["act_words"]),
        Access("wgt", Store.WGT, True, *result),
        Access("wgt", Store.IDX, True, *result),
    )


def _update(job: Job) -> tuple[Access, ...]:
    args, regs = job.args, job.registers
    shape = (regs["words"], regs["rows"], regs["a_words"])
    operands = (("gradient", False), ("weight", False), ("momentum", False))
    results = (("weight", True), ("momentum", True))
    state = [
        Access(name, Store.ACC, writes, args[name], *shape) for name, writes in operands + results
    ]
    return (*state, _copy_in_act("act", job, regs["rows"]))


def _vector(job: Job) -> tuple[Access, ...]:
    args, regs = job.args, job.registers
    kind, rows, words = VectorOp(args["vector_op"]), regs["rows"], regs["words"]
    operands = [Access("a", Store.ACC, False, args["a"], words, rows, regs["a_words"])]
    if OPERANDS_OF_VECTOR[kind] == 2:
        b_rows = 1 if kind is VectorOp.BIAS else rows
        operands.append(Access("b", Store.ACC, False, args["b"], words, b_rows, regs["b_words"]))
    dst_rows = 1 if kind is VectorOp.COLSUM else rows
    if regs["to_act"]:
        return (*operands, _copy_in_act("dst", job, dst_rows))
    dst = Access("dst", Store.ACC, True, args["dst"], words, dst_rows, regs["dst_words"])
    return (*operands, dst)


def _copy_in_act(name: str, job: Job, rows: int) -> Access:
    """`rows` rows of an FP16 result of WUVE."""
    lanes = job.registers["words"] * job.config.cols
    words = ceil_div(lanes, job.config.activation_lanes)
    return Access(name, Store.ACT, True, job.args[name], words, rows, job.registers["dst_words"])


_ACCESSES: dict[Op, Callable[[Job], tuple[Access, ...]]] = {
    Op.LOAD: _transfer,
    Op.STORE: _transfer,
    Op.FILL: _fill,
    Op.MATMUL: _matmul,
    Op.PRUNE: _prune,
    Op.UPDATE: _update,
    Op.VECTOR: _vector,
}
