"""LLVM assembly of sampled products: some entries of dy^T x, each a dot product over the tokens.

    transpose  x (tokens, columns) -> lines [column][token]
    dots       found[entry] += line of its row * line of its column, for a block of tokens

A row's line stays in registers for all of its entries. Four entries run at once, whose sums are chains of
their own.
"""

from collections.abc import Sequence
from functools import cache, partial

from .broadcast import transpose_square
from .emitter import Emitter, Value
from .objects import Kernel, load_kernel

TRANSPOSE_ARGUMENTS = (
    "matrices", "row_blocks", "column_blocks", "x", "x_bytes", "x_stride", "lines", "lines_bytes",
    "line_stride",
)  # fmt: skip
"""Matrices one after the other, squares of each; addresses, bytes from one matrix and line to the next."""
DOTS_ARGUMENTS = (
    "rows", "pointers", "columns", "left", "left_stride", "right", "right_stride", "found",
)  # fmt: skip
MOST_VECTORS = 8
"""Registers for a row's line."""
_AT_ONCE = 4


@cache
def transpose_kernel(lanes: int) -> Kernel:
    """Squares of `lanes`; its arguments are TRANSPOSE_ARGUMENTS."""
    e = Emitter(lanes)

    def across(_: Value, at: list[Value]) -> list[Value]:
        transpose_square(e, at[0], "%x_stride", at[1], "%line_stride")
        return [e.add(at[0], e.vector_bytes), e.add(at[1], e.mul("%line_stride", lanes))]

    def down(_: Value, at: list[Value]) -> list[Value]:
        e.loop("%column_blocks", [("i64", at[0]), ("i64", at[1])], across)
        return [e.add(at[0], e.mul("%x_stride", lanes)), e.add(at[1], e.vector_bytes)]

    def matrix(_: Value, at: list[Value]) -> list[Value]:
        e.loop("%row_blocks", [("i64", at[0]), ("i64", at[1])], down)
        return [e.add(at[0], "%x_bytes"), e.add(at[1], "%lines_bytes")]

    e.loop("%matrices", [("i64", "%x"), ("i64", "%lines")], matrix)
    assembly = e.module(TRANSPOSE_ARGUMENTS)
    return load_kernel(f"transpose-{lanes}", assembly, len(TRANSPOSE_ARGUMENTS))


@cache
def dots_kernel(vectors: int, lanes: int) -> Kernel:
    """For a block of `vectors` vectors of tokens; its arguments are DOTS_ARGUMENTS.

    pointers: int64, first entry of every row, and the end; columns: int64, of every entry.
    """
    assembly = _dots_assembly(vectors, lanes)
    return load_kernel(f"dots-{vectors}x{lanes}", assembly, len(DOTS_ARGUMENTS))


def _dots_assembly(vectors: int, lanes: int) -> str:
    e = Emitter(lanes)

    def row(_: Value, at: list[Value]) -> list[Value]:
        pointer, left = at
        begin, end = e.load_integer(64, pointer), e.load_integer(64, e.add(pointer, 8))
        count = e.let(f"sub i64 {end}, {begin}")
        line = [
            e.load(e.vector, e.add(left, vector * e.vector_bytes), 4) for vector in range(vectors)
        ]
        first = e.mul(begin, 8)
        state = [
            ("i64", e.add("%columns", first)),
            ("i64", e.add("%found", e.mul(begin, 4))),
        ]
        rest = count
        for together in (_AT_ONCE, 1):
            rounds = e.let(f"udiv i64 {rest}, {together}")
            places = e.loop(rounds, state, partial(entries, line, together))
            state = [("i64", place) for place in places]
            rest = e.let(f"urem i64 {rest}, {together}")
        return [e.add(pointer, 8), e.add(left, "%left_stride")]

    def entries(line: Sequence[Value], count: int, _: Value, at: list[Value]) -> list[Value]:
        columns, found = at
        for entry in range(count):
            column = e.load_integer(64, e.add(columns, 8 * entry))
            start = e.add("%right", e.mul(column, "%right_stride"))
            total: Value = "zeroinitializer"
            for vector, left in enumerate(line):
                right = e.load(e.vector, e.add(start, vector * e.vector_bytes), 4)
                total = e.fma(left, right, total)
            place = e.add(found, 4 * entry)
            total = _sum(e, total, e.load("float", place, 4))
            e.store("float", total, place, 4)
        return [e.add(columns, 8 * count), e.add(found, 4 * count)]

    e.loop("%rows", [("i64", "%pointers"), ("i64", "%left")], row)
    return e.module(DOTS_ARGUMENTS)


def _sum(e: Emitter, vector: Value, start: Value) -> Value:
    """Of `start` and all lanes, in any order."""
    name = f"llvm.vector.reduce.fadd.v{e.lanes}f32"
    e.declared.add(f"declare float @{name}(float, {e.vector})")
    return e.let(f"call reassoc float @{name}(float {start}, {e.vector} {vector})")
