"""A program as flat integer arrays, every instruction with the registers that it sees.

The bits are those of `isa.COMMON` and `isa.FIELDS`; this module only takes them out of all
instructions at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import ProgramError

from .isa import COMMON, FIELDS, REGISTERS, UNIT_OF, Field, Op, Unit, Words, decode
from .program import Program

Integers = npt.NDArray[np.int64]

NO_UNIT = -1
"""Unit of a HALT, which closes every stream."""

REGISTER_COLUMN: dict[Unit, dict[str, int]] = {
    unit: {item.name: column for column, item in enumerate(registers)}
    for unit, registers in REGISTERS.items()
}
"""Column of a register in the rows of its unit's instructions."""


def _field_columns(op: Op) -> dict[str, int]:
    first = len(REGISTERS[UNIT_OF[op]])
    return {item.name: first + column for column, item in enumerate(FIELDS[op])}


FIELD_COLUMN: dict[Op, dict[str, int]] = {op: _field_columns(op) for op in UNIT_OF}
"""Column of an instruction's own field; the fields follow the registers of the unit."""

_COMMON_BITS = sum(item.bits for item in COMMON)
_PAIRS = 16
"""Register pairs of a bank that a CONFIG can name."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """unit, op, wait, signal: (instructions,) in program order; unit is NO_UNIT for HALT.

    rows: for each opcode but CONFIG and HALT the table (instructions of that opcode, columns) of
    their registers and own fields. A FILL reads no bank, its registers are 0.
    row: (instructions,) the instruction's row in the table of its opcode; of CONFIG and HALT, 0.
    """

    unit: Integers
    op: Integers
    wait: Integers
    signal: Integers
    row: Integers
    rows: Mapping[Op, Integers]


def decode_program(program: Program) -> Decoded:
    """Decode all instructions.

    Raises InputError for an illegal encoding, ProgramError unless HALT is the last instruction and
    no other, and for a CONFIG of an odd register.
    """
    words = program.words
    op = _extract(words, 0, COMMON[0])
    _check_encoding(words, op)
    _check_halt(op)
    unit = _units(words, op)
    row = np.zeros(len(words), np.int64)
    rows = {}
    for kind in UNIT_OF:
        where = np.flatnonzero(op == kind)
        row[where] = np.arange(len(where))
        rows[kind] = _table(words, op, unit, where, kind)
    wait, signal = (_extract(words, COMMON[0].bits + i * 16, COMMON[1 + i]) for i in range(2))
    return Decoded(unit, op, wait, signal, row, rows)


def _extract(words: Words, position: int, item: Field) -> Integers:
    """Unsigned bits [position, position + item.bits) of every instruction."""
    low, high = words[:, 0], words[:, 1]
    if position >= 64:
        bits = high >> np.uint64(position - 64)
    else:
        bits = low >> np.uint64(position)
        if position + item.bits > 64:
            bits |= high << np.uint64(64 - position)
    return (bits & np.uint64((1 << item.bits) - 1)).astype(np.int64)


def _fields(words: Words, op: Op) -> list[Integers]:
    """Own fields of instructions of one opcode."""
    sizes = [item.bits for item in FIELDS[op]]
    starts = accumulate(sizes[:-1], initial=_COMMON_BITS)
    return [_extract(words, start, item) for start, item in zip(starts, FIELDS[op], strict=True)]


def _check_encoding(words: Words, op: Integers) -> None:
    """`isa.decode` names what is wrong with the first illegal instruction."""
    legal = np.zeros(len(words), bool)
    for kind in Op:
        used = _COMMON_BITS + sum(item.bits for item in FIELDS[kind])
        low_mask, high_mask = (~((1 << min(64, max(0, used - 64 * half))) - 1) for half in range(2))
        spare = words & np.array([low_mask & (1 << 64) - 1, high_mask & (1 << 64) - 1], np.uint64)
        legal |= (op == kind) & ~spare.any(axis=1)
    for low, high in words[~legal][:1].tolist():
        decode(low | high << 64)


def _check_halt(op: Integers) -> None:
    halts = np.flatnonzero(op == Op.HALT).tolist()
    if halts != [len(op) - 1]:
        raise ProgramError(
            f"expected one HALT, at the end (instruction {len(op) - 1}), got HALT at {halts}"
        )


def _units(words: Words, op: Integers) -> Integers:
    by_opcode = np.full(max(Op) + 1, NO_UNIT, np.int64)
    for kind, unit in UNIT_OF.items():
        by_opcode[kind] = unit
    units = by_opcode[op]
    configs = op == Op.CONFIG
    units[configs] = _fields(words[configs], Op.CONFIG)[0]
    return units


def _table(words: Words, op: Integers, unit: Integers, where: Integers, kind: Op) -> Integers:
    """Rows of the instructions at `where`, all of opcode `kind`."""
    fields = _fields(words[where], kind)
    owner = UNIT_OF[kind]
    table = np.zeros((len(where), len(REGISTERS[owner]) + len(fields)), np.int64)
    table[:, len(REGISTERS[owner]) :] = np.stack(fields, axis=1)
    if FIELDS[kind][0].name == "bank":
        configs = np.flatnonzero((op == Op.CONFIG) & (unit == owner))
        table[:, : len(REGISTERS[owner])] = _registers(words, owner, configs, where, fields[0])
    return table


def _registers(
    words: Words, unit: Unit, configs: Integers, users: Integers, banks: Integers
) -> Integers:
    """Registers that each user sees in its bank: what the last CONFIG before it wrote, or 0.

    configs, users: instruction numbers, ascending; banks: (users,).
    """
    registers = REGISTERS[unit]
    raw = np.zeros((len(users), 2 * -(-len(registers) // 2)), np.int64)
    if len(configs) and len(users):
        _, bank, register, *values = _fields(words[configs], Op.CONFIG)
        _check_even(configs, register)
        pairs = np.arange(raw.shape[1] // 2)
        written = bank * _PAIRS + register // 2
        wanted = banks[:, None] * _PAIRS + pairs
        last, found = _last_writes(written, configs, wanted, users, len(words))
        raw = np.stack([np.where(found, value[last], 0) for value in values], axis=2)
        raw = raw.reshape(len(users), -1)
    return _signed(raw[:, : len(registers)], registers)


def _last_writes(
    written: Integers, configs: Integers, wanted: Integers, users: Integers, instructions: int
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """For each wanted key of each user the position in `configs` of its last write before the user.

    Writes are sorted by (key, instruction), so that it is the one below (key, user).
    """
    order = np.argsort(written, kind="stable")
    codes = (written * instructions + configs)[order]
    below = np.searchsorted(codes, wanted * instructions + users[:, None]) - 1
    last = order[below]
    return last, (below >= 0) & (written[last] == wanted)


def _signed(raw: Integers, registers: Sequence[Field]) -> Integers:
    """`isa.register_value` of every column."""
    high = np.array([item.high for item in registers])
    span = np.array([1 << item.bits for item in registers])
    return np.where(raw > high, raw - span, raw)


def _check_even(configs: Integers, register: Integers) -> None:
    for position in np.flatnonzero(register % 2)[:1].tolist():
        raise ProgramError(
            f"instruction {configs[position]}: CONFIG expected an even register, "
            f"got {register[position]}"
        )
