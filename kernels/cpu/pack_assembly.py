"""LLVM assembly of `pack`: from the columns of a weight to the kept entries of every group.

The source has the lanes of a product side by side, `lanes` of them in a vector, the K positions of a group
behind each other. For N:M two vectors of values share one vector of 16-bit keys; for V:N:M, whose keys are
sums, every vector has 64-bit keys of its own, equal in the lanes that share their positions.

    key       bits of |value| in the selection dtype, NaN canonical; V:N:M: bits of their float64 sum
    rank      of entry j: j - #{i < j : key j > key i} + #{k > j : key k > key j}, as `keep_largest` has it
    slot      of a kept entry: how many kept ones stand before it

All positions and slots are unrolled: nothing branches but the loop over groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .broadcast import transpose_square
from .emitter import Emitter, Value

CANONICAL_NAN = 0x7FC00000
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80}
_NAN = {"float16": 0x7E00, "bfloat16": 0x7FC0}

ARGUMENTS = (
    "source", "source_stride", "groups", "blocks", "scratch",
    "values", "values_slot", "values_run", "indices", "indices_slot", "indices_run",
)  # fmt: skip
"""Addresses, strides in bytes, and counts. source_stride: of one K position to the next, or of one lane
to the next where the source has K side by side. blocks: of `lanes_at_once` lanes. _slot: of one
slot of a group to the next; _run: of one run of lanes to the next. scratch: `lanes_at_once` float32 for
every K position, used where the source has K side by side."""


CHUNK = 4
"""Blocks whose groups are packed together: their part of the target stays in the first-level cache."""


@dataclass(frozen=True)
class Selection:
    """What one kernel packs. v: lanes that share positions; dtype: of the selection, 16 bits wide."""

    n: int
    m: int
    v: int
    dtype: str

    @property
    def name(self) -> str:
        shared = f"{self.v}x" if self.v > 1 else ""
        return f"{shared}{self.n}of{self.m}-{self.dtype}"


@dataclass(frozen=True)
class Target:
    """Where the entries go. run: lanes that lie side by side, 0 for all; index_bits: of an index.

    absolute: indices count from the first K position of the call, otherwise from that of their group.
    """

    run: int = 0
    index_bits: int = 8
    absolute: bool = False

    @property
    def name(self) -> str:
        return f"run{self.run}-i{self.index_bits}{'-absolute' if self.absolute else ''}"


def lanes_at_once(selection: Selection, lanes: int) -> int:
    """Lanes that a block has."""
    return lanes * (2 if selection.v == 1 else 1)


def pack_assembly(selection: Selection, target: Target, lanes: int, *, transposed: bool) -> str:
    """`void kernel(ARGUMENTS)` for vectors of `lanes` float32. transposed: the source has K side by side."""
    writer = _Writer(selection, target, Emitter(lanes), transposed)
    text = writer.kernel()
    return "\n".join([*sorted(writer.e.declared), text])


@dataclass
class _Writer:
    selection: Selection
    target: Target
    e: Emitter
    transposed: bool
    values: list[list[Value]] = field(default_factory=list)
    """[position][vector]"""

    @property
    def vectors(self) -> int:
        return 2 if self.selection.v == 1 else 1

    @property
    def width(self) -> int:
        return self.vectors * self.e.lanes

    @property
    def bits(self) -> int:
        return 16 if self.selection.v == 1 else 64

    @property
    def integers(self) -> str:
        return f"<{self.width} x i{self.bits}>"

    @property
    def runs(self) -> int:
        """Of a block."""
        return self.width // self.target.run if self.target.run else 1

    def kernel(self) -> str:
        e = self.e
        starts = [("i64", f"%{name}") for name in ("source", "values", "indices")]
        if self.transposed:
            e.loop("%blocks", starts, lambda _, carried: self._turned_block(*carried))
        else:
            chunks = e.let(f"udiv i64 {e.add('%blocks', CHUNK - 1)}, {CHUNK}")
            e.loop(chunks, starts, self._chunk)
        return e.function(ARGUMENTS, "kernel")

    def _chunk(self, number: Value, starts: list[Value]) -> list[Value]:
        """All groups of CHUNK blocks: the source is read as it lies."""
        e = self.e
        left = e.let(f"sub i64 %blocks, {e.mul(number, CHUNK)}")
        blocks = e.call("llvm.umin.i64", "i64", ("i64", left), ("i64", str(CHUNK)))

        def group(_: Value, carried: list[Value]) -> list[Value]:
            source, values, indices, base = carried

            def block(_: Value, inner: list[Value]) -> list[Value]:
                at, to_values, to_indices = inner
                self._group(at, "%source_stride", to_values, to_indices, base)
                return self._next_block(at, to_values, to_indices)

            e.loop(blocks, [("i64", value) for value in carried[:3]], block)
            return self._next_group(source, "%source_stride", values, indices, base)

        e.loop("%groups", [("i64", value) for value in (*starts, "0")], group)
        source, values, indices = starts
        return self._next_block(source, values, indices, blocks=CHUNK)

    def _next_block(
        self, source: Value, values: Value, indices: Value, blocks: int = 1
    ) -> list[Value]:
        e = self.e
        return [
            e.add(source, 4 * self.width * blocks),
            e.add(values, e.mul("%values_run", self.runs * blocks)),
            e.add(indices, e.mul("%indices_run", self.runs * blocks)),
        ]

    def _turned_block(self, source: Value, values: Value, indices: Value) -> list[Value]:
        """All groups of one block, which is transposed first."""
        e, width = self.e, self.width
        positions = e.mul("%groups", self.selection.m)
        block_bytes = e.mul("%source_stride", width)
        squares = e.let(f"udiv i64 {e.add(positions, e.lanes - 1)}, {e.lanes}")

        def turn(_: Value, carried: list[Value]) -> list[Value]:
            for vector in range(self.vectors):
                first = e.add(carried[0], e.mul("%source_stride", vector * e.lanes))
                place = e.add(carried[1], vector * e.vector_bytes)
                for lane in range(e.lanes):
                    e.prefetch(e.add(e.add(first, block_bytes), e.mul("%source_stride", lane)))
                transpose_square(e, first, "%source_stride", place, str(4 * width))
            return [e.add(carried[0], e.vector_bytes), e.add(carried[1], 4 * width * e.lanes)]

        e.loop(squares, [("i64", source), ("i64", "%scratch")], turn)

        def group(_: Value, carried: list[Value]) -> list[Value]:
            at, to_values, to_indices, base = carried
            self._group(at, str(4 * width), to_values, to_indices, base)
            return self._next_group(at, str(4 * width), to_values, to_indices, base)

        starts = [("i64", value) for value in ("%scratch", values, indices, "0")]
        e.loop("%groups", starts, group)
        return [
            e.add(source, e.mul("%source_stride", width)),
            e.add(values, e.mul("%values_run", self.runs)),
            e.add(indices, e.mul("%indices_run", self.runs)),
        ]

    def _next_group(
        self, source: Value, stride: Value, values: Value, indices: Value, base: Value
    ) -> list[Value]:
        e, selection = self.e, self.selection
        return [
            e.add(source, e.mul(stride, selection.m)),
            e.add(values, e.mul("%values_slot", selection.n)),
            e.add(indices, e.mul("%indices_slot", selection.n)),
            e.add(base, selection.m),
        ]

    def _group(
        self, source: Value, stride: Value, values: Value, indices: Value, base: Value
    ) -> None:
        """Pack one group of one block."""
        self._load(source, stride)
        keys = [self._key(vectors) for vectors in self.values]
        self._fill(self._kept(keys), values, indices, base)

    def _load(self, source: Value, stride: Value) -> None:
        e, at = self.e, source
        self.values = []
        for position in range(self.selection.m):
            if position:
                at = e.add(at, stride)
            places = [e.add(at, vector * e.vector_bytes) for vector in range(self.vectors)]
            self.values.append([e.load(e.vector, place, 4) for place in places])

    # --- keys

    def _key(self, vectors: Sequence[Value]) -> Value:
        halves = [self._magnitude(value) for value in vectors]
        return self._joined(halves) if self.selection.v == 1 else self._shared(halves[0])

    def _magnitude(self, value: Value) -> Value:
        """<lanes x i16>: |value| in the selection dtype."""
        e, dtype = self.e, self.selection.dtype
        kind = f"<{e.lanes} x i16>"
        if dtype == "float16":
            rounded = e.let(f"fptrunc {e.vector} {value} to <{e.lanes} x half>")
            stored = e.let(f"bitcast <{e.lanes} x half> {rounded} to {kind}")
        else:
            stored = self._bfloat16(value)
        bits = e.let(f"and {kind} {stored}, {self._splat(0x7FFF, 16, e.lanes)}")
        return self._chosen(
            e.let(f"icmp ugt {kind} {bits}, {self._splat(_INFINITY[dtype], 16, e.lanes)}"),
            self._splat(_NAN[dtype], 16, e.lanes), bits, kind, e.lanes,
        )  # fmt: skip

    def _bfloat16(self, value: Value) -> Value:
        """Rounded to nearest even by adding below the bits that stay; a NaN stays one."""
        e = self.e
        kind = f"<{e.lanes} x i32>"
        bits = e.let(f"bitcast {e.vector} {value} to {kind}")
        shifted = e.let(f"lshr {kind} {bits}, {self._splat(16, 32, e.lanes)}")
        odd = e.let(f"and {kind} {shifted}, {self._splat(1, 32, e.lanes)}")
        half = e.let(f"add {kind} {odd}, {self._splat(0x7FFF, 32, e.lanes)}")
        rounded = e.let(f"add {kind} {bits}, {half}")
        unordered = e.let(f"fcmp uno {e.vector} {value}, {value}")
        kept = self._chosen(
            unordered, self._splat(CANONICAL_NAN, 32, e.lanes), rounded, kind, e.lanes
        )
        high = e.let(f"lshr {kind} {kept}, {self._splat(16, 32, e.lanes)}")
        return e.let(f"trunc {kind} {high} to <{e.lanes} x i16>")

    def _joined(self, halves: Sequence[Value]) -> Value:
        first, second = halves
        order = ", ".join(f"i32 {lane}" for lane in range(self.width))
        kind = f"<{self.e.lanes} x i16>"
        return self.e.let(
            f"shufflevector {kind} {first}, {kind} {second}, <{self.width} x i32> <{order}>"
        )

    def _shared(self, bits: Value) -> Value:
        """<lanes x i64>: bits of the float64 sum over the lanes that share positions, in their order."""
        e, v = self.e, self.selection.v
        wide, double = self._decoded(bits), f"<{e.lanes} x double>"
        total = None
        for lane in range(v):
            order = ", ".join(f"i32 {at // v * v + lane}" for at in range(e.lanes))
            one = e.let(
                f"shufflevector {e.vector} {wide}, {e.vector} poison, <{e.lanes} x i32> <{order}>"
            )
            term = e.let(f"fpext {e.vector} {one} to {double}")
            total = term if total is None else e.let(f"fadd {double} {total}, {term}")
        stored = e.let(f"bitcast {double} {total} to {self.integers}")
        unordered = e.let(f"fcmp uno {double} {total}, {total}")
        nan = self._splat(0x7FF8 << 48, 64, e.lanes)
        return self._chosen(unordered, nan, stored, self.integers, e.lanes)

    def _decoded(self, bits: Value) -> Value:
        e = self.e
        if self.selection.dtype == "float16":
            half = e.let(f"bitcast <{e.lanes} x i16> {bits} to <{e.lanes} x half>")
            return e.let(f"fpext <{e.lanes} x half> {half} to {e.vector}")
        wide = e.let(f"zext <{e.lanes} x i16> {bits} to <{e.lanes} x i32>")
        shifted = e.let(f"shl <{e.lanes} x i32> {wide}, {self._splat(16, 32, e.lanes)}")
        return e.let(f"bitcast <{e.lanes} x i32> {shifted} to {e.vector}")

    # --- selection

    def _kept(self, keys: Sequence[Value]) -> list[Value]:
        """Of each position: whether it is among the n largest, <width x i1>."""
        e = self.e
        ranks = [self._splat(position, self.bits, self.width) for position in range(len(keys))]
        for later in range(1, len(keys)):
            for earlier in range(later):
                larger = e.let(f"icmp ugt {self.integers} {keys[later]}, {keys[earlier]}")
                minus = e.let(f"sext <{self.width} x i1> {larger} to {self.integers}")
                ranks[earlier] = e.let(f"sub {self.integers} {ranks[earlier]}, {minus}")
                ranks[later] = e.let(f"add {self.integers} {ranks[later]}, {minus}")
        limit = self._splat(self.selection.n, self.bits, self.width)
        return [e.let(f"icmp ult {self.integers} {rank}, {limit}") for rank in ranks]

    def _fill(self, kept: Sequence[Value], values: Value, indices: Value, base: Value) -> None:
        """Store the kept entries, slot by slot, in ascending position."""
        e, n, m = self.e, self.selection.n, self.selection.m
        slots: list[tuple[list[Value], Value] | None] = [None] * n
        filled: Value = "zeroinitializer"
        for position in range(m):
            here = self._splat(position, self.bits, self.width)
            for slot in range(max(0, n - (m - position)), min(position, n - 1) + 1):
                hit = self._hit(kept[position], filled, slot)
                held = slots[slot]
                if held is None:
                    slots[slot] = list(self.values[position]), here
                    continue
                index = self._chosen(hit, here, held[1], self.integers, self.width)
                parts = [
                    self._chosen(part, new, old, e.vector, e.lanes)
                    for part, new, old in zip(
                        self._parts(hit), self.values[position], held[0], strict=True
                    )
                ]
                slots[slot] = parts, index
            one = e.let(f"zext <{self.width} x i1> {kept[position]} to {self.integers}")
            filled = e.let(f"add {self.integers} {filled}, {one}")
        for slot, held in enumerate(slots):
            assert held is not None
            self._store_values(held[0], e.add(values, e.mul("%values_slot", slot)))
            self._store_index(held[1], e.add(indices, e.mul("%indices_slot", slot)), base)

    def _hit(self, kept: Value, filled: Value, slot: int) -> Value:
        if self.selection.n == 1:
            return kept
        wanted = self._splat(slot, self.bits, self.width)
        here = self.e.let(f"icmp eq {self.integers} {filled}, {wanted}")
        return self.e.let(f"and <{self.width} x i1> {kept}, {here}")

    def _parts(self, mask: Value) -> list[Value]:
        """A mask as one of each vector of values."""
        e = self.e
        if self.vectors == 1:
            return [mask]
        kind = f"<{self.width} x i1>"
        orders = [
            ", ".join(f"i32 {part * e.lanes + lane}" for lane in range(e.lanes))
            for part in range(self.vectors)
        ]
        return [
            e.let(f"shufflevector {kind} {mask}, {kind} poison, <{e.lanes} x i32> <{order}>")
            for order in orders
        ]

    def _store_values(self, vectors: Sequence[Value], place: Value) -> None:
        e = self.e
        nan = f"bitcast (<{e.lanes} x i32> {self._splat(CANONICAL_NAN, 32, e.lanes)} to {e.vector})"
        run = self.target.run or self.width
        for number, value in enumerate(vectors):
            unordered = e.let(f"fcmp uno {e.vector} {value}, {value}")
            canonical = self._chosen(unordered, nan, value, e.vector, e.lanes)
            for first in range(0, e.lanes, min(run, e.lanes)):
                part = self._slice(
                    canonical, "float", e.lanes, range(first, first + min(run, e.lanes))
                )
                inside, outside = (
                    (number * e.lanes + first) % run,
                    (number * e.lanes + first) // run,
                )
                at = e.add(e.add(place, e.mul("%values_run", outside)), 4 * inside)
                e.store(f"<{min(run, e.lanes)} x float>", part, at, 4)

    def _store_index(self, index: Value, place: Value, base: Value) -> None:
        """One index for each set of lanes that share it."""
        e, v, bits = self.e, self.selection.v, self.target.index_bits
        run = self.target.run or self.width
        each = min(v, run)
        count = self.width // each
        index = self._slice(index, f"i{self.bits}", self.width, range(0, self.width, each))
        if self.bits != bits:
            way = "trunc" if self.bits > bits else "zext"
            index = e.let(f"{way} <{count} x i{self.bits}> {index} to <{count} x i{bits}>")
        if self.target.absolute:
            first = e.let(f"trunc i64 {base} to i{bits}")
            one = e.let(f"insertelement <{count} x i{bits}> poison, i{bits} {first}, i32 0")
            zeros = f"<{count} x i32> zeroinitializer"
            all_ = e.let(
                f"shufflevector <{count} x i{bits}> {one}, <{count} x i{bits}> poison, {zeros}"
            )
            index = e.let(f"add <{count} x i{bits}> {index}, {all_}")
        for number in range(self.width // run):
            inside = range(number * run // each, (number + 1) * run // each)
            part = self._slice(index, f"i{bits}", count, inside)
            at = e.add(place, e.mul("%indices_run", number))
            e.store(f"<{len(inside)} x i{bits}>", part, at, 1)

    def _slice(self, value: Value, kind: str, width: int, lanes: Sequence[int]) -> Value:
        """Some lanes of a vector."""
        if list(lanes) == list(range(width)):
            return value
        order = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.e.let(
            f"shufflevector <{width} x {kind}> {value}, <{width} x {kind}> poison, "
            f"<{len(lanes)} x i32> <{order}>"
        )

    # --- LLVM

    def _chosen(self, mask: Value, one: Value, other: Value, kind: str, width: int) -> Value:
        return self.e.let(f"select <{width} x i1> {mask}, {kind} {one}, {kind} {other}")

    @staticmethod
    def _splat(value: int, bits: int, width: int) -> Value:
        return f"<{', '.join([f'i{bits} {value}'] * width)}>"
