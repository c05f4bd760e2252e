"""LLVM assembly of `pack` for lanes that share their positions (V:N:M), with AVX-512.

A square of 16 lanes by 16 positions at a time, positions side by side:

    key     bits of the float64 sum over the V lanes of |value| in the selection dtype, lanes in order
    rank    how many positions of the group beat one: keys turned by 1, 2, ... M - 1 places, earlier ones + 1
    kept    16 bits of a mask; a position is a count of zeros

What is summed once serves V lanes, where `pack_assembly` does it for each of them. Kept values are
compressed to the front of their line and transposed, or read again where lanes lie side by side.
"""

from dataclasses import dataclass

from .broadcast import transpose_loaded
from .emitter import Emitter, Value
from .pack_assembly import ARGUMENTS, CANONICAL_NAN, CHUNK, Selection, Target

SQUARE = 16
_LANES = (4, 8, 16)
_SIZES = (4, 8)


def can_share(selection: Selection, target: Target, lanes: int) -> bool:
    """Whether `shared_assembly` exists for it."""
    v, run = selection.v, target.run
    return (
        lanes == SQUARE and v in _LANES and selection.m in _SIZES and 0 < run <= v and v % run == 0
    )


def shared_assembly(selection: Selection, target: Target, *, transposed: bool) -> str:
    """`void kernel(ARGUMENTS)` of `pack_assembly`. transposed: the source has positions side by side."""
    writer = _Writer(selection, target, Emitter(SQUARE))
    text = writer.by_lines() if transposed else writer.by_positions()
    return "\n".join([*sorted(writer.e.declared), text])


@dataclass(frozen=True)
class _Writer:
    selection: Selection
    target: Target
    e: Emitter

    @property
    def steps(self) -> int:
        """Slots of a square."""
        return SQUARE // self.selection.m * self.selection.n

    def by_lines(self) -> str:
        """Lanes lie one after the other, `source_stride` apart."""
        e = self.e
        block_bytes = e.mul("%source_stride", SQUARE)

        def block(_: Value, at: list[Value]) -> list[Value]:
            source, values, indices = at

            def square(index: Value, at: list[Value]) -> list[Value]:
                source, values, indices = at
                line, lines = source, []
                for _ in range(SQUARE):
                    lines.append(e.load(e.vector, line, 4))
                    e.prefetch(e.add(line, block_bytes))
                    line = e.add(line, "%source_stride")
                for lane in range(0, SQUARE, self.selection.v):
                    shared = lines[lane : lane + self.selection.v]
                    kept = self._kept(shared)
                    self._store_indices(kept, index, lane, indices)
                    self._store_compressed(shared, kept, lane, values)
                return self._next_square(source, e.vector_bytes, values, indices)

            e.loop(self._squares(), [("i64", one) for one in at], square)
            return [e.add(source, block_bytes), *self._next_block(values, indices)]

        starts = [("i64", f"%{name}") for name in ("source", "values", "indices")]
        e.loop("%blocks", starts, block)
        return e.function(ARGUMENTS, "kernel")

    def by_positions(self) -> str:
        """Lanes lie side by side, positions `source_stride` apart: CHUNK blocks at a time."""
        e = self.e
        square_bytes = e.mul("%source_stride", SQUARE)

        def chunk(number: Value, at: list[Value]) -> list[Value]:
            left = e.let(f"sub i64 %blocks, {e.mul(number, CHUNK)}")
            blocks = e.call("llvm.umin.i64", "i64", ("i64", left), ("i64", str(CHUNK)))

            def squares(index: Value, at: list[Value]) -> list[Value]:
                def block(_: Value, at: list[Value]) -> list[Value]:
                    source, values, indices = at
                    self._square_of_positions(index, source, values, indices)
                    return [e.add(source, e.vector_bytes), *self._next_block(values, indices)]

                e.loop(blocks, [("i64", one) for one in at], block)
                return self._next_square(at[0], square_bytes, at[1], at[2])

            e.loop(self._squares(), [("i64", one) for one in at], squares)
            source = e.add(at[0], CHUNK * e.vector_bytes)
            return [source, *self._next_block(at[1], at[2], CHUNK)]

        chunks = e.let(f"udiv i64 {e.add('%blocks', CHUNK - 1)}, {CHUNK}")
        starts = [("i64", f"%{name}") for name in ("source", "values", "indices")]
        e.loop(chunks, starts, chunk)
        return e.function(ARGUMENTS, "kernel")

    def _square_of_positions(
        self, index: Value, source: Value, values: Value, indices: Value
    ) -> None:
        e, v = self.e, self.selection.v
        place, rows = source, []
        for _ in range(SQUARE):
            rows.append(e.load(e.vector, place, 4))
            place = e.add(place, "%source_stride")
        lines = transpose_loaded(e, rows)
        for lane in range(0, SQUARE, v):
            kept = self._kept(lines[lane : lane + v])
            for step, position in enumerate(self._store_indices(kept, index, lane, indices)):
                row = e.add(source, e.mul("%source_stride", position))
                kind = f"<{v} x float>"
                held = self._canonical(e.load(kind, e.add(row, 4 * lane), 4), v)
                self._store_run(held, v, lane, values, step)

    # --- places

    def _squares(self) -> Value:
        return self.e.let(f"udiv i64 {self.e.mul('%groups', self.selection.m)}, {SQUARE}")

    def _next_square(
        self, source: Value, source_bytes: Value | int, values: Value, indices: Value
    ) -> list[Value]:
        e = self.e
        return [
            e.add(source, source_bytes),
            e.add(values, e.mul("%values_slot", self.steps)),
            e.add(indices, e.mul("%indices_slot", self.steps)),
        ]

    def _next_block(self, values: Value, indices: Value, blocks: int = 1) -> list[Value]:
        e, runs = self.e, blocks * SQUARE // self.target.run
        return [
            e.add(values, e.mul("%values_run", runs)),
            e.add(indices, e.mul("%indices_run", runs)),
        ]

    # --- selection

    def _kept(self, lines: list[Value]) -> Value:
        """Mask of 16 positions, of which every group keeps n: <16 x i1>."""
        e, n, m = self.e, self.selection.n, self.selection.m
        double, integers = f"<{SQUARE} x double>", f"<{SQUARE} x i64>"
        total = None
        for line in lines:
            term = e.let(f"fpext {e.vector} {self._magnitude(line)} to {double}")
            total = term if total is None else e.let(f"fadd {double} {total}, {term}")
        bits = e.let(f"bitcast {double} {total} to {integers}")
        unordered = e.let(f"fcmp uno {double} {total}, {total}")
        nan = self._constant([0x7FF8 << 48] * SQUARE, 64)
        kind = f"<{SQUARE} x i1>"
        keys = e.let(f"select {kind} {unordered}, {integers} {nan}, {integers} {bits}")
        rank = "zeroinitializer"
        for turn in range(1, m):
            order = [at // m * m + (at + turn) % m for at in range(SQUARE)]
            listed = ", ".join(f"i32 {at}" for at in order)
            other = e.let(
                f"shufflevector {integers} {keys}, {integers} poison, <{SQUARE} x i32> <{listed}>"
            )
            earlier = self._constant([int(order[at] < at) for at in range(SQUARE)], 64)
            other = e.let(f"add {integers} {other}, {earlier}")
            beaten = e.let(f"icmp ugt {integers} {other}, {keys}")
            one = e.let(f"zext {kind} {beaten} to {integers}")
            rank = e.let(f"add {integers} {rank}, {one}")
        return e.let(f"icmp ult {integers} {rank}, {self._constant([n] * SQUARE, 64)}")

    def _magnitude(self, value: Value) -> Value:
        """|value| rounded to the selection dtype, as float32; a NaN stays one."""
        e = self.e
        name = f"llvm.fabs.v{SQUARE}f32"
        size = e.call(name, e.vector, (e.vector, value))
        if self.selection.dtype == "float16":
            half = e.let(f"fptrunc {e.vector} {size} to <{SQUARE} x half>")
            return e.let(f"fpext <{SQUARE} x half> {half} to {e.vector}")
        kind = f"<{SQUARE} x i32>"
        bits = e.let(f"bitcast {e.vector} {size} to {kind}")
        shifted = e.let(f"lshr {kind} {bits}, {self._constant([16] * SQUARE, 32)}")
        odd = e.let(f"and {kind} {shifted}, {self._constant([1] * SQUARE, 32)}")
        half = e.let(f"add {kind} {odd}, {self._constant([0x7FFF] * SQUARE, 32)}")
        rounded = e.let(f"add {kind} {bits}, {half}")
        high = e.let(f"and {kind} {rounded}, {self._constant([0xFFFF0000] * SQUARE, 32)}")
        unordered = e.let(f"fcmp uno {e.vector} {value}, {value}")
        kept = e.let(f"select <{SQUARE} x i1> {unordered}, {kind} {bits}, {kind} {high}")
        return e.let(f"bitcast {kind} {kept} to {e.vector}")

    # --- stores

    def _store_indices(self, kept: Value, square: Value, lane: int, indices: Value) -> list[Value]:
        """One index a slot and run; returns the positions inside the square."""
        e, target, m = self.e, self.target, self.selection.m
        narrow = e.let(f"bitcast <{SQUARE} x i1> {kept} to i16")
        mask = e.let(f"zext i16 {narrow} to i64")
        kind = f"i{target.index_bits}"
        positions = []
        for step in range(self.steps):
            position = e.call("llvm.cttz.i64", "i64", ("i64", mask), ("i1", "true"))
            mask = e.let(f"and i64 {mask}, {e.add(mask, -1)}")
            positions.append(position)
            first = step // self.selection.n * m
            stored = (
                e.add(position, e.mul(square, SQUARE))
                if target.absolute
                else e.add(position, -first)
            )
            stored = e.let(f"trunc i64 {stored} to {kind}")
            place = e.add(indices, e.mul("%indices_slot", step))
            for run in range(lane // target.run, (lane + self.selection.v) // target.run):
                e.store(kind, stored, e.add(place, e.mul("%indices_run", run)), 1)
        return positions

    def _store_compressed(self, lines: list[Value], kept: Value, lane: int, values: Value) -> None:
        """The kept values of every line, slot by slot."""
        e, v = self.e, self.selection.v
        name = f"llvm.x86.avx512.mask.compress.v{SQUARE}f32"
        packed = [
            e.call(
                name, e.vector, (e.vector, line), (e.vector, "poison"), (f"<{SQUARE} x i1>", kept)
            )
            for line in lines
        ]
        columns = transpose_loaded(e, [*packed, *["poison"] * (SQUARE - v)])
        for step in range(self.steps):
            held = columns[step]
            if v < SQUARE:
                order = ", ".join(f"i32 {at}" for at in range(v))
                held = e.let(
                    f"shufflevector {e.vector} {held}, {e.vector} poison, <{v} x i32> <{order}>"
                )
            self._store_run(self._canonical(held, v), v, lane, values, step)

    def _canonical(self, value: Value, width: int) -> Value:
        e, kind = self.e, f"<{width} x float>"
        nan = f"bitcast (<{width} x i32> {self._constant([CANONICAL_NAN] * width, 32)} to {kind})"
        unordered = e.let(f"fcmp uno {kind} {value}, {value}")
        return e.let(f"select <{width} x i1> {unordered}, {kind} {nan}, {kind} {value}")

    def _store_run(self, value: Value, width: int, lane: int, values: Value, step: int) -> None:
        e, run = self.e, self.target.run
        start = e.add(values, e.mul("%values_slot", step))
        for first in range(0, width, run):
            part = value
            if run < width:
                order = ", ".join(f"i32 {at}" for at in range(first, first + run))
                kind = f"<{width} x float>"
                part = e.let(
                    f"shufflevector {kind} {value}, {kind} poison, <{run} x i32> <{order}>"
                )
            place = e.add(start, e.mul("%values_run", (lane + first) // run))
            e.store(f"<{run} x float>", part, place, 4)

    @staticmethod
    def _constant(values: list[int], bits: int) -> str:
        return f"<{', '.join(f'i{bits} {value}' for value in values)}>"
