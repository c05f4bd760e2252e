"""Legal UPDATE and VECTOR instructions, and what they leave in ACC and ACT.

Two expectations: of `hwsim.machine`, and of NumPy float32, which knows nothing of hwsim but the names
of fields.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from hwsim.accesses import Job, Store
from hwsim.config import AcceleratorConfig
from hwsim.isa import REGISTERS, Instruction, Op, Unit, VectorOp, encode
from hwsim.limits import check_instruction
from hwsim.machine.scratchpads import Scratchpad, Scratchpads
from hwsim.machine.state import State
from hwsim.machine.wuve import update, vector

RECORD_WORDS = 16
"""32-bit words of an instruction in tb_wuve's list."""
GAP = 14
"""Word of a record: idle cycles before the instruction issues."""
READS = {VectorOp.BIAS: 2, VectorOp.ADD: 2, VectorOp.MASK: 2}
PLUS_ZERO = np.float32(0)
START_CYCLES, LATENCY_CYCLES = 6, 24  # docs/microarchitecture.md, Constants

SPECIAL = (
    *(0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000),
    *(0xBF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000),
    *(0x7F800001, 0xFFFFFFFF, 0x477FE000, 0x477FEFFF, 0x477FF000, 0xC77FF000, 0x33000000),
    *(0x33000001, 0x33800000, 0x387FC000, 0x387FE000, 0x38800000, 0x3F801000, 0x3F803000),
)
"""Zeros, subnormals, infinities, NaN; the edges and ties of FP16 rounding, its overflow, its zero."""


@dataclass(frozen=True)
class Case:
    """One instruction, and idle cycles before it issues."""

    instruction: Instruction
    registers: dict[str, int]
    gap: int = 0

    @property
    def operation(self) -> VectorOp | None:
        """None of an UPDATE."""
        if self.instruction.op is Op.UPDATE:
            return None
        return VectorOp(self.instruction.args["vector_op"])

    def record(self) -> Any:
        """As tb_wuve reads it, (RECORD_WORDS,) uint32."""
        bank, position = 0, 0
        for item in REGISTERS[Unit.WUVE]:
            bank |= self.registers[item.name] << position
            position += item.bits
        packed = encode(self.instruction) | bank << 128 | self.gap << 32 * GAP
        return np.frombuffer(packed.to_bytes(4 * RECORD_WORDS, "little"), np.uint32)


# --- Expectations


def expected_cycles(case: Case, config: AcceleratorConfig) -> int:
    """T, written out from docs/microarchitecture.md."""
    rows, steps = case.registers["rows"], case.registers["words"]
    steps *= config.cols // config.wuve_lanes
    if case.operation is VectorOp.COLSUM:
        return START_CYCLES + rows * max(steps, config.add_latency) + LATENCY_CYCLES
    reads = 3 if case.operation is None else READS.get(case.operation, 1)
    return START_CYCLES + rows * steps * reads + LATENCY_CYCLES


def execute(case: Case, config: AcceleratorConfig, acc: Any, act: Any) -> bool:
    """The machine, on acc (words, C) uint32 and act (words, a * R) uint16, in place. NONFINITE."""
    unused = np.zeros((1, 1), np.uint8)

    def pad(store: Store, bits: Any) -> Scratchpad:
        return Scratchpad(store, bits, np.ones(bits.shape, bool))

    none = pad(Store.WGT, unused)
    state = State(unused[0], Scratchpads(pad(Store.ACT, act), none, none, pad(Store.ACC, acc)))
    job = Job(case.instruction, case.registers, config)
    (update if case.operation is None else vector)(state, job)
    return state.nonfinite


def execute_numpy(case: Case, acc: Any, act: Any) -> bool:
    """The same in plain NumPy float32, row by row, from docs/numerics.md."""
    rows = range(case.registers["rows"])
    with np.errstate(all="ignore"):
        if case.operation is None:
            flags = [_update_row(case, row, acc, act) for row in rows]
        else:
            flags = [_keep(case, row, values, acc, act) for row, values in _vector_rows(case, acc)]
    return any(flags)


def _update_row(case: Case, row: int, acc: Any, act: Any) -> bool:
    scale, rate, momentum, decay = (
        _single(case.registers[name]) for name in ("scale", "rate", "momentum", "decay")
    )
    w, v, dw = (
        _row(case, acc, name, "a_words", row) for name in ("weight", "momentum", "gradient")
    )
    g = dw.view(np.float32) * scale + w.view(np.float32) * decay
    velocity = v.view(np.float32) * momentum + g
    weight = w.view(np.float32) - velocity * rate
    v[:], w[:] = _single_bits(velocity), _single_bits(weight)
    return _keep_half(case, "act", row, weight, act)


def _vector_rows(case: Case, acc: Any) -> Iterator[tuple[int, Any]]:
    """Rows of the result, float32; each operand row is read when its result row is asked for."""
    b_row = 0 if case.operation is VectorOp.BIAS else 1
    total = np.zeros((case.registers["words"], acc.shape[1]), np.float32)
    for row in range(case.registers["rows"]):
        a = _row(case, acc, "a", "a_words", row).view(np.float32)
        if case.operation is VectorOp.COLSUM:
            total = total + a
        elif case.operation in READS:
            b = _row(case, acc, "b", "b_words", row * b_row).view(np.float32)
            yield row, np.where(b > 0, a, PLUS_ZERO) if case.operation is VectorOp.MASK else a + b
        elif case.operation is VectorOp.RELU:
            yield row, np.where(np.isnan(a) | (a > 0), a, PLUS_ZERO)
        elif case.operation is VectorOp.SCALE:
            yield row, a * _single(case.registers["scale"])
        else:
            yield row, a.copy()
    if case.operation is VectorOp.COLSUM:
        yield 0, total


def operands(case: Case, acc: Any) -> list[Any]:
    """Everything that a case reads, float32: rows, and numbers of its registers."""
    if case.operation is None:
        bases = dict.fromkeys(("weight", "momentum", "gradient"), "a_words")
        scalars = ("scale", "rate", "momentum", "decay")
    else:
        bases = {"a": "a_words", "b": "b_words"}
        bases = bases if case.operation in READS else {"a": "a_words"}
        scalars = ("scale",) if case.operation is VectorOp.SCALE else ()
    rows = range(case.registers["rows"])
    fixed = "b" if case.operation is VectorOp.BIAS else None
    read = [
        _row(case, acc, base, stride, 0 if base == fixed else row)
        for base, stride in bases.items()
        for row in rows
    ]
    return [row.view(np.float32).copy() for row in read] + [
        np.array([_single(case.registers[name])]) for name in scalars
    ]


def results(case: Case, acc: Any, act: Any) -> list[Any]:
    """The rows that a case has written: float16 in ACT, else float32."""
    rows = range(1 if case.operation is VectorOp.COLSUM else case.registers["rows"])
    if case.operation is not None and not case.registers["to_act"]:
        return [_row(case, acc, "dst", "dst_words", row).view(np.float32).copy() for row in rows]
    base = "act" if case.operation is None else "dst"
    flat, size = act.reshape(-1), case.registers["words"] * acc.shape[1]
    starts = [(case.instruction.args[base] + r * case.registers["dst_words"]) for r in rows]
    return [flat[s * act.shape[1] :][:size].view(np.float16).copy() for s in starts]


def _keep(case: Case, row: int, values: Any, acc: Any, act: Any) -> bool:
    """Write a row of a VECTOR's result. NONFINITE."""
    if case.registers["to_act"]:
        return _keep_half(case, "dst", row, values, act)
    _row(case, acc, "dst", "dst_words", row)[:] = _single_bits(values)
    return False


def _keep_half(case: Case, base: str, row: int, values: Any, act: Any) -> bool:
    rounded = values.reshape(-1).astype(np.float16)
    first = (case.instruction.args[base] + row * case.registers["dst_words"]) * act.shape[1]
    bits = np.where(np.isnan(rounded), np.uint16(0x7E00), rounded.view(np.uint16))
    act.reshape(-1)[first : first + len(bits)] = bits
    return not np.isfinite(rounded).all()


def _row(case: Case, acc: Any, base: str, stride: str, row: int) -> Any:
    """A row of an operand, in place."""
    first = case.instruction.args[base] + row * case.registers[stride]
    return acc[first : first + case.registers["words"]]


def _single(bits: int) -> Any:
    return np.uint32(bits).view(np.float32)


def _single_bits(values: Any) -> Any:
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))


# --- Contents


def contents(rng: Random, shape: tuple[int, ...], kind: str) -> Any:
    """Bits. plain: FP32 about 1; wide: every exponent; huge: sums overflow; special: corners.

    any: of 16 bits.
    """
    random = np.random.default_rng(rng.getrandbits(32))
    if kind == "any":
        return random.integers(0, 1 << 16, shape, np.uint16)
    if kind == "plain":
        return random.standard_normal(shape).astype(np.float32).view(np.uint32)
    if kind == "wide":
        signs = random.integers(0, 2, shape, np.uint32) << np.uint32(31)
        return random.integers(0, 0x7F800000, shape, np.uint32) | signs
    if kind == "huge":
        signs = random.integers(0, 2, shape, np.uint32) << np.uint32(31)
        return random.integers(0x7E000000, 0x7F800000, shape, np.uint32) | signs
    corners = np.array(SPECIAL, np.uint32)[random.integers(0, len(SPECIAL), shape)]
    anything = random.integers(0, 1 << 32, shape, np.uint32)
    return np.where(random.random(shape) < 0.7, corners, anything)


KINDS = ("plain", "wide", "special", "huge")
"""Of ACC."""


# --- Instructions


def random_case(rng: Random, config: AcceleratorConfig, most_steps: int = 400) -> Case:
    """A legal instruction of random kind, size, strides and places."""
    while True:
        kind = rng.choice([None, None, *VectorOp])
        case = _draw(rng, config, kind)
        steps = case.registers["rows"] * case.registers["words"]
        if steps <= most_steps and not problems(case, config):
            return case


def directed_cases(config: AcceleratorConfig) -> list[Case]:
    """Every operation, into ACC and ACT, in place and not; COLSUM around every length of its loop."""
    sizes = ((1, 1), (1, 2), (2, 1), (3, 5))
    cases = [_directed(config, None, rows, words) for rows, words in sizes]
    for operation in VectorOp:
        for rows, words in sizes:
            cases += [_directed(config, operation, rows, words, to_act=flag) for flag in (0, 1)]
            in_place = _directed(config, operation, rows, words, dst="a")
            cases += [] if problems(in_place, config) else [in_place]
    for words in range(1, 4 * config.add_latency + 1):
        cases += [_directed(config, VectorOp.COLSUM, 3, words)]
    assert not any(problems(case, config) for case in cases)
    return cases


def _directed(
    config: AcceleratorConfig,
    operation: VectorOp | None,
    rows: int,
    words: int,
    *,
    to_act: int = 0,
    dst: str = "dst",
) -> Case:
    into_act = to_act or operation is None
    registers = {"rows": rows, "words": words, "to_act": to_act}
    registers |= dict.fromkeys(("a_words", "b_words"), words)
    registers["dst_words"] = _act_words(config, words) if into_act else words
    registers |= dict.fromkeys(("scale", "rate", "momentum"), _HALF) | {"decay": _HALF}
    places = {"a": 0, "b": 70, "dst": 140}
    if operation is None:
        args = {"weight": 0, "momentum": 70, "gradient": 140, "act": 3}
        return Case(Instruction(Op.UPDATE, {"bank": 0, **args}), registers)
    args = {"bank": 0, "vector_op": operation, **places, "dst": places[dst]}
    return Case(Instruction(Op.VECTOR, args), registers)


_HALF = 0x3F000000


def problems(case: Case, config: AcceleratorConfig) -> list[str]:
    return check_instruction(case.instruction, case.registers, config)


def _draw(rng: Random, config: AcceleratorConfig, operation: VectorOp | None) -> Case:
    rows = rng.choice((1, 2, rng.randint(1, 9), rng.randint(1, 40)))
    words = rng.choice((1, 2, rng.randint(1, 9), rng.randint(1, 40)))
    to_act = rng.randint(0, 1)
    into_act = to_act or operation is None
    registers = {
        "rows": rows,
        "words": words,
        "a_words": _stride(rng, words),
        "b_words": _stride(rng, words),
        "dst_words": _stride(rng, _act_words(config, words) if into_act else words),
        "to_act": to_act,
        "scale": _number(rng),
        "rate": _number(rng),
        "momentum": _number(rng),
        "decay": _number(rng),
    }
    acc = [_place(rng, config.accumulator_half_words) for _ in range(3)]
    act = _place(rng, config.activation_half_words)
    if operation is None:
        names = ("weight", "momentum", "gradient")
        args = {**dict(zip(names, acc, strict=True)), "act": act}
        if rng.random() < 0.1:
            args["gradient"] = args[rng.choice(("weight", "momentum"))]
        return Case(Instruction(Op.UPDATE, {"bank": 0, **args}), registers, _gap(rng))
    dst = acc[2]
    if to_act:
        dst = act
    elif rng.random() < 0.4:
        dst, registers["dst_words"] = rng.choice(
            [(acc[0], registers["a_words"]), (acc[1], registers["b_words"])]
        )
    args = {"bank": 0, "vector_op": operation, "a": acc[0], "b": acc[1], "dst": dst}
    return Case(Instruction(Op.VECTOR, args), registers, _gap(rng))


def _act_words(config: AcceleratorConfig, words: int) -> int:
    """ACT words of an FP16 row."""
    return -(-words * config.cols // config.activation_lanes)


def _stride(rng: Random, words: int) -> int:
    """Next to each other, apart, overlapping or the same row; results refuse the last two."""
    return rng.choice((words, words, words + rng.randint(0, 3), rng.randint(0, words)))


def _place(rng: Random, half: int) -> int:
    return rng.choice((0, half)) + rng.randrange(half)


def _gap(rng: Random) -> int:
    """Often the earliest cycle that the unit allows."""
    return rng.choice((0, 0, 1, rng.randint(2, 40)))


def _number(rng: Random) -> int:
    """FP32 bits of a scalar register."""
    plain = np.float32(rng.choice((1.0, 0.9, 0.1, 1e-4, -2.0, 2.0**-10, 0.0, 1e5)))
    return int(rng.choice((int(plain.view(np.uint32)), rng.choice(SPECIAL))))
