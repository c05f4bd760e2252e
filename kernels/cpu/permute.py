"""Permute kernels, for up to eight tokens: 16 rows in the vector lanes, 16 activations in a register.

    values  [row tile][group][entry][16 rows]  as stored: float32, bfloat16 or int8
    words   [row tile][group][16 rows]         uint32, the positions of a group's entries, lowest first

A window is 16 columns, a group as many windows as have 32 bits of positions. One instruction takes for
every row the activation at its own position. The weight is read once, in order, so that bytes decide:
positions have two bits for M = 4, otherwise four. A row's scale of int8 multiplies its sum.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from cosparse.spec import NMTensor
from cosparse.spec.dtypes import Array

from .emitter import Emitter, Value
from .isa import AVX512, Isa
from .linear import filled
from .objects import Kernel, load_kernel
from .panels import address, aligned_empty
from .workers import bounds, run_parts

MOST_TOKENS = 8
"""Tokens up to which the weight's bytes decide."""
ARGUMENTS = ("tiles", "groups", "values", "words", "scales", "x", "y", "y_stride")
_WINDOW = 16
_WORD_BITS = 32
_STORED_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
_LINE_BYTES = 64
_GROUPS_AHEAD = 8
"""Groups by which the weight is fetched ahead: up to one page, across which processors do not."""
_CHAINS = 8
"""Sums that are in flight at once, to hide the latency of a multiply-add."""


@dataclass(frozen=True)
class Grouping:
    """Entries of a group: `windows` windows of `entries` entries each."""

    n: int
    m: int

    @property
    def position_bits(self) -> int:
        return 2 if self.m == 4 else 4

    @property
    def entries(self) -> int:
        """Entries of a row in one window."""
        return _WINDOW // self.m * self.n

    @property
    def windows(self) -> int:
        return _WORD_BITS // (self.entries * self.position_bits)

    @property
    def fits(self) -> bool:
        """Whether M divides a window, and a word holds a window's positions."""
        return _WINDOW % self.m == 0 and self.entries * self.position_bits <= _WORD_BITS

    def position(self, entry: int) -> tuple[int, int]:
        """(bits to shift a word by, what to add to the bits that are left) of an entry of a window."""
        group = entry // self.n * self.m if self.position_bits == 2 else 0
        return entry * self.position_bits, group


@dataclass(frozen=True, eq=False)
class PermutedWeight:
    """An N:M weight without taps; see the module's text."""

    grouping: Grouping
    stored: str
    values: Array
    words: Array
    scales: Array
    """(rows,) float32, ones where the values have none."""

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Addresses of values, words and scales; bytes of a row tile's values and of its words."""
        planes = self.values, self.words
        sizes = (plane.nbytes // max(1, len(plane)) for plane in planes)
        return (*(address(plane) for plane in (*planes, self.scales)), *sizes)

    def __getstate__(self) -> dict[str, Any]:
        """A copy lies elsewhere."""
        return {name: value for name, value in self.__dict__.items() if name != "places"}

    @property
    def row_tiles(self) -> int:
        return len(self.words)

    @property
    def groups(self) -> int:
        return int(self.words.shape[1])

    @property
    def columns(self) -> int:
        """K, filled up to whole groups."""
        return self.groups * self.grouping.windows * _WINDOW


def can_permute(packed: Any, isa: Isa) -> bool:
    """Whether `permuted` takes a packed weight."""
    return (
        isa is AVX512
        and isinstance(packed, NMTensor)
        and packed.layout.taps == packed.layout.conv_groups == 1
        and Grouping(packed.pattern.n, packed.pattern.m).fits
    )


def permuted(packed: NMTensor) -> PermutedWeight:
    """The layout of the permute kernels."""
    grouping = Grouping(packed.pattern.n, packed.pattern.m)
    stored = packed.dtype if packed.dtype in _STORED_BYTES else "float32"
    values = packed.values if stored == packed.dtype else packed.decoded_values()
    rows = packed.padded_lanes
    scales = np.ones(rows, np.float32)
    if packed.scales is not None:
        scales[: packed.layout.lanes] = packed.scales[0]
    positions = packed.lane_indices()[0, 0].astype(np.uint32)
    in_window = np.arange(len(positions)) % (_WINDOW // grouping.m) * grouping.m
    if grouping.position_bits == 4:
        positions += in_window[:, None, None].astype(np.uint32)
    shifts = np.arange(grouping.windows * grouping.entries, dtype=np.uint32)
    words = _by_tile(positions, grouping) << (shifts * grouping.position_bits)[:, None]
    return PermutedWeight(
        grouping,
        stored,
        _aligned(_by_tile(values[0, 0], grouping)),
        _aligned(np.bitwise_or.reduce(words, axis=2)),
        scales,
    )


def _by_tile(plane: Array, grouping: Grouping) -> Array:
    """(groups of M, n, rows) to (row tiles, groups of windows, entries, 16), filled up with zeros."""
    together = grouping.windows * _WINDOW // grouping.m
    count, n, rows = plane.shape
    groups = -(-count // together)
    whole = np.zeros((groups * together, n, rows), plane.dtype)
    whole[:count] = plane
    split = whole.reshape(groups, together * n, rows // _WINDOW, _WINDOW)
    return split.transpose(2, 0, 1, 3)


def _aligned(array: Array) -> Array:
    """A C-contiguous copy on a 64-byte boundary."""
    words = aligned_empty(-(-array.nbytes // 4))
    copy = words.view(np.uint8)[: array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def multiply_permuted(weight: PermutedWeight, x: Array, threads: int) -> Array:
    """x: (tokens, K) float32, up to MOST_TOKENS tokens; returns (tokens, rows filled up to 32)."""
    tokens, rows = len(x), weight.row_tiles * _WINDOW
    y = np.empty((tokens, rows), np.float32)
    if not y.size:
        return y
    windows = _windows(x, weight.columns)
    kernel = permute_kernel(weight.grouping, tokens, weight.stored)
    groups, x_at, y_at, y_stride = weight.groups, address(windows), address(y), 4 * rows
    values, words, scales, value_bytes, word_bytes = weight.places

    def run(part: tuple[int, int]) -> None:
        first, last = part
        kernel(
            last - first, groups, values + first * value_bytes, words + first * word_bytes,
            scales + 4 * _WINDOW * first, x_at, y_at + 4 * _WINDOW * first, y_stride,
        )  # fmt: skip

    run_parts(run, bounds(weight.row_tiles, threads))
    return y


def _windows(x: Array, columns: int) -> Array:
    """X (tokens, K) to (windows, tokens, 16)."""
    whole = filled(x, 1, max(1, columns))
    if len(x) == 1:
        return whole
    split = whole.reshape(len(x), columns // _WINDOW, _WINDOW)
    return _aligned(split.transpose(1, 0, 2))


@cache
def permute_kernel(grouping: Grouping, tokens: int, stored: str) -> Kernel:
    """The kernel for so many tokens; its arguments are ARGUMENTS."""
    name = f"permute-{grouping.n}of{grouping.m}-{tokens}-{stored}"
    return load_kernel(name, permute_assembly(grouping, tokens, stored), len(ARGUMENTS))


def permute_assembly(grouping: Grouping, tokens: int, stored: str) -> str:
    e = Emitter(_WINDOW)
    entries, windows = grouping.entries, grouping.windows
    chains = max(1, min(entries * windows, _CHAINS // tokens))
    value_bytes = _STORED_BYTES[stored] * _WINDOW
    group_bytes = entries * windows * value_bytes

    def tile(index: Value, outer: list[Value]) -> list[Value]:
        values, words = outer

        def group(_: Value, inner: list[Value]) -> list[Value]:
            x, values, words, *sums = inner
            word = e.load(_INTEGERS, words, 4)
            e.prefetch(e.add(words, 4 * _WINDOW * _GROUPS_AHEAD))
            for line in range(0, group_bytes, _LINE_BYTES):
                e.prefetch(e.add(values, group_bytes * _GROUPS_AHEAD + line))
            for window in range(windows):
                first = window * tokens * e.vector_bytes
                activations = [
                    e.load(e.vector, e.add(x, first + token * e.vector_bytes), 4)
                    for token in range(tokens)
                ]
                for entry in range(entries):
                    number = window * entries + entry
                    position = _position(e, grouping, word, window, entry)
                    weight = _weight(e, stored, e.add(values, number * value_bytes))
                    for token, activation in enumerate(activations):
                        taken = e.call(
                            "llvm.x86.avx512.permvar.sf.512", e.vector,
                            (e.vector, activation), (_INTEGERS, position),
                        )  # fmt: skip
                        at = token * chains + number % chains
                        sums[at] = e.fma(weight, taken, sums[at])
            x = e.add(x, windows * tokens * e.vector_bytes)
            return [x, e.add(values, group_bytes), e.add(words, 4 * _WINDOW), *sums]

        zero = (e.vector, "zeroinitializer")
        carried = [("i64", "%x"), ("i64", values), ("i64", words), *[zero] * (tokens * chains)]
        _, values, words, *sums = e.loop("%groups", carried, group)
        here = e.mul(index, e.vector_bytes)
        scale = e.load(e.vector, e.add("%scales", here), 4)
        for token in range(tokens):
            total = _total(e, sums[token * chains : (token + 1) * chains])
            if stored == "int8":
                total = e.let(f"fmul {e.vector} {total}, {scale}")
            place = e.add(e.add("%y", e.mul("%y_stride", token)), here)
            e.store(e.vector, total, place, 4)
        return [values, words]

    e.loop("%tiles", [("i64", "%values"), ("i64", "%words")], tile)
    return e.module(ARGUMENTS)


_INTEGERS = f"<{_WINDOW} x i32>"


def _position(e: Emitter, grouping: Grouping, word: Value, window: int, entry: int) -> Value:
    """Where in its window every row's entry is; the instruction looks at the low four bits."""
    shift, base = grouping.position(entry)
    shift += window * grouping.entries * grouping.position_bits
    moved = e.let(f"lshr {_INTEGERS} {word}, {_splat(shift)}") if shift else word
    if grouping.position_bits == 4:
        return moved
    low = e.let(f"and {_INTEGERS} {moved}, {_splat(3)}")
    return e.let(f"or {_INTEGERS} {low}, {_splat(base)}") if base else low


def _weight(e: Emitter, stored: str, place: Value) -> Value:
    """A vector of stored values as float32; a copy of the weight may begin anywhere."""
    if stored == "float32":
        return e.load(e.vector, place, 4)
    bits = 8 * _STORED_BYTES[stored]
    raw = e.load(f"<{_WINDOW} x i{bits}>", place, bits // 8)
    if stored == "int8":
        wide = e.let(f"sext <{_WINDOW} x i8> {raw} to {_INTEGERS}")
        return e.let(f"sitofp {_INTEGERS} {wide} to {e.vector}")
    wide = e.let(f"zext <{_WINDOW} x i16> {raw} to {_INTEGERS}")
    high = e.let(f"shl {_INTEGERS} {wide}, {_splat(16)}")
    return e.let(f"bitcast {_INTEGERS} {high} to {e.vector}")


def _total(e: Emitter, sums: list[Value]) -> Value:
    """Pairwise."""
    while len(sums) > 1:
        pairs = zip(sums[::2], sums[1::2], strict=False)
        added = [e.let(f"fadd {e.vector} {a}, {b}") for a, b in pairs]
        sums = added + sums[len(sums) // 2 * 2 :]
    return sums[0]


def _splat(value: int) -> str:
    return "<" + ", ".join([f"i32 {value}"] * _WINDOW) + ">"
