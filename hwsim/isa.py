"""The instruction set: one table of units, registers, instructions and their fields.

An instruction has 128 bits. From bit 0: opcode (4), wait mask (16), signal mask (16), then the
fields of the opcode in the order of the table. Every unit executes its own stream in order. CONFIG
writes two neighbouring registers of one descriptor bank of a unit; the other instructions name the
bank that describes them. docs/microarchitecture.md gives the meaning of every register, and
`hwsim.sv_package` writes the same tables as SystemVerilog.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import InputError, unknown_name

from .constants import ADDRESS_BITS, BANKS, SEMAPHORES

Words = npt.NDArray[np.uint64]
"""(instructions, 2): low and high 64 bits of each instruction."""

INSTRUCTION_BITS = 128
REGISTER_BITS = 40
OPCODE_BITS = 4


class Unit(IntEnum):
    """Units with an instruction stream of their own."""

    DMA = 0
    STCE = 1
    SORE = 2
    WUVE = 3


class Op(IntEnum):
    """Opcodes; 0 is never legal, so that blank memory is refused."""

    HALT = 1
    CONFIG = 2
    LOAD = 3
    STORE = 4
    FILL = 5
    MATMUL = 6
    PRUNE = 7
    UPDATE = 8
    VECTOR = 9


class Space(IntEnum):
    """Scratchpad side of a transfer."""

    ACT = 0
    WGT = 1
    IDX = 2
    ACC = 3
    ACC16 = 4


class Flow(IntEnum):
    """Dataflow of a MATMUL."""

    OS = 0
    WS = 1


class Lhs(IntEnum):
    """How the feeder brings the left operand: tokens on the rows, or channels on the rows (WU)."""

    ROW = 0
    COLUMN = 1


class VectorOp(IntEnum):
    """dst = op(a, b), element by element in FP32."""

    COPY = 0
    RELU = 1
    BIAS = 2
    ADD = 3
    MASK = 4
    SCALE = 5
    COLSUM = 6


@dataclass(frozen=True)
class Field:
    """Bits of an instruction or a register."""

    name: str
    bits: int
    meaning: str
    signed: bool = False

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1


BANK = Field("bank", BANKS.bit_length() - 1, "descriptor bank")
_DRAM = Field("dram", 40, "byte address in DRAM")


def _local(name: str, meaning: str) -> Field:
    return Field(name, ADDRESS_BITS, meaning)


COMMON: tuple[Field, ...] = (
    Field("opcode", OPCODE_BITS, "see Op"),
    Field("wait", SEMAPHORES, "semaphores of which one token each is consumed at issue"),
    Field("signal", SEMAPHORES, "semaphores that get one token each at completion"),
)

FIELDS: dict[Op, tuple[Field, ...]] = {
    Op.HALT: (),
    Op.CONFIG: (
        Field("unit", 2, "unit whose bank is written; the instruction is in that unit's stream"),
        BANK,
        Field("register", 5, "even number of the first register"),
        Field("value0", REGISTER_BITS, "of that register"),
        Field("value1", REGISTER_BITS, "of the next register"),
    ),
    Op.LOAD: (
        BANK,
        Field("space", 3, "see Space"),
        _local("local", "first word in the scratchpad"),
        _DRAM,
    ),
    Op.STORE: (
        BANK,
        Field("space", 3, "see Space"),
        _local("local", "first word in the scratchpad"),
        _DRAM,
    ),
    Op.FILL: (
        Field("space", 3, "see Space; not IDX"),
        _local("local", "first word"),
        Field("words", ADDRESS_BITS, "number of words"),
        Field("value", 32, "FP16 (ACT, WGT) or FP32 (ACC) bits of every lane"),
    ),
    Op.MATMUL: (
        BANK,
        Field("accumulate", 1, "start from the accumulator banks instead of +0"),
        _local("act", "first word of the left operand"),
        _local("wgt", "first word of the right operand"),
        _local("acc", "first word of the result"),
        _local("table", "first word of the segment table in the weight scratchpad"),
    ),
    Op.PRUNE: (
        BANK,
        _local("act", "first word of the source"),
        _local("wgt", "first word of the result"),
    ),
    Op.UPDATE: (
        BANK,
        _local("weight", "first word of the FP32 master weights"),
        _local("momentum", "first word of the momenta"),
        _local("gradient", "first word of dW"),
        _local("act", "first word of the FP16 copy"),
    ),
    Op.VECTOR: (
        BANK,
        Field("vector_op", 4, "see VectorOp"),
        _local("a", "first word of the first operand"),
        _local("b", "first word of the second operand"),
        _local("dst", "first word of the result"),
    ),
}
"""Fields of each opcode after the common ones."""

REGISTERS: dict[Unit, tuple[Field, ...]] = {
    Unit.DMA: (
        Field("run_bytes", 32, "contiguous bytes in DRAM"),
        Field("count0", 24, "runs of the innermost loop"),
        Field("stride0", 40, "bytes from run to run", signed=True),
        Field("count1", 24, "iterations of the middle loop"),
        Field("stride1", 40, "bytes", signed=True),
        Field("count2", 24, "iterations of the outer loop"),
        Field("stride2", 40, "bytes", signed=True),
        Field("row_bytes", 32, "DRAM bytes that make one row of the scratchpad"),
        Field("row_words", 20, "words from row to row in the scratchpad"),
    ),
    Unit.STCE: (
        Field("flow", 1, "see Flow"),
        Field("lhs", 1, "see Lhs"),
        Field("packed", 1, "right operand has indices (N:M)"),
        Field("use_table", 1, "segments come from the segment table"),
        Field("n", 5, "entries of a group"),
        Field("m", 5, "channels of a group"),
        Field("ic", 5, "interleaved output columns of a PE"),
        Field("ir", 2, "interleaved activation rows of a PE"),
        Field("images", 24, "images (batch) of the token walk"),
        Field("out_h", 24, "token rows of an image"),
        Field("out_w", 24, "tokens of a token row"),
        Field("in_h", 24, "pixel rows that lie in the scratchpad"),
        Field("in_w", 24, "pixels of such a row"),
        Field("stride_y", 16, "pixel rows from token row to token row"),
        Field("stride_x", 16, "pixels from token to token"),
        Field("origin_y", 24, "pixel row of token row 0 at tap row 0", signed=True),
        Field("origin_x", 24, "pixel of token 0 at tap column 0", signed=True),
        Field("taps_y", 16, "tap rows"),
        Field("taps_x", 16, "tap columns"),
        Field("step_y", 16, "pixel rows from tap row to tap row", signed=True),
        Field("step_x", 16, "pixels from tap column to tap column", signed=True),
        Field("channels", 24, "channels of a segment"),
        Field("pixel_words", 20, "words from pixel to pixel"),
        Field("row_words", 20, "words from pixel row to pixel row"),
        Field("image_words", 20, "words from image to image"),
        Field("columns", 24, "columns of the result"),
        Field("wgt_words", 20, "words from entry to entry of the right operand"),
        Field("acc_words", 20, "words from row to row of the result"),
        Field("segments", 16, "entries of the segment table"),
    ),
    Unit.SORE: (
        Field("n", 5, "values kept of a group; n = m keeps all of them"),
        Field("m", 5, "values of a group"),
        Field("rows", 24, "rows of the source"),
        Field("columns", 24, "columns of the source"),
        Field("transpose", 1, "0: groups along the rows, lanes = columns; 1: the other way"),
        Field("act_words", 20, "words from row to row of the source"),
        Field("wgt_words", 20, "words from entry to entry of the result"),
    ),
    Unit.WUVE: (
        Field("rows", 24, "rows of the operands"),
        Field("words", 20, "words of a row"),
        Field("a_words", 20, "words from row to row of a (UPDATE: w, v and dW)"),
        Field("b_words", 20, "words from row to row of b"),
        Field("dst_words", 20, "words from row to row of dst (UPDATE: of the FP16 copy)"),
        Field("to_act", 1, "VECTOR: dst lies in the activation scratchpad, cast to FP16"),
        Field("scale", 32, "FP32 bits: 1/S of UPDATE, factor of SCALE"),
        Field("rate", 32, "FP32 bits: learning rate"),
        Field("momentum", 32, "FP32 bits"),
        Field("decay", 32, "FP32 bits: weight decay"),
    ),
}
"""Registers of one descriptor bank; CONFIG names them by their position."""

UNIT_OF: dict[Op, Unit] = {
    Op.LOAD: Unit.DMA,
    Op.STORE: Unit.DMA,
    Op.FILL: Unit.DMA,
    Op.MATMUL: Unit.STCE,
    Op.PRUNE: Unit.SORE,
    Op.UPDATE: Unit.WUVE,
    Op.VECTOR: Unit.WUVE,
}
"""CONFIG belongs to the unit that it names, HALT to all of them."""


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction. wait, signal: masks of semaphores. args: its own fields by name."""

    op: Op
    args: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    wait: int = 0
    signal: int = 0

    @property
    def unit(self) -> Unit | None:
        """The unit that executes it; None for HALT, which every stream ends with."""
        if self.op is Op.CONFIG:
            return Unit(self.args["unit"])
        return UNIT_OF.get(self.op)

    def waits(self) -> tuple[int, ...]:
        """Numbers of the semaphores it waits for."""
        return bits_of(self.wait)

    def signals(self) -> tuple[int, ...]:
        """Numbers of the semaphores it signals."""
        return bits_of(self.signal)


def bits_of(mask: int) -> tuple[int, ...]:
    """Positions of the ones of a mask, ascending."""
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def encode(instruction: Instruction) -> int:
    """128 bits. Raises InputError for a missing or unknown field and a value out of range."""
    fields = FIELDS[instruction.op]
    names = [item.name for item in fields]
    if set(instruction.args) != set(names):
        raise InputError(
            f"{instruction.op.name}: expected fields {', '.join(names) or '(none)'}, "
            f"got {', '.join(instruction.args) or '(none)'}"
        )
    common = {"opcode": instruction.op, "wait": instruction.wait, "signal": instruction.signal}
    values = {**common, **instruction.args}
    word, position = 0, 0
    for item in (*COMMON, *fields):
        word |= _bits(values[item.name], item, instruction.op.name) << position
        position += item.bits
    return word


def decode(word: int) -> Instruction:
    """Inverse of `encode`. Raises InputError for an unknown opcode and for bits that must be 0."""
    opcode = word & ((1 << OPCODE_BITS) - 1)
    if opcode not in set(Op):
        raise InputError(unknown_name("opcode", opcode, [f"{op.value} ({op.name})" for op in Op]))
    op = Op(opcode)
    values, rest = {}, word
    for item in (*COMMON, *FIELDS[op]):
        raw, rest = rest & ((1 << item.bits) - 1), rest >> item.bits
        values[item.name] = raw - (1 << item.bits) if raw > item.high else raw
    if rest:
        raise InputError(f"{op.name}: expected zeros above its fields, got 0x{word:032x}")
    args = {item.name: values[item.name] for item in FIELDS[op]}
    return Instruction(op, args, values["wait"], values["signal"])


def configure(unit: Unit, bank: int, values: Mapping[str, int]) -> list[Instruction]:
    """The CONFIGs that write registers by name; those left out are 0.

    Raises InputError for a register that the unit lacks and for a value out of range.
    """
    registers = REGISTERS[unit]
    known = [item.name for item in registers]
    for name in values:
        if name not in known:
            raise InputError(unknown_name(f"register of {unit.name}", name, known))
    raw = [_bits(values.get(item.name, 0), item, f"{unit.name} CONFIG") for item in registers]
    raw += [0] * (len(raw) % 2)
    return [
        Instruction(
            Op.CONFIG,
            {
                "unit": unit,
                "bank": bank,
                "register": first,
                "value0": raw[first],
                "value1": raw[first + 1],
            },
        )
        for first in range(0, len(raw), 2)
    ]


def register_value(unit: Unit, position: int, raw: int) -> int:
    """The value of a register from the bits that a CONFIG carries."""
    item = REGISTERS[unit][position]
    return raw - (1 << item.bits) if raw > item.high else raw


def to_words(instructions: Iterable[Instruction]) -> Words:
    """Encoded instructions, (count, 2)."""
    low_mask = (1 << 64) - 1
    words = [encode(instruction) for instruction in instructions]
    rows = [(word & low_mask, word >> 64) for word in words]
    return np.array(rows, np.uint64).reshape(len(rows), 2)


def _bits(value: int, item: Field, where: str) -> int:
    if not item.low <= value <= item.high:
        raise InputError(
            f"{where}: {item.name} expected {item.low} to {item.high} ({item.meaning}), got {value}"
        )
    return int(value) & ((1 << item.bits) - 1)
