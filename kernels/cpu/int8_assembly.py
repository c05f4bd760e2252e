"""LLVM assembly of INT8 products: four rows that share their columns, four columns an instruction.

    pack      x (tokens, K) float32 -> panel [k][token], q + 128 as unsigned bytes
    multiply  y (tokens, rows) = (q + 128) w - 128 sum(w), times the scales of row and token

The instruction (vpdpbusd) multiplies unsigned by signed bytes and adds four products into each 32-bit
lane, so activations are raised by 128 and sums begin at the rows' corrections. Four lines of a panel, any
four, are interleaved in registers into [token][4 columns], which serves four rows. Sums wrap at 32 bits, so
that only the final ones need to fit. Without the instruction, bytes are widened to 16-bit pairs
(vpmaddwd), which is exact as well: 255 * 128 * 2 fits into 32 bits.

A panel of four vectors holds its tokens in the order in which the interleaving takes them apart: byte
16 l + 4 j + i of a line is token `lanes` j + 4 l + i, and the results' tokens are in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from .broadcast import transpose_square
from .emitter import Emitter, Value
from .objects import Kernel, load_kernel

PACK_ARGUMENTS = ("panels", "x", "x_stride", "k_blocks", "inverses", "scratch", "panel")
MULTIPLY_ARGUMENTS = (
    "groups", "chunk_groups", "panels", "panel", "panel_stride", "values", "indices", "pointers",
    "corrections", "row_scales", "token_scales", "scratch", "y", "y_stride",
)  # fmt: skip
TILE_ROWS = 4
"""Rows of a tile: they share their columns."""
QUAD = 4
"""Columns that one instruction takes."""
GROUP_ROWS = 16
"""Rows whose results leave together, in whole cache lines."""
SQUARE = 16
"""Columns that `pack` moves at once: K is filled up to a multiple."""
_OFFSET = 128
_ROUNDER = 3 << 22
"""1.5 * 2**23: a float32 above it has no fraction, so that adding it rounds half to even."""
_ROUNDER_BITS = 0x4B400000


@dataclass(frozen=True)
class PanelShape:
    """How a panel meets a tile. `vectors` is 1 or 4; `rows` of a tile at once is 2 or 4."""

    lanes: int
    vectors: int
    rows: int
    instruction: bool
    """Whether the processor has vpdpbusd for this width."""

    @property
    def tokens(self) -> int:
        return self.lanes * self.vectors

    @property
    def name(self) -> str:
        kind = "dot" if self.instruction else "pairs"
        return f"int8-{kind}-{self.rows}x{self.vectors}x{self.lanes}"


@cache
def pack_kernel(shape: PanelShape) -> Kernel:
    """Quantise and transpose runs of `shape.tokens` rows of x; its arguments are PACK_ARGUMENTS.

    scratch: SQUARE * tokens float32.
    """
    return load_kernel(f"{shape.name}-pack", _pack_assembly(shape), len(PACK_ARGUMENTS))


@cache
def multiply_kernel(shape: PanelShape) -> Kernel:
    """Multiply a run of groups by all panels; its arguments are MULTIPLY_ARGUMENTS.

    scratch: GROUP_ROWS * tokens float32.
    """
    return load_kernel(shape.name, multiply_assembly(shape), len(MULTIPLY_ARGUMENTS))


def _pack_assembly(shape: PanelShape) -> str:
    e, tokens = Emitter(shape.lanes), shape.tokens

    def one_panel(_: Value, places: list[Value]) -> list[Value]:
        source, inverses, target = places
        factors = [
            e.load(e.vector, e.add(inverses, vector * e.vector_bytes), 4)
            for vector in range(shape.vectors)
        ]

        def block(_: Value, inner: list[Value]) -> list[Value]:
            source, target = inner
            for vector in range(shape.vectors):
                for k in range(0, SQUARE, e.lanes):
                    first = e.add(e.add(source, e.mul("%x_stride", vector * e.lanes)), 4 * k)
                    place = e.add("%scratch", 4 * (k * tokens + vector * e.lanes))
                    transpose_square(e, first, "%x_stride", place, str(4 * tokens))
            for k in range(SQUARE):
                line = [
                    _quantised(e, e.add("%scratch", 4 * (k * tokens + at * e.lanes)), factor)
                    for at, factor in enumerate(factors)
                ]
                e.store(f"<{tokens} x i8>", _bytes(e, line), e.add(target, k * tokens))
            return [e.add(source, 4 * SQUARE), e.add(target, SQUARE * tokens)]

        _, end = e.loop("%k_blocks", [("i64", source), ("i64", target)], block)
        following = e.add(source, e.mul("%x_stride", tokens))
        return [following, e.add(inverses, 4 * tokens), end]

    e.loop("%panels", [("i64", "%x"), ("i64", "%inverses"), ("i64", "%panel")], one_panel)
    return e.module(PACK_ARGUMENTS)


def _quantised(e: Emitter, place: Value, factor: Value) -> Value:
    """A vector of q + 128 as 32-bit integers."""
    scaled = e.let(f"fmul {e.vector} {e.load(e.vector, place, 4)}, {factor}")
    raised = _float_splat(e, float(_ROUNDER + _OFFSET))
    rounded = e.let(f"fadd {e.vector} {scaled}, {raised}")
    bits = e.let(f"bitcast {e.vector} {rounded} to {_words(e)}")
    return e.let(f"sub {_words(e)} {bits}, {_splat(e, _ROUNDER_BITS)}")


def _bytes(e: Emitter, line: Sequence[Value]) -> Value:
    """Integers below 256 as bytes, four vectors in the order of the interleaving."""
    if len(line) == 1:
        return e.let(f"trunc {_words(e)} {line[0]} to <{e.lanes} x i8>")
    words, halves, bytes_ = _words(e), f"<{2 * e.lanes} x i16>", f"<{4 * e.lanes} x i8>"
    unit, suffix = ("avx512", ".512") if e.lanes == 16 else ("avx2", "")
    pair = partial(e.call, f"llvm.x86.{unit}.packssdw{suffix}", halves)
    low, high = (pair((words, line[i]), (words, line[i + 1])) for i in (0, 2))
    return e.call(f"llvm.x86.{unit}.packuswb{suffix}", bytes_, (halves, low), (halves, high))


def multiply_assembly(shape: PanelShape) -> str:
    """The module of `multiply_kernel`."""
    e, tokens = Emitter(shape.lanes), shape.tokens

    def chunk(index: Value, places: list[Value]) -> list[Value]:
        pointers, corrections, row_scales, y = places
        left = e.let(f"sub i64 %groups, {e.mul(index, '%chunk_groups')}")
        groups = e.call("llvm.umin.i64", "i64", ("i64", left), ("i64", "%chunk_groups"))

        def one_panel(_: Value, at: list[Value]) -> list[Value]:
            panel, token_scales, y = at
            state = [("i64", v) for v in (pointers, corrections, row_scales, y)]
            e.loop(groups, state, partial(group, panel, token_scales))
            following = e.add(y, e.mul("%y_stride", tokens))
            return [e.add(panel, "%panel_stride"), e.add(token_scales, 4 * tokens), following]

        e.loop("%panels", [("i64", v) for v in ("%panel", "%token_scales", y)], one_panel)
        rows = e.mul("%chunk_groups", 4 * GROUP_ROWS)
        tiles = e.mul("%chunk_groups", 8 * GROUP_ROWS // TILE_ROWS)
        ends = [e.add(place, rows) for place in (corrections, row_scales, y)]
        return [e.add(pointers, tiles), *ends]

    def group(panel: Value, scales: Value, _: Value, at: list[Value]) -> list[Value]:
        *tile_state, y = at
        state = [("i64", v) for v in (*tile_state, "%scratch")]
        ends = e.loop(str(GROUP_ROWS // TILE_ROWS), state, partial(tile, panel, scales))
        for vector in range(shape.vectors):
            first = e.add(y, e.mul("%y_stride", vector * e.lanes))
            for row in range(0, GROUP_ROWS, e.lanes):
                source = e.add("%scratch", 4 * (row * tokens + vector * e.lanes))
                transpose_square(e, source, str(4 * tokens), e.add(first, 4 * row), "%y_stride")
        return [*ends[:-1], e.add(y, 4 * GROUP_ROWS)]

    def tile(panel: Value, scales: Value, _: Value, at: list[Value]) -> list[Value]:
        pointer, corrections, row_scales, out = at
        begin, end = e.load_integer(64, pointer), e.load_integer(64, e.add(pointer, 8))
        quads = e.let(f"sub i64 {end}, {begin}")
        values = e.add("%values", e.mul(begin, TILE_ROWS * QUAD))
        indices = e.add("%indices", e.mul(begin, 2 * QUAD))
        for first in range(0, TILE_ROWS, shape.rows):
            starts = [
                _splat_word(e, e.load("i32", e.add(corrections, 4 * (first + row)), 4))
                for row in range(shape.rows)
            ]
            sums = _dot(e, shape, quads, panel, e.add(values, QUAD * first), indices, starts)
            for row in range(shape.rows):
                factor = e.splat(e.load("float", e.add(row_scales, 4 * (first + row)), 4))
                for vector in range(shape.vectors):
                    total = sums[row * shape.vectors + vector]
                    wide = e.let(f"sitofp {_words(e)} {total} to {e.vector}")
                    by_row = e.let(f"fmul {e.vector} {wide}, {factor}")
                    scale = e.load(e.vector, e.add(scales, vector * e.vector_bytes), 4)
                    result = e.let(f"fmul {e.vector} {by_row}, {scale}")
                    at_row = 4 * (first + row) * tokens + vector * e.vector_bytes
                    e.store(e.vector, result, e.add(out, at_row), 4)
        rows = 4 * TILE_ROWS
        following = [e.add(pointer, 8), e.add(corrections, rows), e.add(row_scales, rows)]
        return [*following, e.add(out, rows * tokens)]

    rounded = e.add(e.add("%groups", "%chunk_groups"), -1)
    chunks = e.let(f"udiv i64 {rounded}, %chunk_groups")
    state = [("i64", v) for v in ("%pointers", "%corrections", "%row_scales", "%y")]
    e.loop(chunks, state, chunk)
    return e.module(MULTIPLY_ARGUMENTS)


def _dot(
    e: Emitter, shape: PanelShape, quads: Value, panel: Value, values: Value, indices: Value,
    starts: Sequence[Value],
) -> list[Value]:  # fmt: skip
    """Sums [row][vector] of a tile's quads, from `starts` of the rows on."""
    shift = shape.tokens.bit_length() - 1

    def quad(_: Value, inner: list[Value]) -> list[Value]:
        values, indices, *sums = inner
        word = e.load_integer(64, indices)
        lines = []
        for k in range(QUAD):
            index = e.let(f"lshr i64 {word}, {16 * k}") if k else word
            index = e.let(f"and i64 {index}, 65535")
            place = e.add(panel, e.let(f"shl i64 {index}, {shift}"))
            lines.append(e.load(f"<{shape.tokens} x i8>", place))
        activations = _interleaved(e, shape, lines)
        for row in range(shape.rows):
            weight = _splat_word(e, e.load("i32", e.add(values, QUAD * row), 4))
            for vector, activation in enumerate(activations):
                at = row * shape.vectors + vector
                sums[at] = _add_products(e, shape, sums[at], activation, weight)
        return [e.add(values, TILE_ROWS * QUAD), e.add(indices, 2 * QUAD), *sums]

    first = [(_words(e), start) for start in starts for _ in range(shape.vectors)]
    _, _, *sums = e.loop(quads, [("i64", values), ("i64", indices), *first], quad)
    return sums


def _interleaved(e: Emitter, shape: PanelShape, lines: Sequence[Value]) -> list[Value]:
    """Four lines as vectors of [token][4 columns]."""
    tokens = shape.tokens
    if shape.vectors == 1:
        ab, cd = (
            _shuffled(e, f"<{tokens} x i8>", lines[i : i + 2], range(2 * tokens)) for i in (0, 2)
        )
        order = [column * tokens + token for token in range(tokens) for column in range(QUAD)]
        return [_as_words(e, _shuffled(e, f"<{2 * tokens} x i8>", (ab, cd), order), tokens)]
    halves = []
    for first in (0, 2):
        pair = lines[first : first + 2]
        low, high = (
            _shuffled(e, f"<{tokens} x i8>", pair, _unpacking(tokens, 16, upper))
            for upper in (False, True)
        )
        halves.append(
            [
                e.let(f"bitcast <{tokens} x i8> {one} to <{tokens // 2} x i16>")
                for one in (low, high)
            ]
        )
    found = []
    for part in (0, 1):
        pair = halves[0][part], halves[1][part]
        for upper in (False, True):
            order = _unpacking(tokens // 2, 8, upper)
            mixed = _shuffled(e, f"<{tokens // 2} x i16>", pair, order)
            found.append(e.let(f"bitcast <{tokens // 2} x i16> {mixed} to {_words(e)}"))
    return found


def _unpacking(count: int, unit: int, upper: bool) -> list[int]:
    """Elements of two vectors by turns, from the lower or upper halves of their runs of `unit`."""
    half = unit // 2
    return [
        base + i + (half if upper else 0) + side * count
        for base in range(0, count, unit)
        for i in range(half)
        for side in (0, 1)
    ]


def _add_products(
    e: Emitter, shape: PanelShape, total: Value, activation: Value, weight: Value
) -> Value:
    """Total and four products in every lane: unsigned bytes of `activation`, signed of `weight`."""
    words = _words(e)
    if shape.instruction:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * e.lanes}"
        return e.call(name, words, (words, total), (words, activation), (words, weight))
    halves = f"<{2 * e.lanes} x i16>"
    a, w = (e.let(f"bitcast {words} {one} to {halves}") for one in (activation, weight))
    byte = _half_splat(e, 8)
    even_a = e.let(f"and {halves} {a}, {_half_splat(e, 255)}")
    odd_a = e.let(f"lshr {halves} {a}, {byte}")
    even_w = e.let(f"ashr {halves} {e.let(f'shl {halves} {w}, {byte}')}, {byte}")
    odd_w = e.let(f"ashr {halves} {w}, {byte}")
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[e.lanes]
    for left, right in ((even_a, even_w), (odd_a, odd_w)):
        products = e.call(f"llvm.x86.{name}", words, (halves, left), (halves, right))
        total = e.let(f"add {words} {total}, {products}")
    return total


def _words(e: Emitter) -> str:
    return f"<{e.lanes} x i32>"


def _as_words(e: Emitter, bytes_: Value, tokens: int) -> Value:
    return e.let(f"bitcast <{QUAD * tokens} x i8> {bytes_} to {_words(e)}")


def _shuffled(e: Emitter, kind: str, pair: Sequence[Value], order: Sequence[int]) -> Value:
    listed = ", ".join(f"i32 {i}" for i in order)
    return e.let(
        f"shufflevector {kind} {pair[0]}, {kind} {pair[1]}, <{len(order)} x i32> <{listed}>"
    )


def _splat_word(e: Emitter, scalar: Value) -> Value:
    words = _words(e)
    one = e.let(f"insertelement {words} poison, i32 {scalar}, i32 0")
    return e.let(f"shufflevector {words} {one}, {words} poison, {words} zeroinitializer")


def _splat(e: Emitter, value: int) -> str:
    return "<" + ", ".join([f"i32 {value}"] * e.lanes) + ">"


def _half_splat(e: Emitter, value: int) -> str:
    return "<" + ", ".join([f"i16 {value}"] * (2 * e.lanes)) + ">"


def _float_splat(e: Emitter, value: float) -> str:
    return "<" + ", ".join([f"float {value:.1f}"] * e.lanes) + ">"
