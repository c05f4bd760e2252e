"""Broadcast kernels, for 16 tokens and more: tokens in the vector lanes, weights broadcast.

One call multiplies a tiled weight (`tiled.TiledWeight`) by panels of `columns` vectors of tokens:

    pack      x (tokens, K)       -> panel [k tile][k][token], a row of zeros after every k tile
    multiply  for a chunk of rows, a group of panels, a k tile, a panel: scratch [row][token] += tile * tile
    unpack    scratch [row][token] -> y (tokens, rows)

A k tile of the panel stays in the first-level cache where every row has its own columns, the results of a
chunk and a group in the second-level cache. Sums stay in registers over a whole weight tile. Both transposes
go through squares of registers. Entries that fill up a tile have value 0 and meet the row of zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from .emitter import STREAM_METADATA, Emitter, Value
from .objects import Kernel, load_kernel
from .tiled import TileShape

ARGUMENTS = (
    "panels", "group", "x", "x_stride", "k_blocks", "panel", "values", "indices", "pointers",
    "pointer_stride", "row_tiles", "chunk_tiles", "k_tiles", "scratch", "y", "y_stride",
)  # fmt: skip
"""Addresses, strides in bytes, and counts: panels of this width, of a group, K in vectors of lanes, tiles."""


LINE_BYTES = 64


@dataclass(frozen=True)
class Streams:
    """What is stored past the caches, in whole lines, since no cache would hold it until it is read.

    Lines that are stored otherwise are read first.
    """

    panels: bool = False
    results: bool = False


@cache
def broadcast_kernel(
    shape: TileShape, columns: int, lanes: int, streams: Streams = Streams()
) -> Kernel:
    """The kernel for panels of `columns` vectors of `lanes` tokens; its arguments are ARGUMENTS."""
    kind = "shared" if shape.shared else "rows"
    past = "p" * streams.panels + "y" * streams.results
    name = f"{kind}-{shape.rows}x{columns}x{lanes}-k{shape.k_tile}-u{shape.unroll}{past}"
    return load_kernel(name, kernel_assembly(shape, columns, lanes, streams), len(ARGUMENTS))


def kernel_assembly(
    shape: TileShape, columns: int, lanes: int, streams: Streams = Streams()
) -> str:
    writer = _Writer(shape, columns, lanes, streams)
    parts = [writer.tiles(accumulate=False), writer.tiles(accumulate=True), writer.driver()]
    declared = sorted(set().union(*(part.declared for part in parts)))
    return "\n".join([*declared, *(part.text for part in parts), STREAM_METADATA])


@dataclass(frozen=True)
class Function:
    text: str
    declared: frozenset[str]


@dataclass(frozen=True)
class TileWriter:
    """Register tiles of `shape.rows` rows by `columns` vectors, for one k tile of a panel in the cache."""

    shape: TileShape
    columns: int
    lanes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a panel, and of one row of results."""
        return 4 * self.columns * self.lanes

    @property
    def panel_tile_bytes(self) -> int:
        return (self.shape.k_tile + 1) * self.row_bytes

    def tiles(self, accumulate: bool) -> Function:
        """All row tiles of a chunk times one k tile of the panel."""
        e, shape = Emitter(self.lanes), self.shape

        def tile(_: Value, outer: list[Value]) -> list[Value]:
            pointer, out = outer
            begin, end = e.load_integer(64, pointer), e.load_integer(64, e.add(pointer, 8))
            steps = e.let(f"sub i64 {end}, {begin}")
            rounds = e.let(f"udiv exact i64 {steps}, {shape.unroll}")
            values = e.add("%values", e.mul(begin, 4 * shape.rows))
            index_bytes = shape.indices_a_step * shape.index_bits // 8
            indices = e.add("%indices", e.mul(begin, index_bytes))
            places = [
                e.add(out, row * self.row_bytes + column * e.vector_bytes)
                for row in range(shape.rows)
                for column in range(self.columns)
            ]
            first = [
                e.load(e.vector, place, e.vector_bytes) if accumulate else "zeroinitializer"
                for place in places
            ]

            def steps_at_once(_: Value, inner: list[Value]) -> list[Value]:
                values, indices, *sums = inner
                self._steps(e, values, indices, sums)
                return [
                    e.add(values, 4 * shape.rows * shape.unroll),
                    e.add(indices, index_bytes * shape.unroll),
                    *sums,
                ]

            carried = [("i64", values), ("i64", indices), *((e.vector, sum_) for sum_ in first)]
            _, _, *sums = e.loop(rounds, carried, steps_at_once)
            for place, total in zip(places, sums, strict=True):
                e.store(e.vector, total, place, e.vector_bytes)
            return [e.add(pointer, 8), e.add(out, shape.rows * self.row_bytes)]

        e.loop("%tiles", [("i64", "%pointers"), ("i64", "%out")], tile)
        name = "more_tiles" if accumulate else "first_tiles"
        arguments = ("panel", "values", "indices", "pointers", "tiles", "out")
        return Function(e.function(arguments, name), frozenset(e.declared))

    def _steps(self, e: Emitter, values: Value, indices: Value, sums: list[Value]) -> None:
        """`unroll` steps; replaces `sums`, [row][column]."""
        shape = self.shape
        per_step = shape.indices_a_step
        rows = _indices(e, indices, shape.unroll * per_step, shape.index_bits)
        starts = [e.opaque(e.add("%panel", e.mul(row, self.row_bytes))) for row in rows]
        for step in range(shape.unroll):
            if shape.shared:
                vectors = self._activations(e, starts[step])
            for row in range(shape.rows):
                if not shape.shared:
                    vectors = self._activations(e, starts[step * per_step + row])
                place = e.add(values, 4 * (step * shape.rows + row))
                weight = e.splat(e.load("float", place, 4))
                for column, activation in enumerate(vectors):
                    at = row * self.columns + column
                    sums[at] = e.fma(weight, activation, sums[at])

    def _activations(self, e: Emitter, start: Value) -> list[Value]:
        return [
            e.load(e.vector, e.add(start, column * e.vector_bytes), e.vector_bytes)
            for column in range(self.columns)
        ]


@dataclass(frozen=True)
class _Writer(TileWriter):
    streams: Streams

    def driver(self) -> Function:
        """Pack all panels; multiply every chunk of rows by every group of panels, k tile by k tile; unpack.

        A k tile of the chunk's weight meets the panels of a group while it is in the second-level cache.
        """
        e, shape = Emitter(self.lanes), self.shape
        panel_bytes = e.mul("%k_tiles", self.panel_tile_bytes)
        scratch_bytes = e.mul("%chunk_tiles", shape.rows * self.row_bytes)
        x_bytes = e.mul("%x_stride", self.columns * self.lanes)
        y_bytes = e.mul("%y_stride", self.columns * self.lanes)

        def pack(_: Value, at: list[Value]) -> list[Value]:
            self._pack(e, *at)
            return [e.add(at[0], x_bytes), e.add(at[1], panel_bytes)]

        def chunk(index: Value, at: list[Value]) -> list[Value]:
            pointers, y = at
            left = e.let(f"sub i64 %row_tiles, {e.mul(index, '%chunk_tiles')}")
            tiles = smaller(e, left, "%chunk_tiles")

            def group(number: Value, at: list[Value]) -> list[Value]:
                panel, y = at
                left = e.let(f"sub i64 %panels, {e.mul(number, '%group')}")
                panels = smaller(e, left, "%group")

                def multiply(name: str, panel: Value, pointers: Value) -> None:
                    def one_panel(_: Value, at: list[Value]) -> list[Value]:
                        listed = (at[0], "%values", "%indices", pointers, tiles, at[1])
                        e.do(f"call void @{name}({', '.join(f'i64 {value}' for value in listed)})")
                        return [e.add(at[0], panel_bytes), e.add(at[1], scratch_bytes)]

                    e.loop(panels, [("i64", panel), ("i64", "%scratch")], one_panel)

                def further(_: Value, at: list[Value]) -> list[Value]:
                    panel = e.add(at[0], self.panel_tile_bytes)
                    pointers = e.add(at[1], "%pointer_stride")
                    multiply("more_tiles", panel, pointers)
                    return [panel, pointers]

                def unpack(_: Value, at: list[Value]) -> list[Value]:
                    self._unpack(e, tiles, *at)
                    return [e.add(at[0], scratch_bytes), e.add(at[1], y_bytes)]

                multiply("first_tiles", panel, pointers)
                e.loop(e.add("%k_tiles", -1), [("i64", panel), ("i64", pointers)], further)
                _, y = e.loop(panels, [("i64", "%scratch"), ("i64", y)], unpack)
                return [e.add(panel, e.mul(panel_bytes, "%group")), y]

            rounded = e.add(e.add("%panels", "%group"), -1)
            groups = e.let(f"udiv i64 {rounded}, %group")
            e.loop(groups, [("i64", "%panel"), ("i64", y)], group)
            chunk_bytes = e.mul("%chunk_tiles", 4 * shape.rows)
            return [e.add(pointers, e.mul("%chunk_tiles", 8)), e.add(y, chunk_bytes)]

        e.loop("%panels", [("i64", "%x"), ("i64", "%panel")], pack)
        rounded = e.add(e.add("%row_tiles", "%chunk_tiles"), -1)
        chunks = e.let(f"udiv i64 {rounded}, %chunk_tiles")
        e.loop(chunks, [("i64", "%pointers"), ("i64", "%y")], chunk)
        if self.lanes * 4 == LINE_BYTES and (self.streams.panels or self.streams.results):
            e.end_streams()
        return Function(e.function(ARGUMENTS, "kernel"), frozenset(e.declared))

    def _pack(self, e: Emitter, x: Value, panel: Value) -> None:
        """X (tokens, K) to [k tile][k][token], and the rows of zeros."""
        blocks_a_tile = self.shape.k_tile // self.lanes

        def block(_: Value, at: list[Value]) -> list[Value]:
            source, target = at
            for column in range(self.columns):
                first = e.add(source, e.mul("%x_stride", column * self.lanes))
                place = e.add(target, column * e.vector_bytes)
                transpose_square(
                    e, first, "%x_stride", place, str(self.row_bytes), past=self.streams.panels
                )
            return [e.add(source, e.vector_bytes), e.add(target, self.lanes * self.row_bytes)]

        def k_tile(index: Value, at: list[Value]) -> list[Value]:
            source, target = at
            left = e.let(f"sub i64 %k_blocks, {e.mul(index, blocks_a_tile)}")
            blocks = smaller(e, left, str(blocks_a_tile))
            e.loop(blocks, [("i64", source), ("i64", target)], block)
            zeros = e.add(target, self.shape.k_tile * self.row_bytes)
            for column in range(self.columns):
                place = e.add(zeros, column * e.vector_bytes)
                e.store(e.vector, "zeroinitializer", place, e.vector_bytes)
            return [e.add(source, 4 * self.shape.k_tile), e.add(target, self.panel_tile_bytes)]

        e.loop("%k_tiles", [("i64", x), ("i64", panel)], k_tile)

    def _unpack(self, e: Emitter, tiles: Value, scratch: Value, y: Value) -> None:
        """Scratch [row][token] to y (tokens, rows), for the rows of `tiles` tiles."""
        squares = e.let(f"udiv i64 {e.mul(tiles, self.shape.rows)}, {self.lanes}")

        def square(_: Value, at: list[Value]) -> list[Value]:
            transpose_square(
                e, at[0], str(self.row_bytes), at[1], "%y_stride", past=self.streams.results
            )
            return [e.add(at[0], self.lanes * self.row_bytes), e.add(at[1], e.vector_bytes)]

        for column in range(self.columns):
            place = e.add(scratch, column * e.vector_bytes)
            first = e.add(y, e.mul("%y_stride", column * self.lanes))
            e.loop(squares, [("i64", place), ("i64", first)], square)


def transpose_square(
    e: Emitter,
    source: Value,
    source_stride: Value,
    target: Value,
    target_stride: Value,
    *,
    past: bool = False,
) -> None:
    """Copy the transpose of lanes x lanes values. past: stored past the caches, lines of 64 bytes."""
    lines = [e.load(e.vector, at, 4) for at in _steps_from(e, source, source_stride, e.lanes)]
    places = _steps_from(e, target, target_stride, e.lanes)
    for at, row in zip(places, transpose_loaded(e, lines), strict=True):
        if past and e.vector_bytes == LINE_BYTES:
            e.stream(e.vector, row, at)
        else:
            e.store(e.vector, row, at, 4)


def transpose_loaded(e: Emitter, rows: Sequence[Value]) -> list[Value]:
    """The transpose of lanes x lanes values: exchange ever smaller off-diagonal squares."""
    lanes, rows = e.lanes, list(rows)
    size = lanes // 2
    while size:
        low = [i if i & size == 0 else i - size + lanes for i in range(lanes)]
        high = [i + size if i & size == 0 else i + lanes for i in range(lanes)]
        for first in range(lanes):
            if first & size == 0:
                pair = rows[first], rows[first + size]
                rows[first] = _shuffle(e, *pair, low)
                rows[first + size] = _shuffle(e, *pair, high)
        size //= 2
    return rows


def _steps_from(e: Emitter, start: Value, stride: Value, count: int) -> list[Value]:
    places = [start]
    for _ in range(count - 1):
        places.append(e.add(places[-1], stride))
    return places


def _shuffle(e: Emitter, a: Value, b: Value, order: Sequence[int]) -> Value:
    listed = ", ".join(f"i32 {i}" for i in order)
    return e.let(f"shufflevector {e.vector} {a}, {e.vector} {b}, <{len(order)} x i32> <{listed}>")


def smaller(e: Emitter, value: Value, limit: Value) -> Value:
    return e.call("llvm.umin.i64", "i64", ("i64", value), ("i64", limit))


def _indices(e: Emitter, address: Value, count: int, bits: int) -> list[Value]:
    """`count` unsigned integers of `bits` bits, loaded eight bytes at a time where they fill them."""
    in_word = 64 // bits
    found: list[Value] = []
    for first in range(0, count, in_word):
        place = e.add(address, first * bits // 8)
        if count - first < in_word:
            single = range(count - first)
            found += [e.load_integer(bits, e.add(place, i * bits // 8)) for i in single]
            continue
        word = e.load_integer(64, place)
        for i in range(in_word):
            shifted = e.let(f"lshr i64 {word}, {i * bits}") if i else word
            found.append(e.let(f"and i64 {shifted}, {(1 << bits) - 1}"))
    return found
