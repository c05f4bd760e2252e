"""A bench for the machine: lays arrays in DRAM, assembles a program, reads results back."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwsim import AcceleratorConfig, machine
from hwsim.isa import Flow, Instruction, Lhs, Op, Space, Unit, VectorOp, configure
from hwsim.program import Program

PLAIN = {"images": 1, "out_h": 1, "in_h": 1, "taps_y": 1, "taps_x": 1, "stride_x": 1}
DENSE = {"flow": Flow.OS, "lhs": Lhs.ROW, "n": 1, "m": 1, "ic": 1, "ir": 1}


def padded(array: Any, multiple: int) -> Any:
    """Zeros behind the last axis, up to a multiple."""
    missing = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])


def bits(array: Any) -> Any:
    """Unsigned integers of a float array."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


@dataclass
class Bench:
    """Operands are placed one after the other; every instruction uses bank 0 of its unit.

    Rows of a transfer are multiples of 16 bytes, so operands are padded to 8 FP16 or 4 FP32.
    """

    config: AcceleratorConfig
    size_bytes: int = 1 << 20
    parts: dict[int, Any] = field(default_factory=dict)
    listing: list[Instruction] = field(default_factory=list)
    end: int = 0

    def place(self, array: Any) -> int:
        """Byte address of a copy in DRAM."""
        address, self.end = self.end, self.end + -(-array.nbytes // 64) * 64
        self.parts[address] = array
        return address

    def load(self, space: Space, local: int, rows: Any, row_words: int = 0) -> None:
        """rows: (rows, bytes of a row in its dtype)."""
        self._transfer(
            Op.LOAD, space, local, self.place(rows), rows.shape[0], rows.nbytes, row_words
        )

    def store(self, space: Space, local: int, rows: int, row_bytes: int, row_words: int = 0) -> int:
        """Byte address of the result."""
        address = self.place(np.zeros(rows * row_bytes, np.uint8))
        self._transfer(Op.STORE, space, local, address, rows, rows * row_bytes, row_words)
        return address

    def _transfer(self, op, space, local, address, rows, total, row_words) -> None:
        registers = {
            "run_bytes": total,
            "count0": 1,
            "count1": 1,
            "count2": 1,
            "row_bytes": total // rows,
            "row_words": row_words,
        }
        self.emit(Unit.DMA, registers, op, space=space, local=local, dram=address)

    def emit(self, unit: Unit, registers: dict[str, int], op: Op, **args: int) -> None:
        """Configure bank 0 and add the instruction."""
        self.listing += configure(unit, 0, registers)
        self.listing.append(Instruction(op, {"bank": 0, **args}))

    def fill(self, space: Space, local: int, words: int, value: int) -> None:
        args = {"space": space, "local": local, "words": words, "value": value}
        self.listing.append(Instruction(Op.FILL, args))

    def load_tokens(self, local: int, tokens: Any) -> int:
        """tokens: (tokens, channels) FP16, one pixel each. Returns the words of a pixel."""
        rows = padded(tokens, max(8, self.config.activation_lanes))
        words = rows.shape[1] // self.config.activation_lanes
        self.load(Space.ACT, local, rows, words)
        return words

    def load_packed(self, local: int, packed: Any) -> int:
        """Both planes of an N:M image. Returns the words of an entry."""
        lanes = packed.values.shape[-1]
        words = lanes // self.config.cols
        self.load(Space.WGT, local, packed.values.reshape(-1, lanes), words)
        self.load(Space.IDX, local, packed.indices.reshape(-1, lanes // 2), words)
        return words

    def load_dense(self, local: int, entries: Any) -> int:
        """entries: (entries, columns) FP16. Returns the words of an entry."""
        rows = padded(entries, max(8, self.config.cols))
        words = rows.shape[1] // self.config.cols
        self.load(Space.WGT, local, rows, words)
        return words

    def load_acc(self, local: int, rows: Any) -> int:
        """rows: (rows, columns) FP32. Returns the words of a row."""
        wide = padded(np.asarray(rows, np.float32), max(4, self.config.cols))
        words = wide.shape[1] // self.config.cols
        self.load(Space.ACC, local, wide, words)
        return words

    def matmul(self, registers, *, act=0, wgt=0, acc=0, table=0, accumulate=0) -> None:
        self.emit(
            Unit.STCE,
            {**PLAIN, **DENSE, **registers},
            Op.MATMUL,
            accumulate=accumulate,
            act=act,
            wgt=wgt,
            acc=acc,
            table=table,
        )

    def vector(self, kind: VectorOp, registers, *, a=0, b=0, dst=0) -> None:
        self.emit(Unit.WUVE, registers, Op.VECTOR, vector_op=kind, a=a, b=b, dst=dst)

    @property
    def program(self) -> Program:
        return Program.assemble(self.listing)

    def run(self) -> machine.Result:
        return machine.run(
            self.program, self.config, machine.Memory.build(self.size_bytes, self.parts)
        )

    def acc_rows(self, rows: int, columns: int, acc: int = 0) -> Any:
        """Run; the FP32 result that a MATMUL left, its rows next to each other."""
        words = -(-columns // self.config.cols)
        pad = self.run().scratchpads.acc.bits
        got = pad[acc : acc + rows * words].reshape(rows, words * self.config.cols)
        assert not got[:, columns:].any()
        return got[:, :columns].view(np.float32)
