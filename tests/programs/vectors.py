"""Random PRUNE, UPDATE and VECTOR instructions."""

import struct
from random import Random

from hwsim.accesses import OPERANDS_OF_VECTOR, Store, ceil_div
from hwsim.isa import Op, VectorOp

from .contents import PLAIN, Block
from .placement import place, place_apart
from .transfers import provide
from .writer import Writer

_GROUPS = ((1, 8), (2, 4), (2, 8), (2, 16), (1, 2), (3, 4), (4, 4), (8, 8), (2, 2), (1, 1))


def prune(writer: Writer) -> list[Block]:
    """Append a PRUNE and what it needs. Returns its results; nothing if it found no place."""
    rng, config = writer.rng, writer.config
    n, m = rng.choice([(n, m) for n, m in _GROUPS if m <= config.group_max and n <= config.n_max])
    rows, columns, transpose = rng.randint(1, 20), rng.randint(1, 20), rng.randint(0, 1)
    length, lanes = (columns, rows) if transpose else (rows, columns)
    source_words = ceil_div(columns, config.activation_lanes)
    act_words = source_words + int(rng.random() < 0.2)
    wgt_words = ceil_div(lanes, config.cols) + int(rng.random() < 0.2)
    source = place(writer, Store.ACT, rows, act_words, source_words)
    result = place(writer, Store.WGT, ceil_div(length, m) * n, wgt_words, wgt_words)
    if source is None or result is None:
        return []
    provide(writer, source)
    registers = {"n": n, "m": m, "rows": rows, "columns": columns, "transpose": transpose}
    registers |= {"act_words": act_words, "wgt_words": wgt_words}
    writer.write(Op.PRUNE, {"act": source.start, "wgt": result.start}, registers)
    indices = Block(Store.IDX, result.start, result.rows, result.stride, result.words)
    writer.contents.write(result)
    writer.contents.write(indices, 1 + m)
    return [result, indices]


def update(writer: Writer) -> list[Block]:
    """Append an UPDATE and what it needs. Returns its results; nothing if it found no place."""
    rng = writer.rng
    rows, words = _size(rng)
    stride = words + int(rng.random() < 0.2)
    state = place_apart(writer, Store.ACC, 3, rows, stride, words)
    copy = _narrow(writer, rows, words)
    if state is None or copy is None:
        return []
    for block in (*state, copy):
        provide(writer, block)
    registers = {"rows": rows, "words": words, "a_words": stride, "dst_words": copy.stride}
    registers |= {
        "scale": _bits(2.0 ** rng.choice((-10, -3, 0, 4))),
        "rate": _bits(rng.choice((0.1, 0.01, 1.0))),
        "momentum": _bits(rng.choice((0.0, 0.9, 0.5))),
        "decay": _bits(rng.choice((0.0, 1e-4, 0.5, 1e6))),
    }
    names = ("weight", "momentum", "gradient")
    args = {name: block.start for name, block in zip(names, state, strict=True)}
    writer.write(Op.UPDATE, {**args, "act": copy.start}, registers)
    return [*state[:2], copy]


def vector(writer: Writer) -> list[Block]:
    """Append a VECTOR and what it needs. Returns its result; nothing if it found no place."""
    rng = writer.rng
    operation, to_act = rng.choice(list(VectorOp)), rng.randint(0, 1)
    rows, words = _size(rng)
    stride = words + int(rng.random() < 0.2)
    blocks = place_apart(writer, Store.ACC, 3, rows, stride, words)
    if blocks is None:
        return []
    a, b, dst = blocks
    if operation is VectorOp.BIAS:
        b = Block(Store.ACC, b.start, 1, 0, words)
    if operation is VectorOp.COLSUM:
        dst = Block(Store.ACC, dst.start, 1, stride, words)
    elif rng.random() < 0.3:
        dst = a
    narrow = _narrow(writer, dst.rows, words) if to_act else dst
    if narrow is None:
        return []
    operands = [a, b][: OPERANDS_OF_VECTOR[operation]]
    for block in [*operands, narrow] if to_act else operands:
        provide(writer, block)
    registers = {"rows": rows, "words": words, "to_act": to_act, "a_words": stride}
    registers |= {"b_words": stride, "dst_words": narrow.stride}
    registers["scale"] = _bits(rng.choice((0.5, -2.0, 1e-3, 1e5)))
    args = {"vector_op": operation, "a": a.start, "b": b.start, "dst": narrow.start}
    writer.write(Op.VECTOR, args, registers)
    writer.contents.write(narrow, PLAIN)
    return [narrow]


def _narrow(writer: Writer, rows: int, words: int) -> Block | None:
    """A place for FP16 copies of rows of accumulator words."""
    config = writer.config
    act_words = ceil_div(words * config.cols, config.activation_lanes)
    stride = act_words + int(writer.rng.random() < 0.2)
    return place(writer, Store.ACT, rows, stride, act_words)


def _size(rng: Random) -> tuple[int, int]:
    """Rows, and words of a row."""
    return rng.choice((1, rng.randint(1, 12))), rng.choice((1, rng.randint(1, 5)))


def _bits(value: float) -> int:
    """Bits of an FP32 number."""
    return int.from_bytes(struct.pack("<f", value), "little")
