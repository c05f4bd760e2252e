"""A scalar interpreter of programs, from docs/microarchitecture.md and docs/numerics.md.

One NumPy scalar operation at a time, in the order of the documents. It shares the encoding of
instructions with the simulator (hwsim.isa, hwsim.program) and nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.isa import REGISTERS as UNIT_REGISTERS
from hwsim.isa import Instruction, Lhs, Op, Space, Unit, VectorOp, register_value
from hwsim.program import Program

Registers = Mapping[str, int]

NAN16, NAN32 = 0x7E00, 0x7FC00000
ZERO = np.float32(0)


@dataclass(frozen=True)
class Outcome:
    """DRAM after the last instruction, and the sticky flag."""

    dram: bytes
    nonfinite: bool


def interpret(program: Program, config: AcceleratorConfig, dram: bytes) -> Outcome:
    """Execute a legal program in program order."""
    machine = _Interpreter(config, dram)
    with np.errstate(all="ignore"):
        for instruction in program:
            machine.execute(instruction)
    return Outcome(bytes(machine.dram), machine.nonfinite)


def single(bits: int) -> np.float32:
    """The FP32 number of 32 bits."""
    return np.uint32(bits).view(np.float32)


def bits32(value: np.float32) -> int:
    """A result: its bits, or the canonical NaN."""
    return NAN32 if np.isnan(value) else int(value.view(np.uint32))


def widen(bits: int) -> np.float32:
    """The FP32 number of 16 bits."""
    return np.float32(np.uint16(bits).view(np.float16))


class _Interpreter:
    def __init__(self, config: AcceleratorConfig, dram: bytes) -> None:
        self.config = config
        self.dram = bytearray(dram)
        self.nonfinite = False
        self.lanes = config.act_values_per_row_cycle * config.rows
        self.act = np.zeros((2 * config.activation_half_words, self.lanes), np.uint16)
        self.wgt = np.zeros((2 * config.weight_half_words, config.cols), np.uint16)
        self.idx = np.zeros((2 * config.weight_half_words, config.cols), np.uint8)
        self.acc = np.zeros((2 * config.accumulator_half_words, config.cols), np.uint32)
        self.banks: dict[tuple[int, int, str], int] = {}

    def execute(self, instruction: Instruction) -> None:
        args = instruction.args
        if instruction.op is Op.CONFIG:
            self.configure(args)
        elif instruction.op is not Op.HALT:
            steps = {
                Op.LOAD: self.load,
                Op.STORE: self.store,
                Op.FILL: self.fill,
                Op.MATMUL: self.matmul,
                Op.PRUNE: self.prune,
                Op.UPDATE: self.update,
                Op.VECTOR: self.vector,
            }
            assert instruction.unit is not None
            steps[instruction.op](args, self.registers(instruction.unit, args.get("bank", 0)))

    def configure(self, args: Mapping[str, int]) -> None:
        unit = Unit(args["unit"])
        for offset in (0, 1):
            position = args["register"] + offset
            if position < len(UNIT_REGISTERS[unit]):
                value = register_value(unit, position, args[f"value{offset}"])
                self.banks[unit, args["bank"], UNIT_REGISTERS[unit][position].name] = value

    def registers(self, unit: Unit, bank: int) -> Registers:
        return {
            item.name: self.banks.get((unit, bank, item.name), 0) for item in UNIT_REGISTERS[unit]
        }

    # Transfers

    def addresses(self, dram: int, r: Registers) -> Iterator[int]:
        """Every byte of a transfer, in order."""
        for i2 in range(r["count2"]):
            for i1 in range(r["count1"]):
                for i0 in range(r["count0"]):
                    run = dram + i2 * r["stride2"] + i1 * r["stride1"] + i0 * r["stride0"]
                    yield from range(run, run + r["run_bytes"])

    def load(self, args: Mapping[str, int], r: Registers) -> None:
        data = bytes(self.dram[address] for address in self.addresses(args["dram"], r))
        for row in range(len(data) // r["row_bytes"]):
            part = data[row * r["row_bytes"] : (row + 1) * r["row_bytes"]]
            self.write_row(Space(args["space"]), args["local"] + row * r["row_words"], part)

    def write_row(self, space: Space, word: int, part: bytes) -> None:
        """Whole words; lanes beyond the bytes become +0."""
        memory = self.memory(space)
        cols = memory.shape[1]
        values = self.values_of(space, part)
        values += [0] * (-len(values) % cols)
        for position, value in enumerate(values):
            memory[word + position // cols, position % cols] = value

    def values_of(self, space: Space, part: bytes) -> list[int]:
        """Lanes from DRAM bytes."""
        if space is Space.IDX:
            return [nibble for byte in part for nibble in (byte & 15, byte >> 4)]
        size = 4 if space is Space.ACC else 2
        raw = [
            int.from_bytes(part[start : start + size], "little")
            for start in range(0, len(part), size)
        ]
        return [bits32(widen(bits)) for bits in raw] if space is Space.ACC16 else raw

    def store(self, args: Mapping[str, int], r: Registers) -> None:
        addresses = list(self.addresses(args["dram"], r))
        data = b"".join(
            self.read_row(
                Space(args["space"]), args["local"] + row * r["row_words"], r["row_bytes"]
            )
            for row in range(len(addresses) // r["row_bytes"])
        )
        for address, byte in zip(addresses, data, strict=True):
            self.dram[address] = byte

    def read_row(self, space: Space, word: int, size: int) -> bytes:
        memory = self.memory(space)
        cols = memory.shape[1]
        lanes = {Space.IDX: 2 * size, Space.ACC: size // 4}.get(space, size // 2)
        values = [int(memory[word + k // cols, k % cols]) for k in range(lanes)]
        if space is Space.IDX:
            pairs = zip(values[::2], values[1::2], strict=True)
            return bytes(low | high << 4 for low, high in pairs)
        if space is Space.ACC:
            return b"".join(value.to_bytes(4, "little") for value in values)
        if space is Space.ACC16:
            values = [self.round(single(value)) for value in values]
        return b"".join(value.to_bytes(2, "little") for value in values)

    def memory(self, space: Space) -> np.ndarray:
        return {Space.ACT: self.act, Space.WGT: self.wgt, Space.IDX: self.idx}.get(space, self.acc)

    def fill(self, args: Mapping[str, int], _: Registers) -> None:
        memory = self.memory(Space(args["space"]))
        for word in range(args["local"], args["local"] + args["words"]):
            for lane in range(memory.shape[1]):
                memory[word, lane] = args["value"]

    def round(self, value: np.float32) -> int:
        """FP32 to FP16 bits; an infinity or NaN sets the flag."""
        half = np.float16(value)
        if not np.isfinite(half):
            self.nonfinite = True
        return NAN16 if np.isnan(half) else int(half.view(np.uint16))

    # MATMUL

    def matmul(self, args: Mapping[str, int], r: Registers) -> None:
        column_mode = r["lhs"] == Lhs.COLUMN
        rows = self.tap_channels(r) if column_mode else self.tokens(r)
        entries = self.tokens(r) if column_mode else self.entries(args, r)
        words = -(-r["columns"] // self.config.cols)
        for number, row in enumerate(rows):
            for column in range(words * self.config.cols):
                word = args["acc"] + number * r["acc_words"] + column // self.config.cols
                lane = column % self.config.cols
                if column >= r["columns"]:
                    self.acc[word, lane] = 0
                    continue
                total = single(self.acc[word, lane]) if args["accumulate"] else ZERO
                for place, entry in enumerate(entries):
                    at = args["wgt"] + place * r["wgt_words"] + column // self.config.cols
                    token, tap = (entry, row) if column_mode else (row, entry)
                    left = self.left(args["act"], r, token, tap, int(self.idx[at, lane]))
                    total = total + left * widen(self.wgt[at, lane])
                self.acc[word, lane] = bits32(total)  # a NaN stays one, so the last is enough

    def tokens(self, r: Registers) -> list[tuple[int, int, int]]:
        """(image, oy, ox)"""
        return [
            (image, oy, ox)
            for image in range(r["images"])
            for oy in range(r["out_h"])
            for ox in range(r["out_w"])
        ]

    def tap_channels(self, r: Registers) -> list[tuple[int, int, int, int]]:
        """(ky, kx, 0, channel): rows of the result of lhs = COLUMN."""
        return [
            (ky, kx, 0, channel)
            for ky in range(r["taps_y"])
            for kx in range(r["taps_x"])
            for channel in range(r["channels"])
        ]

    def entries(self, args: Mapping[str, int], r: Registers) -> list[tuple[int, int, int, int]]:
        """(ky, kx, first channel of the segment, channel in it); packed: of the group's start."""
        listed = []
        for ky, kx, first in self.segments(args, r):
            if r["packed"]:
                groups = -(-r["channels"] // r["m"])
                listed += [
                    (ky, kx, first, group * r["m"])
                    for group in range(groups)
                    for _ in range(r["n"])
                ]
            else:
                listed += [(ky, kx, first, channel) for channel in range(r["channels"])]
        return listed

    def segments(self, args: Mapping[str, int], r: Registers) -> list[tuple[int, int, int]]:
        """(ky, kx, first channel)"""
        if not r["use_table"]:
            return [(ky, kx, 0) for ky in range(r["taps_y"]) for kx in range(r["taps_x"])]
        listed = []
        for number in range(r["segments"]):
            low, high = (
                int(self.wgt[args["table"] + k // self.config.cols, k % self.config.cols])
                for k in (2 * number, 2 * number + 1)
            )
            listed.append((high >> 8, high & 255, low))
        return listed

    def left(
        self,
        act: int,
        r: Registers,
        token: tuple[int, int, int],
        tap: tuple[int, int, int, int],
        position: int,
    ) -> np.float32:
        """The activation that meets an entry; +0 outside the image and the segment."""
        image, oy, ox = token
        ky, kx, first, channel = tap
        if r["packed"]:
            channel += position
        y = r["origin_y"] + oy * r["stride_y"] + ky * r["step_y"]
        x = r["origin_x"] + ox * r["stride_x"] + kx * r["step_x"]
        if not (0 <= y < r["in_h"] and 0 <= x < r["in_w"] and channel < r["channels"]):
            return ZERO
        word = act + image * r["image_words"] + y * r["row_words"] + x * r["pixel_words"]
        channel += first
        return widen(self.act[word + channel // self.lanes, channel % self.lanes])

    # PRUNE

    def prune(self, args: Mapping[str, int], r: Registers) -> None:
        length, lanes = r["rows"], r["columns"]
        if r["transpose"]:
            length, lanes = lanes, length
        for group in range(-(-length // r["m"])):
            for lane in range(r["wgt_words"] * self.config.cols):
                values = [
                    self.source(args, r, group * r["m"] + i, lane, length, lanes)
                    for i in range(r["m"])
                ]
                ranked = sorted(range(r["m"]), key=lambda i: (-(values[i] & 0x7FFF), i))
                for j, position in enumerate(sorted(ranked[: r["n"]])):
                    word = args["wgt"] + (group * r["n"] + j) * r["wgt_words"]
                    at = word + lane // self.config.cols, lane % self.config.cols
                    self.wgt[at], self.idx[at] = values[position], position

    def source(
        self, args: Mapping[str, int], r: Registers, k: int, lane: int, length: int, lanes: int
    ) -> int:
        """Bits of one value, +0 beyond the edges, NaN made canonical."""
        if k >= length or lane >= lanes:
            return 0
        row, column = (lane, k) if r["transpose"] else (k, lane)
        word = args["act"] + row * r["act_words"] + column // self.lanes
        bits = int(self.act[word, column % self.lanes])
        return NAN16 if np.isnan(widen(bits)) else bits

    # WUVE

    def update(self, args: Mapping[str, int], r: Registers) -> None:
        scale, rate, momentum, decay = (
            single(r[name]) for name in ("scale", "rate", "momentum", "decay")
        )
        for row in range(r["rows"]):
            for k in range(r["words"] * self.config.cols):
                offset, lane = row * r["a_words"] + k // self.config.cols, k % self.config.cols
                w = single(self.acc[args["weight"] + offset, lane])
                v = single(self.acc[args["momentum"] + offset, lane])
                g = single(self.acc[args["gradient"] + offset, lane]) * scale + decay * w
                v = momentum * v + g
                w = w - rate * v
                self.acc[args["momentum"] + offset, lane] = bits32(v)
                self.acc[args["weight"] + offset, lane] = bits32(w)
                self.write_half(args["act"] + row * r["dst_words"], k, w)

    def vector(self, args: Mapping[str, int], r: Registers) -> None:
        operation = VectorOp(args["vector_op"])
        if operation is VectorOp.COLSUM:
            self.column_sums(args, r)
            return
        for row in range(r["rows"]):
            b_row = 0 if operation is VectorOp.BIAS else row
            for k in range(r["words"] * self.config.cols):
                word, lane = k // self.config.cols, k % self.config.cols
                a = single(self.acc[args["a"] + row * r["a_words"] + word, lane])
                b = ZERO
                if operation in (VectorOp.BIAS, VectorOp.ADD, VectorOp.MASK):
                    b = single(self.acc[args["b"] + b_row * r["b_words"] + word, lane])
                self.write_result(
                    args, r, row, k, _elementwise(operation, a, b, single(r["scale"]))
                )

    def column_sums(self, args: Mapping[str, int], r: Registers) -> None:
        for k in range(r["words"] * self.config.cols):
            word, lane = k // self.config.cols, k % self.config.cols
            total = ZERO
            for row in range(r["rows"]):
                total = total + single(self.acc[args["a"] + row * r["a_words"] + word, lane])
            self.write_result(args, r, 0, k, total)

    def write_result(
        self, args: Mapping[str, int], r: Registers, row: int, k: int, value: np.float32
    ) -> None:
        start = args["dst"] + row * r["dst_words"]
        if r["to_act"]:
            self.write_half(start, k, value)
        else:
            self.acc[start + k // self.config.cols, k % self.config.cols] = bits32(value)

    def write_half(self, start: int, k: int, value: np.float32) -> None:
        """FP16 lane k from an activation word on; the other lanes keep what they hold."""
        self.act[start + k // self.lanes, k % self.lanes] = self.round(value)


def _elementwise(
    operation: VectorOp, a: np.float32, b: np.float32, scale: np.float32
) -> np.float32:
    if operation is VectorOp.RELU:
        return a if a > 0 or np.isnan(a) else ZERO
    if operation is VectorOp.MASK:
        return a if b > 0 else ZERO
    if operation is VectorOp.SCALE:
        return a * scale
    if operation in (VectorOp.BIAS, VectorOp.ADD):
        return a + b
    return a
