"""The limits of each instruction: sizes, halves, alignment, interleave, N and M, overlaps.

They depend on the instruction, the registers of its bank and the configuration, never on the
contents of a memory: what depends on contents (positions of packed values, segment tables, words
that nothing has written) is refused by `hwsim.machine` when it meets it.
"""

from collections.abc import Callable
from enum import IntEnum

from cosparse.spec.errors import unknown_name

from .accesses import (
    Access,
    Job,
    Registers,
    Store,
    accesses,
    half_words,
    prune_lanes,
    transfer_bytes,
)
from .config import AcceleratorConfig
from .constants import DRAM_ALIGNMENT_BYTES
from .isa import REGISTERS, Flow, Instruction, Lhs, Op, Space, Unit, VectorOp
from .rules import MAX_INTERLEAVED_ROWS

DRAM_ADDRESSES = 1 << 40

_FILL_BITS: dict[Space, int] = {Space.ACT: 16, Space.WGT: 16, Space.ACC: 32}
"""Spaces that FILL writes, with the bits of a lane."""

_SIZES: dict[Op, tuple[str, ...]] = {
    Op.LOAD: ("run_bytes", "count0", "count1", "count2", "row_bytes"),
    Op.STORE: ("run_bytes", "count0", "count1", "count2", "row_bytes"),
    Op.FILL: ("words",),
    Op.MATMUL: (
        *("n", "m", "ic", "ir", "images", "out_h", "out_w", "in_h", "in_w"),
        *("taps_y", "taps_x", "channels", "columns"),
    ),
    Op.PRUNE: ("n", "m", "rows", "columns"),
    Op.UPDATE: ("rows", "words"),
    Op.VECTOR: ("rows", "words"),
}
"""Registers and fields that are at least 1."""


def check_instruction(
    instruction: Instruction,
    registers: Registers,
    config: AcceleratorConfig,
    dram_bytes: int = DRAM_ADDRESSES,
) -> list[str]:
    """Every limit that the instruction breaks, in words; empty when it is legal by itself.

    registers: of the bank that it names (`Banks.read`); empty for HALT, CONFIG and FILL.
    """
    job = Job(instruction, registers, config)
    problems = _check_sizes(job) or _CHECKS[instruction.op](job)
    if problems:
        return problems
    operands = accesses(job)
    places = [text for item in operands for text in _check_place(item, config, dram_bytes)]
    return places or _check_overlaps(operands)


def _check_sizes(job: Job) -> list[str]:
    values = {**job.args, **job.registers}
    return [
        f"{name}: expected at least 1, got 0"
        for name in _SIZES.get(job.instruction.op, ())
        if values[name] == 0
    ]


def _check_halt(job: Job) -> list[str]:
    if job.instruction.wait or job.instruction.signal:
        return ["expected no semaphores, since every unit executes HALT"]
    return []


def _check_config(job: Job) -> list[str]:
    unit, first = Unit(job.args["unit"]), job.args["register"]
    items = REGISTERS[unit]
    if first % 2 or first >= len(items):
        return [f"register: expected an even number below {len(items)} of {unit.name}, got {first}"]
    limits = [(item.name, item.bits) for item in items[first : first + 2]]
    limits += [("value1, past the last register", 0)] * (2 - len(limits))
    return [
        f"{name}: expected {bits} bits, got 0x{value:x}"
        for (name, bits), value in zip(
            limits, (job.args["value0"], job.args["value1"]), strict=True
        )
        if value >> bits
    ]


def _check_transfer(job: Job) -> list[str]:
    names = ("run_bytes", "stride0", "stride1", "stride2", "row_bytes")
    aligned = {"dram": job.args["dram"], **{name: job.registers[name] for name in names}}
    problems = _check_member("space", job.args["space"], Space)
    problems += [
        f"{name}: expected a multiple of {DRAM_ALIGNMENT_BYTES} bytes, got {value}"
        for name, value in aligned.items()
        if value % DRAM_ALIGNMENT_BYTES
    ]
    total, row = transfer_bytes(job.registers), job.registers["row_bytes"]
    if total % row:
        problems.append(f"row_bytes: expected a divisor of the {total} bytes moved, got {row}")
    return problems


def _check_fill(job: Job) -> list[str]:
    space, value = job.args["space"], job.args["value"]
    if space not in _FILL_BITS:
        return _check_member("space", space, Space) or [
            f"space: expected one of {', '.join(item.name for item in _FILL_BITS)}, "
            f"got {Space(space).name}"
        ]
    bits = _FILL_BITS[Space(space)]
    return [f"value: expected {bits} bits, got 0x{value:x}"] if value >> bits else []


def _check_matmul(job: Job) -> list[str]:
    ic, ir, limit = job.registers["ic"], job.registers["ir"], job.config.interleave
    problems = _check_group(job) + _check_flow(job.registers)
    if ir > MAX_INTERLEAVED_ROWS:
        problems.append(f"ir: expected at most {MAX_INTERLEAVED_ROWS}, got {ir}")
    if ic * ir > limit:
        problems.append(f"ic * ir: expected at most interleave {limit}, got {ic * ir}")
    if job.registers["use_table"] and not job.registers["segments"]:
        problems.append("segments: expected at least 1 with use_table, got 0")
    return problems


def _check_flow(registers: Registers) -> list[str]:
    """Which of dataflow, left operand, packing and segment table go together."""
    packed, table = bool(registers["packed"]), bool(registers["use_table"])
    row, ws = registers["lhs"] == Lhs.ROW, registers["flow"] == Flow.WS
    n, m = registers["n"], registers["m"]
    rules = {
        "packed: expected lhs = ROW": packed and not row,
        "use_table: expected lhs = ROW": table and not row,
        "use_table: expected a right operand without indices (packed = 0)": table and packed,
        "flow: expected lhs = ROW with WS": ws and not row,
        "flow: expected no segment table with WS": ws and table,
        f"n: expected m = {m} unless packed, got {n}": not packed and n != m,
    }
    return [text for text, broken in rules.items() if broken]


def _check_group(job: Job) -> list[str]:
    n, m, config = job.registers["n"], job.registers["m"], job.config
    problems = []
    if config.group_max % m:
        problems.append(f"m: expected a divisor of group_max {config.group_max}, got {m}")
    limit = min(m, config.n_max)
    if n > limit:
        problems.append(f"n: expected at most {limit} (m and n_max), got {n}")
    return problems


def _check_prune(job: Job) -> list[str]:
    lanes = prune_lanes(job.registers)
    room = job.registers["wgt_words"] * job.config.cols
    problems = _check_group(job)
    if room < lanes:
        problems.append(f"wgt_words: expected room for {lanes} lanes, got {room}")
    return problems


def _check_vector(job: Job) -> list[str]:
    return _check_member("vector_op", job.args["vector_op"], VectorOp)


def _check_place(access: Access, config: AcceleratorConfig, dram_bytes: int) -> list[str]:
    """DRAM operands lie inside DRAM, others inside one half of their scratchpad."""
    got = f"got {access.first} to {access.last}"
    if access.store is Store.DRAM:
        if access.first >= 0 and access.last < dram_bytes:
            return []
        return [f"{access.name}: expected bytes 0 to {dram_bytes - 1} of DRAM, {got}"]
    half = half_words(access.store, config)
    if access.last < 2 * half and access.first // half == access.last // half:
        return []
    return [
        f"{access.name}: expected words of one half of {access.store.name} "
        f"(0 to {half - 1}, or {half} to {2 * half - 1}), {got}"
    ]


def _check_overlaps(operands: tuple[Access, ...]) -> list[str]:
    """A result has every word once; it replaces an operand word for word or leaves it alone."""
    results = [item for item in operands if item.writes]
    problems = [
        f"{item.name}: expected rows at least {item.words} words apart, got {item.stride}"
        for item in results
        if item.rows > 1 and item.stride < item.words
    ]
    for position, result in enumerate(results):
        sources = [item for item in operands if not item.writes and not item.same(result)]
        problems += [
            f"{result.name}: expected no common word with {other.name}, or the same words"
            for other in (*sources, *results[:position])
            if result.meets(other)
        ]
    return problems


def _check_member(name: str, value: int, members: type[IntEnum]) -> list[str]:
    if value in set(members):
        return []
    choices = [f"{item.value} ({item.name})" for item in members]
    return [f"{name}: {unknown_name(members.__name__, value, choices)}"]


_CHECKS: dict[Op, Callable[[Job], list[str]]] = {
    Op.HALT: _check_halt,
    Op.CONFIG: _check_config,
    Op.LOAD: _check_transfer,
    Op.STORE: _check_transfer,
    Op.FILL: _check_fill,
    Op.MATMUL: _check_matmul,
    Op.PRUNE: _check_prune,
    Op.UPDATE: lambda _: [],
    Op.VECTOR: _check_vector,
}
