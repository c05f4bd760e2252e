"""LLVM assembly, written one instruction at a time.

An `Emitter` collects the body of one function `void kernel(i64, ...)`. Addresses are integers, so that
an address is arithmetic and a load names its type and alignment. Nothing here knows what is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

STREAM_METADATA = "!0 = !{i32 1}"
Value = str
"""Name of an SSA value, or a constant."""


@dataclass
class Emitter:
    """Body of one function; `lanes` is the number of float32 in a vector register."""

    lanes: int
    lines: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    _names: int = 0

    @property
    def vector(self) -> str:
        return f"<{self.lanes} x float>"

    @property
    def vector_bytes(self) -> int:
        return 4 * self.lanes

    def let(self, expression: str) -> Value:
        """A new value."""
        name = self.name()
        self.lines.append(f"  %{name} = {expression}")
        return f"%{name}"

    def do(self, statement: str) -> None:
        self.lines.append(f"  {statement}")

    def name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def add(self, a: Value, b: Value | int) -> Value:
        return a if b == 0 else self.let(f"add i64 {a}, {b}")

    def mul(self, a: Value, b: Value | int) -> Value:
        return self.let(f"mul i64 {a}, {b}")

    def opaque(self, value: Value) -> Value:
        """The same integer, which LLVM cannot fold into the addresses that use it.

        An operand in memory with two address registers costs an instruction of its own.
        """
        return self.let(f'call i64 asm "", "=r,0"(i64 {value})')

    def load(self, kind: str, address: Value, align: int = 1) -> Value:
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        return self.let(f"load {kind}, ptr {pointer}, align {align}")

    def store(self, kind: str, value: Value, address: Value, align: int = 1) -> None:
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        self.do(f"store {kind} {value}, ptr {pointer}, align {align}")

    def stream(self, kind: str, value: Value, address: Value) -> None:
        """Store a whole, aligned cache line past the caches. The module needs STREAM_METADATA."""
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        self.do(f"store {kind} {value}, ptr {pointer}, align 64, !nontemporal !0")

    def end_streams(self) -> None:
        """What was streamed is visible to other threads before anything that follows."""
        self.declared.add("declare void @llvm.x86.sse.sfence()")
        self.do("call void @llvm.x86.sse.sfence()")

    def load_integer(self, bits: int, address: Value) -> Value:
        """An unsigned integer, widened to 64 bits."""
        value = self.load(f"i{bits}", address)
        return value if bits == 64 else self.let(f"zext i{bits} {value} to i64")

    def mask(self, valid: Value) -> Value:
        """The first `valid` lanes; a negative number is none."""
        positive = self.call("llvm.smax.i64", "i64", ("i64", valid), ("i64", "0"))
        count = self.call("llvm.umin.i64", "i64", ("i64", positive), ("i64", str(self.lanes)))
        bits = self.add(self.let(f"shl i64 1, {count}"), -1)
        narrow = self.let(f"trunc i64 {bits} to i{self.lanes}")
        return self.let(f"bitcast i{self.lanes} {narrow} to <{self.lanes} x i1>")

    def load_masked(
        self, address: Value, mask: Value, otherwise: Value = "zeroinitializer"
    ) -> Value:
        """Lanes of the mask, `otherwise` elsewhere; what the others would read is not touched."""
        name, kind, lanes = f"llvm.masked.load.v{self.lanes}f32.p0", self.vector, self.lanes
        self.declared.add(f"declare {kind} @{name}(ptr, i32, <{lanes} x i1>, {kind})")
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        return self.let(
            f"call {kind} @{name}(ptr {pointer}, i32 4, <{lanes} x i1> {mask}, {kind} {otherwise})"
        )

    def store_masked(self, value: Value, address: Value, mask: Value) -> None:
        """Only lanes of the mask are written."""
        name, kind, lanes = f"llvm.masked.store.v{self.lanes}f32.p0", self.vector, self.lanes
        self.declared.add(f"declare void @{name}({kind}, ptr, i32, <{lanes} x i1>)")
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        self.do(f"call void @{name}({kind} {value}, ptr {pointer}, i32 4, <{lanes} x i1> {mask})")

    def prefetch(self, address: Value) -> None:
        """Ask for the cache line at an address, which need not exist, in the second-level cache."""
        self._prefetch(address, "i32 0, i32 2, i32 1")

    def prefetch_for_writing(self, address: Value) -> None:
        """Ask for the cache line at an address, which need not exist, to write it soon."""
        self._prefetch(address, "i32 1, i32 3, i32 1")

    def _prefetch(self, address: Value, way: str) -> None:
        self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        pointer = self.let(f"inttoptr i64 {address} to ptr")
        self.do(f"call void @llvm.prefetch.p0(ptr {pointer}, {way})")

    def splat(self, scalar: Value) -> Value:
        one = self.let(f"insertelement {self.vector} poison, float {scalar}, i32 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.let(f"shufflevector {self.vector} {one}, {self.vector} poison, {zeros}")

    def call(self, function: str, result: str, *arguments: tuple[str, Value]) -> Value:
        """Call of an intrinsic, which is declared once."""
        kinds = ", ".join(kind for kind, _ in arguments)
        self.declared.add(f"declare {result} @{function}({kinds})")
        listed = ", ".join(f"{kind} {value}" for kind, value in arguments)
        return self.let(f"call {result} @{function}({listed})")

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Sum of c and a * b, rounded once."""
        kind = self.vector
        return self.call(f"llvm.fma.v{self.lanes}f32", kind, (kind, a), (kind, b), (kind, c))

    def loop(
        self,
        count: Value,
        carried: Sequence[tuple[str, Value]],
        body: Callable[[Value, list[Value]], list[Value]],
    ) -> list[Value]:
        """Run `body(index, values)` for 0 <= index < count; returns the carried values at the end."""
        before, head, inside, latch, after = (f"{self.name()}.{part}" for part in "bhile")
        self.do(f"br label %{before}")
        self.lines.append(f"{before}:")
        self.do(f"br label %{head}")
        self.lines.append(f"{head}:")
        index, following = f"%{self.name()}", f"%{self.name()}"
        self.do(f"{index} = phi i64 [ 0, %{before} ], [ {following}, %{latch} ]")
        names = [f"%{self.name()}" for _ in carried]
        place = len(self.lines)
        more = self.let(f"icmp ult i64 {index}, {count}")
        self.do(f"br i1 {more}, label %{inside}, label %{after}")
        self.lines.append(f"{inside}:")
        results = body(index, names)
        self.do(f"br label %{latch}")
        self.lines.append(f"{latch}:")
        self.do(f"{following} = add i64 {index}, 1")
        self.do(f"br label %{head}")
        self.lines[place:place] = [
            f"  {name} = phi {kind} [ {first}, %{before} ], [ {last}, %{latch} ]"
            for name, (kind, first), last in zip(names, carried, results, strict=True)
        ]
        self.lines.append(f"{after}:")
        return names

    def function(self, arguments: Sequence[str], name: str) -> str:
        """`void name(i64 ...)` with these argument names."""
        listed = ", ".join(f"i64 %{argument}" for argument in arguments)
        return "\n".join(
            [f"define void @{name}({listed}) {{", "entry:", *self.lines, "  ret void", "}"]
        )

    def module(self, arguments: Sequence[str]) -> str:
        """A module of this one function, `kernel`."""
        function = self.function(arguments, "kernel")
        return "\n".join([*sorted(self.declared), function])
