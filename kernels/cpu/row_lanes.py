"""Row-lane kernels: rows of the weight in the vector lanes, activations broadcast.

They serve weights whose columns are common to as many rows as a register has lanes (V:N:M, tall blocks,
dense). Results leave in the order of y, so that only x is transposed:

    pack      x (tokens, K) -> panel [k][token]
    multiply  y (tokens, rows) (+)= panel * tiles of `vectors` registers of rows

All panels are packed first, then a stretch of the weight that stays in the second-level cache meets one
panel after the other.
"""

from dataclasses import dataclass
from functools import cache, partial

from .broadcast import transpose_square
from .emitter import Emitter, Value
from .objects import Kernel, load_kernel

PACK_ARGUMENTS = ("panels", "x", "x_stride", "k_blocks", "panel")
MULTIPLY_ARGUMENTS = (
    "panels", "panel_stride", "panel", "values", "indices", "pointers", "tiles", "y", "y_stride",
)  # fmt: skip
SQUARE = 8
"""Columns that `pack` moves at once: K is filled up to a multiple."""
TOKEN_STEP = 4
"""Widths of a panel are multiples of this many tokens."""


@dataclass(frozen=True)
class LaneShape:
    """One register tile: `tokens` x `vectors` registers of `lanes` rows."""

    tokens: int
    vectors: int
    lanes: int
    index_bits: int
    accumulate: bool


@cache
def pack_kernel(tokens: int) -> Kernel:
    """Transpose runs of `tokens` rows of x into panels; its arguments are PACK_ARGUMENTS."""
    return load_kernel(f"pack-{tokens}", _pack_assembly(tokens), len(PACK_ARGUMENTS))


@cache
def multiply_kernel(
    tokens: int, vectors: int, lanes: int, index_bits: int, accumulate: bool
) -> Kernel:
    """Multiply a run of tiles by panels, one after the other; its arguments are MULTIPLY_ARGUMENTS."""
    shape = LaneShape(tokens, vectors, lanes, index_bits, accumulate)
    more = "-more" if shape.accumulate else ""
    name = f"lanes-{shape.tokens}x{shape.vectors}x{shape.lanes}-i{shape.index_bits}{more}"
    return load_kernel(name, _multiply_assembly(shape), len(MULTIPLY_ARGUMENTS))


def _pack_assembly(tokens: int) -> str:
    side = SQUARE if tokens % SQUARE == 0 else TOKEN_STEP
    e, row_bytes = Emitter(side), 4 * tokens

    def block(_: Value, places: list[Value]) -> list[Value]:
        source, target = places
        for k in range(0, SQUARE, side):
            for token in range(0, tokens, side):
                first = e.add(e.add(source, e.mul("%x_stride", token)), 4 * k)
                place = e.add(target, k * row_bytes + 4 * token)
                transpose_square(e, first, "%x_stride", place, str(row_bytes))
        return [e.add(source, 4 * SQUARE), e.add(target, SQUARE * row_bytes)]

    def one_panel(_: Value, places: list[Value]) -> list[Value]:
        source, target = places
        _, end = e.loop("%k_blocks", [("i64", source), ("i64", target)], block)
        return [e.add(source, e.mul("%x_stride", tokens)), end]

    e.loop("%panels", [("i64", "%x"), ("i64", "%panel")], one_panel)
    return e.module(PACK_ARGUMENTS)


def _multiply_assembly(shape: LaneShape) -> str:
    e = Emitter(shape.lanes)
    tile_bytes = shape.vectors * e.vector_bytes
    index_bytes = shape.index_bits // 8

    def one_panel(_: Value, places: list[Value]) -> list[Value]:
        panel, y = places
        rows = [e.add(y, e.mul("%y_stride", token)) for token in range(shape.tokens)]
        e.loop("%tiles", [("i64", "%pointers")], partial(one_tile, panel, rows))
        following = e.add(y, e.mul("%y_stride", shape.tokens))
        return [e.add(panel, "%panel_stride"), following]

    def one_tile(panel: Value, rows: list[Value], index: Value, outer: list[Value]) -> list[Value]:
        (pointer,) = outer
        begin, end = e.load_integer(64, pointer), e.load_integer(64, e.add(pointer, 8))
        steps = e.let(f"sub i64 {end}, {begin}")
        values = e.add("%values", e.mul(begin, tile_bytes))
        indices = e.add("%indices", e.mul(begin, index_bytes))
        here = e.mul(index, tile_bytes)
        places = [
            e.add(e.add(row, here), vector * e.vector_bytes)
            for row in rows
            for vector in range(shape.vectors)
        ]
        first = [e.load(e.vector, p, 4) if shape.accumulate else "zeroinitializer" for p in places]

        def step(_: Value, inner: list[Value]) -> list[Value]:
            values, indices, *sums = inner
            column = e.load_integer(shape.index_bits, indices)
            start = e.opaque(e.add(panel, e.mul(column, 4 * shape.tokens)))
            weights = [
                e.load(e.vector, e.add(values, vector * e.vector_bytes), 4)
                for vector in range(shape.vectors)
            ]
            for token in range(shape.tokens):
                activation = e.splat(e.load("float", e.add(start, 4 * token), 4))
                for vector, weight in enumerate(weights):
                    at = token * shape.vectors + vector
                    sums[at] = e.fma(weight, activation, sums[at])
            return [e.add(values, tile_bytes), e.add(indices, index_bytes), *sums]

        carried = [("i64", values), ("i64", indices), *((e.vector, one) for one in first)]
        _, _, *sums = e.loop(steps, carried, step)
        for place, total in zip(places, sums, strict=True):
            e.store(e.vector, total, place, 4)
        return [e.add(pointer, 8)]

    e.loop("%panels", [("i64", "%panel"), ("i64", "%y")], one_panel)
    return e.module(MULTIPLY_ARGUMENTS)
