"""A linear layer with a block-sparse weight: absent blocks stay absent and cost nothing.

Its masters, momenta and gradients are those of the present blocks, [block][input][output] in the order
of the FF image; the FP16 copy that UPDATE writes is that image. WU runs one product for each block. The
BP image is made of the same blocks, transposed by SORE, in its own order.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cosparse.spec import Block, BlockTensor, Dense, Gemm, Operand, UnsupportedError, pack
from cosparse.spec.dtypes import Array
from cosparse.spec.patterns import pad_axis
from cosparse.spec.products import Side, gradient, matrix_product
from hwsim.compile.block_rows import block_runs
from hwsim.compile.lower import block_segment, gemm_nests, pixel_bytes
from hwsim.compile.nest import Nests
from hwsim.compile.operation import Operation, of_nests, pass_operation, product
from hwsim.compile.passes import transpose_pass, update_pass
from hwsim.compile.weights import CHANNEL_UNIT, Sgd
from hwsim.config import AcceleratorConfig
from hwsim.constants import (
    ACCUMULATOR_BYTES,
    BLOCK_INDEX_BYTES,
    DRAM_ALIGNMENT_BYTES,
    PACKED_LANES,
    VALUE_BYTES,
)

from .activation import Activation, masters
from .script import Part, Script


@dataclass(frozen=True)
class BlockLinear:
    """y = relu(x W^T + b), with bias and ReLU where they are asked for.

    pattern: blocks of outputs x inputs; its density is that of `present`.

    present: (outputs / pattern.rows, inputs / pattern.cols) bool. All rows of blocks have equally many
    present blocks, and so have all columns: each image is then one table and one run of values.
    """

    name: str
    weight_shape: tuple[int, ...]
    rows: int
    pattern: Block
    present: Array
    bias: bool = True
    relu: bool = True

    def __post_init__(self) -> None:
        outputs, inputs = self.weight_shape
        rows, cols = self.pattern.rows, self.pattern.cols
        if rows % PACKED_LANES or cols % CHANNEL_UNIT or outputs % rows or inputs % cols:
            raise UnsupportedError(
                f"layer '{self.name}': training expects whole blocks of a multiple of {PACKED_LANES} "
                f"outputs and of {CHANNEL_UNIT} inputs, got {self.pattern} for {self.weight_shape}"
            )
        counts = [set(self.present.sum(axis).tolist()) for axis in (0, 1)]
        if self.present.shape != (outputs // rows, inputs // cols) or max(map(len, counts)) > 1:
            raise UnsupportedError(
                f"layer '{self.name}': training expects equally many present blocks in every row, and "
                f"in every column, of {outputs // rows} x {inputs // cols}, got {self.present!r}"
            )

    @property
    def outputs(self) -> int:
        return self.weight_shape[0]

    @property
    def tokens(self) -> int:
        """Rows of the result."""
        return self.rows

    def forward(self, script: Script, source: str) -> str:
        """Add FF; returns the tensor of the result."""
        roles = {"left": source, "right": f"{self.name}.ff", "result": self._activation.sums}
        script.run(product(self._gemm("ff"), script.config, self._tensor("ff")), roles)
        self._activation.forward(script)
        return self._activation.output

    def backward(
        self, script: Script, source: str, output_gradient: str, *, wanted: bool
    ) -> str | None:
        """Add WU, the bias gradient and, where it is `wanted`, BP; returns its result's tensor."""
        dy = self._activation.backward(script, output_gradient)
        roles = {"left": source, "right": dy, "result": f"{self._weight}.gradient"}
        script.run(self._weight_gradient(script.config), roles)
        if not wanted:
            return None
        result = f"{self.name}.input.gradient"
        roles = {"left": dy, "right": f"{self.name}.bp", "result": result}
        script.run(product(self._gemm("bp"), script.config, self._tensor("bp")), roles)
        return result

    def update(self, script: Script, optimizer: Sgd, *, with_bp: bool) -> None:
        """Add UPDATE, which writes the FF image, and the transposed blocks of the BP image."""
        rows = len(self._blocks) * self.pattern.cols
        pass_ = update_pass(
            (self.pattern.rows, rows), 1, Dense(), None, script.config, optimizer=optimizer
        )
        roles = masters(self._weight) | {"ff_values": f"{self.name}.ff"}
        script.run(pass_operation(pass_), roles)
        if with_bp:
            self._transpose(script)
        self._activation.update(script, optimizer)

    def initial(
        self, weight: Array, config: AcceleratorConfig, *, with_bp: bool
    ) -> dict[str, Array]:
        """Master and images before the first step. weight: (out, in), used where present."""
        blocks = self._split(weight.astype(np.float32))
        images = {"ff": blocks, "bp": blocks[self._bp_order].swapaxes(1, 2)}
        tensors = {self._weight: blocks}
        for copy in ("ff", "bp") if with_bp else ("ff",):
            table = self._table(copy, config)
            tensors[f"{self.name}.{copy}"] = _image(images[copy], table)
        return tensors

    def weight(self, stored: Array) -> Array:
        """(out, in) with zeros where absent, from the blocks as they lie in DRAM."""
        rows, cols = self.pattern.rows, self.pattern.cols
        blocks = stored[: len(self._blocks) * rows * cols].reshape(-1, cols, rows)
        weight = np.zeros(self.weight_shape, np.float32)
        for (row, column), block in zip(self._blocks, blocks, strict=True):
            weight[row * rows : (row + 1) * rows, column * cols : (column + 1) * cols] = block.T
        return weight

    @property
    def _weight(self) -> str:
        return f"{self.name}.weight"

    @property
    def _activation(self) -> Activation:
        return Activation(self.name, self.tokens, self.outputs, self.bias, self.relu)

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """(row, column) of the present blocks in the order of the FF image."""
        return [(int(row), int(column)) for row, column in np.argwhere(self.present)]

    @cached_property
    def _bp_order(self) -> list[int]:
        """Numbers of the blocks in the order of the BP image: column of blocks after column."""
        numbers = range(len(self._blocks))
        return sorted(numbers, key=lambda number: self._blocks[number][::-1])

    def _split(self, weight: Array) -> Array:
        """The present blocks, (blocks, inputs, outputs)."""
        rows, cols = self.pattern.rows, self.pattern.cols
        grid = weight.reshape(-1, rows, weight.shape[1] // cols, cols)
        return np.stack([grid[row, :, column].T for row, column in self._blocks])

    def _gemm(self, copy: str) -> Gemm:
        outputs, inputs = self.weight_shape
        forward = matrix_product(self.name, self._weight, self.rows, inputs, outputs)
        gemm = forward if copy == "ff" else gradient(forward, Side.LHS, self._weight)
        return replace(gemm, rhs=Operand(self._weight, self._pattern(copy)))

    def _pattern(self, copy: str) -> Block:
        rows, cols = self.pattern.rows, self.pattern.cols
        lanes, channels = (rows, cols) if copy == "ff" else (cols, rows)
        return Block(lanes, channels, float(self.present.mean()))

    def _tensor(self, copy: str) -> BlockTensor:
        """The structure of an image: its values are ones."""
        rows, cols = self.pattern.rows, self.pattern.cols
        ones = np.kron(self.present, np.ones((rows, cols), np.float32))
        tensor = pack(ones, self._pattern(copy), axis=1 if copy == "ff" else 0)
        assert isinstance(tensor, BlockTensor)
        return tensor

    def _table(self, copy: str, config: AcceleratorConfig) -> Array:
        """The segment tables of all block rows, as they lie behind the values."""
        gemm, tensor = self._gemm(copy), self._tensor(copy)
        (run,) = block_runs(gemm, tensor, block_segment(gemm, tensor.pattern, config))
        return pad_axis(run.table, 1, DRAM_ALIGNMENT_BYTES // BLOCK_INDEX_BYTES)

    def _weight_gradient(self, config: AcceleratorConfig) -> Operation:
        """DW of every present block: its inputs' columns of x and its outputs' of dY."""
        outputs, inputs = self.weight_shape
        forward = matrix_product(self.name, None, self.rows, self.pattern.cols, self.pattern.rows)
        gemm = gradient(forward, Side.RHS, self._weight)
        one = gemm_nests(gemm, config)
        starts = {"left": int(one[0]["act"]), "right": int(one[0]["wgt"])}
        starts["result"] = int(one[0]["out"])
        nests = np.concatenate(
            [self._block_nest(one, number) for number in range(len(self._blocks))]
        )
        sizes = {
            "left": self.rows * pixel_bytes(inputs),
            "right": self.rows * pixel_bytes(outputs),
            "result": len(self._blocks) * self._block_values * ACCUMULATOR_BYTES,
        }
        return of_nests(f"WU {self.name}", nests, starts, sizes, config)

    @property
    def _block_values(self) -> int:
        return self.pattern.rows * self.pattern.cols

    def _block_nest(self, one: Nests, number: int) -> Nests:
        """The nest of one block, from that of a product of its size by itself."""
        outputs, inputs = self.weight_shape
        row, column = self._blocks[number]
        nest = one.copy()
        nest["act_pixel"] = nest["act_row"] = pixel_bytes(inputs)
        nest["act_image"] = self.rows * pixel_bytes(inputs)
        nest["wgt_entry"] = pixel_bytes(outputs)
        nest["act"] += column * self.pattern.cols * VALUE_BYTES
        nest["wgt"] += row * self.pattern.rows * VALUE_BYTES
        nest["out"] += number * self._block_values * ACCUMULATOR_BYTES
        return nest

    def _transpose(self, script: Script) -> None:
        """The BP image from the FF image, block by block."""
        one = transpose_pass(self.pattern.cols, self.pattern.rows, script.config)
        operation, size = pass_operation(one), self._block_values * VALUE_BYTES
        for position, number in enumerate(self._bp_order):
            source = Part(f"{self.name}.ff", number * size)
            result = Part(f"{self.name}.bp", position * size)
            script.run(operation, {"half": source, "bp_values": result})


def _image(blocks: Array, table: Array) -> Array:
    """Values and tables as the bytes of one tensor."""
    halves = np.ascontiguousarray(blocks.astype(np.float16))
    return np.concatenate([halves.reshape(-1).view(np.uint8), table.reshape(-1).view(np.uint8)])
