"""LLVM assembly of a dense product C = A B: Goto and van de Geijn's blocking (ACM TOMS 34, 2008).

    pack B    (depth, panels of `vectors` registers of columns) -> [panel][k][column]   second-level cache
    pack A    (BLOCK_ROWS rows, depth)                          -> [strip][k][row]      second-level cache
    tile      rows of a strip x columns of a panel in registers: one broadcast for `vectors` multiply-adds

A strip stays in the first-level cache while all panels pass. Operands lie in memory as they may: where K
is side by side, packing transposes squares of registers, otherwise it copies. K is filled up with zeros in
both operands; rows and columns beyond the last one repeat it or are zero, and are never stored.
"""

from dataclasses import dataclass

from .broadcast import transpose_loaded
from .emitter import Emitter, Value

ARGUMENTS = (
    "a", "a_stride", "b", "b_stride", "rows", "columns", "depth", "panels",
    "packed_a", "packed_b", "c", "c_stride", "more",
    "ahead", "ahead_block", "ahead_groups", "ahead_minor", "ahead_major", "ahead_jump", "ahead_step",
)  # fmt: skip
"""Addresses, strides in bytes of the direction that is not side by side, and counts. more: 1 to add to C,
0 to overwrite it. packed_a, packed_b: `packed_floats` for each strip of BLOCK_ROWS and each panel.
ahead_...: what to fetch meanwhile for the packing that follows, see `_fetched`; ahead_block is added for
every block of rows."""

BLOCK_ROWS = 96
"""Rows of A that are packed together."""
UNROLL = 16
"""Steps of K at once; the filled depth is a multiple of it."""
LINES_AHEAD = 3
"""Cache lines that are fetched ahead in as many steps."""
CHUNKS_AHEAD = 16
"""Parts of K that tiles fetch, one after the other."""
LINE_BYTES = 64
_FUNCTION = tuple[str, frozenset[str]]


@dataclass(frozen=True)
class DenseShape:
    """One kernel. rows, vectors: of a register tile; a_deep, b_deep: whether K is side by side in memory."""

    rows: int
    vectors: int
    lanes: int
    a_deep: bool
    b_deep: bool

    @property
    def name(self) -> str:
        ways = "".join("k" if deep else "n" for deep in (self.a_deep, self.b_deep))
        return f"dense-{self.rows}x{self.vectors}x{self.lanes}-{ways}"

    @property
    def columns(self) -> int:
        """Of a panel."""
        return self.vectors * self.lanes


def dense_assembly(shape: DenseShape) -> str:
    """`void kernel(ARGUMENTS)`."""
    parts = [
        _pack("pack_a", shape.rows, 1, shape.a_deep),
        _pack("pack_b", shape.lanes, shape.vectors, shape.b_deep),
        _tile(shape),
        _driver(shape),
    ]
    declared = sorted(frozenset[str]().union(*(names for _, names in parts)))
    return "\n".join([*declared, *(text for text, _ in parts)])


def packed_floats(width: int, depth: int) -> int:
    """Of a panel or strip of `width` lines: a cache line apart, so that panels share no cache set."""
    return width * -(-depth // UNROLL) * UNROLL + LINE_BYTES // 4


def _panel_bytes(e: Emitter, width: int) -> Value:
    """4 * packed_floats(width, depth)."""
    return e.add(e.mul(_units(e, "%depth", UNROLL), 4 * width * UNROLL), LINE_BYTES)


def _units(e: Emitter, count: Value, unit: int) -> Value:
    return e.let(f"udiv i64 {e.add(count, unit - 1)}, {unit}")


def _pack(name: str, lanes: int, vectors: int, deep: bool) -> _FUNCTION:
    """Panels of `vectors` x `lanes` lines of the source; K is filled up to a multiple of UNROLL."""
    e = Emitter(lanes)
    write = _transposed if deep else _copied
    write(e, vectors)
    arguments = ("source", "stride", "size", "depth", "panels", "target")
    return e.function(arguments, name), frozenset(e.declared)


def _transposed(e: Emitter, vectors: int) -> None:
    """K side by side: squares are transposed; lines beyond the last one repeat it."""
    width, lanes = e.lanes * vectors, e.lanes
    squares = e.mul(_units(e, "%depth", UNROLL), UNROLL // lanes)
    panel_bytes = _panel_bytes(e, width)
    last = e.add("%size", -1)

    def lines(first: Value) -> list[Value]:
        found = []
        for lane in range(lanes):
            line = e.call("llvm.smin.i64", "i64", ("i64", e.add(first, lane)), ("i64", last))
            found.append(e.add("%source", e.mul(line, "%stride")))
        return found

    def panel(index: Value, at: list[Value]) -> list[Value]:
        for vector in range(vectors):
            first = e.add(e.mul(index, width), vector * lanes)
            here = lines(first)

            def square(index: Value, at: list[Value], here: list[Value] = here) -> list[Value]:
                offset, place = at
                mask = e.mask(e.let(f"sub i64 %depth, {e.mul(index, lanes)}"))
                places = [e.add(line, offset) for line in here]
                loaded = [e.load_masked(place, mask) for place in places]
                for row in transpose_loaded(e, loaded):
                    e.store(e.vector, row, place, 4)
                    place = e.add(place, 4 * width)
                return [e.add(offset, e.vector_bytes), place]

            place = e.add(at[0], vector * e.vector_bytes)
            e.loop(squares, [("i64", "0"), ("i64", place)], square)
        return [e.add(at[0], panel_bytes)]

    e.loop("%panels", [("i64", "%target")], panel)


def _copied(e: Emitter, vectors: int) -> None:
    """Lines side by side: rows of K are cut into panels, lines beyond the last one are zero."""
    width_bytes = e.vector_bytes * vectors
    panel_bytes = _panel_bytes(e, e.lanes * vectors)
    whole = e.let(f"udiv i64 %size, {e.lanes * vectors}")
    rest = e.let(f"sub i64 %panels, {whole}")
    left = e.let(f"sub i64 %size, {e.mul(whole, e.lanes * vectors)}")
    masks = [e.mask(e.add(left, -vector * e.lanes)) for vector in range(vectors)]

    def row(_: Value, at: list[Value]) -> list[Value]:
        def panel(masks: list[Value] | None, inner: list[Value]) -> list[Value]:
            source, place = inner
            for vector in range(vectors):
                here = e.add(source, vector * e.vector_bytes)
                value = e.load_masked(here, masks[vector]) if masks else e.load(e.vector, here, 4)
                e.store(e.vector, value, e.add(place, vector * e.vector_bytes), 4)
            return [e.add(source, width_bytes), e.add(place, panel_bytes)]

        source, place = at
        starts = [("i64", source), ("i64", place)]
        ends = e.loop(whole, starts, lambda _, inner: panel(None, inner))
        e.loop(rest, [("i64", end) for end in ends], lambda _, inner: panel(masks, inner))
        return [e.add(source, "%stride"), e.add(place, width_bytes)]

    def zero_row(_: Value, at: list[Value]) -> list[Value]:
        def panel(_: Value, inner: list[Value]) -> list[Value]:
            for vector in range(vectors):
                place = e.add(inner[0], vector * e.vector_bytes)
                e.store(e.vector, "zeroinitializer", place, 4)
            return [e.add(inner[0], panel_bytes)]

        e.loop("%panels", [("i64", at[0])], panel)
        return [e.add(at[0], width_bytes)]

    _, end = e.loop("%depth", [("i64", "%source"), ("i64", "%target")], row)
    filled = e.mul(_units(e, "%depth", UNROLL), UNROLL)
    missing = e.let(f"sub i64 {filled}, %depth")
    e.loop(missing, [("i64", end)], zero_row)


def _tile(shape: DenseShape) -> _FUNCTION:
    """One strip times one panel into C."""
    e = Emitter(shape.lanes)
    row_bytes = shape.vectors * e.vector_bytes
    lines = ["%c"]
    for _ in range(shape.rows - 1):
        lines.append(e.add(lines[-1], "%c_stride"))
    places = [
        e.add(line, vector * e.vector_bytes) for line in lines for vector in range(shape.vectors)
    ]
    for place in places:
        e.prefetch_for_writing(place)

    def step(_: Value, at: list[Value]) -> list[Value]:
        a, b, ahead, *sums = at
        for line in range(LINES_AHEAD):
            e.prefetch(e.add(ahead, e.mul("%jump", line)) if line else ahead)
        for k in range(UNROLL):
            loaded = [
                e.load(e.vector, e.add(b, k * row_bytes + vector * e.vector_bytes), 4)
                for vector in range(shape.vectors)
            ]
            for row in range(shape.rows):
                weight = e.splat(e.load("float", e.add(a, 4 * (k * shape.rows + row)), 4))
                for vector, value in enumerate(loaded):
                    place = row * shape.vectors + vector
                    sums[place] = e.fma(weight, value, sums[place])
        ahead = e.add(ahead, "%step")
        return [e.add(a, 4 * UNROLL * shape.rows), e.add(b, UNROLL * row_bytes), ahead, *sums]

    zeros = [(e.vector, "zeroinitializer")] * len(places)
    starts = [("i64", f"%{name}") for name in ("a", "b", "ahead")]
    _, _, _, *sums = e.loop("%rounds", [*starts, *zeros], step)
    masks = [e.mask(e.add("%columns", -vector * e.lanes)) for vector in range(shape.vectors)]
    nothing = e.mask("0")
    for number, (place, total) in enumerate(zip(places, sums, strict=True)):
        row, vector = divmod(number, shape.vectors)
        kind = f"<{e.lanes} x i1>"
        valid = e.let(f"icmp slt i64 {row}, %rows")
        written = e.let(f"select i1 {valid}, {kind} {masks[vector]}, {kind} {nothing}")
        again = e.let("icmp ne i64 %more, 0")
        read = e.let(f"select i1 {again}, {kind} {written}, {kind} {nothing}")
        before = e.load_masked(place, read)
        e.store_masked(e.let(f"fadd {e.vector} {total}, {before}"), place, written)
    arguments = (
        "a", "b", "rounds", "rows", "columns", "c", "c_stride", "more", "ahead", "jump", "step",
    )  # fmt: skip
    return e.function(arguments, "tile"), frozenset(e.declared)


def _driver(shape: DenseShape) -> _FUNCTION:
    """Pack the panels of B; pack A a block of rows at a time, which then meets all panels."""
    e = Emitter(shape.lanes)
    rounds = _units(e, "%depth", UNROLL)
    strip_bytes, panel_bytes = _panel_bytes(e, shape.rows), _panel_bytes(e, shape.columns)

    def block(index: Value, at: list[Value]) -> list[Value]:
        a, c = at
        left = e.let(f"sub i64 %rows, {e.mul(index, BLOCK_ROWS)}")
        rows = e.call("llvm.umin.i64", "i64", ("i64", left), ("i64", str(BLOCK_ROWS)))
        strips = _units(e, rows, shape.rows)
        ahead = e.add("%ahead", e.mul(index, "%ahead_block"))
        _call(e, "pack_a", a, "%a_stride", rows, "%depth", strips, "%packed_a")

        def strip(number: Value, at: list[Value]) -> list[Value]:
            packed, c = at
            here = e.let(f"sub i64 {rows}, {e.mul(number, shape.rows)}")
            before = e.mul(number, "%panels")

            def panel(number: Value, at: list[Value]) -> list[Value]:
                columns = e.let(f"sub i64 %columns, {e.mul(number, shape.columns)}")
                fetched = _fetched(e, ahead, e.add(before, number))
                _call(
                    e, "tile", packed, at[0], rounds, here, columns, at[1], "%c_stride", "%more",
                    fetched, "%ahead_jump", "%ahead_step",
                )  # fmt: skip
                return [e.add(at[0], panel_bytes), e.add(at[1], 4 * shape.columns)]

            e.loop("%panels", [("i64", "%packed_b"), ("i64", c)], panel)
            return [e.add(packed, strip_bytes), e.add(c, e.mul("%c_stride", shape.rows))]

        e.loop(strips, [("i64", "%packed_a"), ("i64", c)], strip)
        along = e.mul("%a_stride", BLOCK_ROWS) if shape.a_deep else str(4 * BLOCK_ROWS)
        return [e.add(a, along), e.add(c, e.mul("%c_stride", BLOCK_ROWS))]

    _call(e, "pack_b", "%b", "%b_stride", "%columns", "%depth", "%panels", "%packed_b")
    e.loop(_units(e, "%rows", BLOCK_ROWS), [("i64", "%a"), ("i64", "%c")], block)
    return e.function(ARGUMENTS, "kernel"), frozenset(e.declared)


def _fetched(e: Emitter, ahead: Value, tile: Value) -> Value:
    """Where tile number `tile` begins to fetch.

    Every round of UNROLL steps takes LINES_AHEAD lines, `ahead_jump` apart, `ahead_step` after the last
    ones. Tiles take the groups of lines in turn, then the next of CHUNKS_AHEAD chunks.
    """
    group = e.let(f"urem i64 {tile}, %ahead_groups")
    chunk = e.let(f"udiv i64 {tile}, %ahead_groups")
    chunk = e.let(f"urem i64 {chunk}, {CHUNKS_AHEAD}")
    place = e.add(ahead, e.mul("%ahead_minor", group))
    return e.add(place, e.mul("%ahead_major", chunk))


def _call(e: Emitter, function: str, *arguments: Value) -> None:
    e.do(f"call void @{function}({', '.join(f'i64 {value}' for value in arguments)})")
