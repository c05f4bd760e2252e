"""Convolution kernels: output pixels in the vector lanes, weights broadcast, panels made as they are needed.

One call multiplies a tiled weight (`tiled.TiledWeight`) by panels of `columns` vectors of output pixels:

    for a group of panels, for a k tile, for a panel:
        fill      images (batch, channels, h, w) -> panel [k][pixel], a row of zeros after the k tile
        multiply  scratch [row][pixel] += tile * panel, by the register tiles of `broadcast`
    drain         scratch [row][pixel] -> y (batch, channels, h', w')

Rows of a panel are (conv group, tap, channel), and exist for one k tile at a time, in the first-level cache.
Filling and draining are moves: a run of pixels in one vector, the same for every channel of a tap. A move
reads only pixels of the image; lanes beside it are zeros, which is the padding. Where pixels lie apart, in
x for a stride, in y for a phase of the gradient of one, shuffles bring their lanes together or apart.
"""

from dataclasses import dataclass
from functools import cache

from .broadcast import LINE_BYTES, Function, TileWriter, smaller
from .emitter import STREAM_METADATA, Emitter, Value
from .objects import Kernel, load_kernel
from .tiled import TileShape

ARGUMENTS = (
    "panels", "group", "taps", "x", "x_plane", "fills", "fill_pointers", "runs", "run_pointers",
    "panel", "values", "indices", "pointers", "pointer_stride", "row_tiles", "k_tiles",
    "scratch", "segments", "segment_table", "drains", "drain_pointers", "y", "y_plane",
)  # fmt: skip
"""Counts, addresses, bytes between channels, and tables of MOVE_FIELDS or RUN_FIELDS 64-bit integers a row.

    fills          from pointer [2 (panel * taps + tap)] to the next one: moves of one piece of an image row,
                   then, to the one after it, moves of two pieces that share a vector, a row for each
    runs           (tap, first byte of x, channels, first byte of the panel), by k tile
    drains         [2 panel]: (0, first byte of y, 0, 0) of a panel that lies in one image,
                   [2 panel + 1]: moves of any other
    segment_table  (0, first byte of the scratch, channels, first byte of y): rows that are results
"""
MOVE_FIELDS = ("source", "target", "read", "written")
"""Bytes of lane 0; bits: which float32 from the source on are read, which lanes of the target written."""
RUN_FIELDS = ("tap", "source", "channels", "target")
MOST_STRIDE = 64
"""Bits of a field: lanes times the stride of a row of pixels."""
_ROW_BYTES = 32


@cache
def conv_kernel(
    shape: TileShape, columns: int, lanes: int, stride: int, step: int, *, past: bool = False
) -> Kernel:
    """The kernel for panels of `columns` vectors of pixels, `stride` apart in a row of x, `step` in one of y.

    past: whole panels of results are stored past the caches, in lines of LINE_BYTES.
    """
    kind = "shared" if shape.shared else "rows"
    name = f"conv-{kind}-{shape.rows}x{columns}x{lanes}-k{shape.k_tile}-u{shape.unroll}-s{stride}-{step}"
    writer = _Writer(shape, columns, lanes, stride, step, past and 4 * lanes == LINE_BYTES)
    parts = [writer.tiles(accumulate=False), writer.tiles(accumulate=True), writer.driver()]
    declared = sorted(set().union(*(part.declared for part in parts)))
    assembly = "\n".join([*declared, *(part.text for part in parts), STREAM_METADATA])
    return load_kernel(name + "y" * writer.past, assembly, len(ARGUMENTS))


@dataclass(frozen=True)
class _Writer(TileWriter):
    stride: int
    step: int
    past: bool

    def driver(self) -> Function:
        """Groups of panels, one after the other; a k tile of the weight meets all panels of a group."""
        e = Emitter(self.lanes)
        for column in range(self.columns):
            zeros = e.add("%panel", self.shape.k_tile * self.row_bytes + column * e.vector_bytes)
            e.store(e.vector, "zeroinitializer", zeros, e.vector_bytes)
        scratch_bytes = e.mul("%row_tiles", self.shape.rows * self.row_bytes)

        def group(number: Value, at: list[Value]) -> list[Value]:
            fills, drains = at
            left = e.let(f"sub i64 %panels, {e.mul(number, '%group')}")
            panels = smaller(e, left, "%group")

            def multiply(name: str, runs: Value, pointers: Value) -> None:
                def one_panel(_: Value, at: list[Value]) -> list[Value]:
                    self._fill(e, at[0], runs)
                    listed = ("%panel", "%values", "%indices", pointers, "%row_tiles", at[1])
                    e.do(f"call void @{name}({', '.join(f'i64 {value}' for value in listed)})")
                    return [e.add(at[0], e.mul("%taps", 16)), e.add(at[1], scratch_bytes)]

                e.loop(panels, [("i64", fills), ("i64", "%scratch")], one_panel)

            def further(_: Value, at: list[Value]) -> list[Value]:
                runs, pointers = e.add(at[0], 8), e.add(at[1], "%pointer_stride")
                multiply("more_tiles", runs, pointers)
                return [runs, pointers]

            def drain(_: Value, at: list[Value]) -> list[Value]:
                self._drain(e, *at)
                return [e.add(at[0], 16), e.add(at[1], scratch_bytes)]

            multiply("first_tiles", "%run_pointers", "%pointers")
            first = [("i64", "%run_pointers"), ("i64", "%pointers")]
            e.loop(e.add("%k_tiles", -1), first, further)
            drains, _ = e.loop(panels, [("i64", drains), ("i64", "%scratch")], drain)
            return [e.add(fills, e.mul(e.mul("%taps", 16), panels)), drains]

        rounded = e.add(e.add("%panels", "%group"), -1)
        groups = e.let(f"udiv i64 {rounded}, %group")
        e.loop(groups, [("i64", "%fill_pointers"), ("i64", "%drain_pointers")], group)
        if self.past:
            e.end_streams()
        return Function(e.function(ARGUMENTS, "kernel"), frozenset(e.declared))

    def _fill(self, e: Emitter, pointers: Value, runs: Value) -> None:
        """The rows of one k tile. pointers: of the panel's moves; runs: pointer of the k tile's runs."""

        def run(_: Value, at: list[Value]) -> list[Value]:
            tap, source, channels, target = _fields(e, at[0])
            moves = e.add(pointers, e.mul(tap, 16))
            origin, place = e.add("%x", source), e.add("%panel", target)
            for pieces in (1, 2):
                self._moves(e, e.add(moves, 8 * (pieces - 1)), origin, place, channels, pieces)
            return [e.add(at[0], _ROW_BYTES)]

        first, count = _rows(e, "%runs", runs)
        e.loop(count, [("i64", first)], run)

    def _drain(self, e: Emitter, moves: Value, scratch: Value) -> None:
        """Results of one panel. moves: pointer of the panel's two lists."""

        def segment(_: Value, at: list[Value]) -> list[Value]:
            _, source, channels, target = _fields(e, at[0])
            origin, place = e.add(scratch, source), e.add("%y", target)
            self._whole(e, moves, origin, place, channels)
            self._cut(e, e.add(moves, 8), origin, place, channels)
            return [e.add(at[0], _ROW_BYTES)]

        e.loop("%segments", [("i64", "%segment_table")], segment)

    def _whole(
        self, e: Emitter, pointer: Value, origin: Value, place: Value, channels: Value
    ) -> None:
        """A panel whose pixels lie side by side, channel by channel."""

        def panel(_: Value, at: list[Value]) -> list[Value]:
            def channel(_: Value, at: list[Value]) -> list[Value]:
                for column in range(self.columns):
                    here = column * e.vector_bytes
                    value = e.load(e.vector, e.add(at[0], here), e.vector_bytes)
                    if self.past:
                        e.stream(e.vector, value, e.add(at[1], here))
                    else:
                        e.store(e.vector, value, e.add(at[1], here), 4)
                return [e.add(at[0], self.row_bytes), e.add(at[1], "%y_plane")]

            target = e.add(place, e.load_integer(64, e.add(at[0], 8)))
            e.loop(channels, [("i64", origin), ("i64", target)], channel)
            return [e.add(at[0], _ROW_BYTES)]

        first, count = _rows(e, "%drains", pointer)
        e.loop(count, [("i64", first)], panel)

    def _cut(
        self, e: Emitter, pointer: Value, origin: Value, place: Value, channels: Value
    ) -> None:
        """Any other panel, channel by channel too: neighbouring moves share lines of y."""
        first, count = _rows(e, "%drains", pointer)

        def channel(_: Value, at: list[Value]) -> list[Value]:
            def move(_: Value, inner: list[Value]) -> list[Value]:
                source, target, _, written = _fields(e, inner[0])
                vector = e.load(e.vector, e.add(at[0], source), e.vector_bytes)
                begin = e.add(at[1], target)
                for part, mask in enumerate(_masks(e, written, self.step)):
                    spread = _apart(e, vector, part, self.step)
                    e.store_masked(spread, e.add(begin, part * e.vector_bytes), mask)
                return [e.add(inner[0], _ROW_BYTES)]

            e.loop(count, [("i64", first)], move)
            return [e.add(at[0], self.row_bytes), e.add(at[1], "%y_plane")]

        none = e.let(f"icmp eq i64 {count}, 0")
        rows = e.let(f"select i1 {none}, i64 0, i64 {channels}")
        e.loop(rows, [("i64", origin), ("i64", place)], channel)

    def _moves(
        self, e: Emitter, pointer: Value, origin: Value, place: Value, channels: Value, pieces: int
    ) -> None:
        """Every move of a list, each for all channels.

        `pieces` rows of the table are a move; the first one says what is written.
        """

        def move(_: Value, at: list[Value]) -> list[Value]:
            source, target, read, written = _fields(e, at[0])
            distances, reads = [], [_masks(e, read, self.stride)]
            if pieces == 2:
                second, _, read, _ = _fields(e, e.add(at[0], _ROW_BYTES))
                distances.append(e.let(f"sub i64 {second}, {source}"))
                reads.append(_masks(e, read, self.stride))
            (writes,) = _masks(e, written, 1)

            def channel(_: Value, at: list[Value]) -> list[Value]:
                places = [at[0], *(e.add(at[0], distance) for distance in distances)]
                vectors = []
                for part in range(self.stride):
                    vector = "zeroinitializer"
                    for near, masks in zip(places, reads, strict=True):
                        here = e.add(near, part * e.vector_bytes)
                        vector = e.load_masked(here, masks[part], vector)
                    vectors.append(vector)
                e.prefetch(e.add(at[0], self.row_bytes))
                e.store_masked(_every(e, vectors), at[1], writes)
                return [e.add(at[0], "%x_plane"), e.add(at[1], self.row_bytes)]

            start = [("i64", e.add(origin, source)), ("i64", e.add(place, target))]
            e.loop(channels, start, channel)
            return [e.add(at[0], _ROW_BYTES * pieces)]

        first, rows = _rows(e, "%fills", pointer)
        e.loop(e.let(f"udiv i64 {rows}, {pieces}"), [("i64", first)], move)


def _rows(e: Emitter, table: Value, pointer: Value) -> tuple[Value, Value]:
    """Address of the first row of a list, and their number. pointer: address of the list's pointer."""
    begin, end = e.load_integer(64, pointer), e.load_integer(64, e.add(pointer, 8))
    return e.add(table, e.mul(begin, _ROW_BYTES)), e.let(f"sub i64 {end}, {begin}")


def _fields(e: Emitter, row: Value) -> list[Value]:
    return [e.load_integer(64, e.add(row, 8 * field)) for field in range(len(MOVE_FIELDS))]


def _masks(e: Emitter, bits: Value, vectors: int) -> list[Value]:
    """Of so many vectors side by side."""
    found = []
    for part in range(vectors):
        shifted = e.let(f"lshr i64 {bits}, {part * e.lanes}")
        narrow = e.let(f"trunc i64 {shifted} to i{e.lanes}")
        found.append(e.let(f"bitcast i{e.lanes} {narrow} to <{e.lanes} x i1>"))
    return found


def _every(e: Emitter, vectors: list[Value]) -> Value:
    """One vector of every `len(vectors)`-th value of the vectors, laid end to end."""
    stride, lanes = len(vectors), e.lanes
    found = vectors[0]
    for part in range(1, stride):
        order = []
        for lane in range(lanes):
            source, place = divmod(lane * stride, lanes)
            kept = lane * stride if part == 1 else lane
            order.append(lanes + place if source == part else kept if source < part else 0)
        listed = ", ".join(f"i32 {i}" for i in order)
        both = f"{e.vector} {found}, {e.vector} {vectors[part]}"
        found = e.let(f"shufflevector {both}, <{lanes} x i32> <{listed}>")
    return found


def _apart(e: Emitter, vector: Value, part: int, step: int) -> Value:
    """Vector `part` of those that hold the values of one `step` apart; what is between is anything."""
    if step == 1:
        return vector
    order = [(part * e.lanes + lane) // step for lane in range(e.lanes)]
    listed = ", ".join(f"i32 {i}" for i in order)
    return e.let(
        f"shufflevector {e.vector} {vector}, {e.vector} poison, <{e.lanes} x i32> <{listed}>"
    )
