"""A linear layer or convolution, dense or N:M."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cosparse.spec import NM, ConvGeometry, Dense, Gemm, Operand, Pattern, UnsupportedError, pack
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout
from cosparse.spec.patterns import pad_axis, padded
from cosparse.spec.products import Side, convolution, gradient, matrix_product
from hwsim.compile.operation import pass_operation, product
from hwsim.compile.passes import update_pass
from hwsim.compile.weights import CHANNEL_UNIT, Sgd
from hwsim.config import AcceleratorConfig
from hwsim.constants import PACKED_LANES

from .activation import Activation, masters
from .script import Script

_PLANES = ("values", "indices")
_AXES = {"ff": 1, "bp": 0}


@dataclass(frozen=True)
class Affine:
    """y = relu(x W^T + b), with bias and ReLU where they are asked for.

    rows: tokens of the batch; of a convolution `conv` says it. weight_shape: (out, in, *kernel).
    ff, bp: patterns of the weight in FF and BP.
    """

    name: str
    weight_shape: tuple[int, ...]
    rows: int
    ff: Pattern = Dense()
    bp: Pattern = Dense()
    bias: bool = True
    relu: bool = True
    conv: ConvGeometry | None = None

    def __post_init__(self) -> None:
        for phase, pattern in (("FF", self.ff), ("BP", self.bp)):
            if not isinstance(pattern, Dense | NM):
                raise UnsupportedError(
                    f"layer '{self.name}', {phase}: training packs dense and N:M, got {pattern}"
                )

    @property
    def outputs(self) -> int:
        return self.weight_shape[0]

    @property
    def tokens(self) -> int:
        """Rows of the result."""
        return self._forward.m

    def forward(self, script: Script, source: str) -> str:
        """Add FF; returns the tensor of the result."""
        gemm = replace(self._forward, rhs=Operand(self._weight, self.ff))
        roles = {"left": source, "result": self._activation.sums}
        script.run(product(gemm, script.config), roles | self._copy("ff"))
        self._activation.forward(script)
        return self._activation.output

    def backward(
        self, script: Script, source: str, output_gradient: str, *, wanted: bool
    ) -> str | None:
        """Add WU, the bias gradient and, where it is `wanted`, BP; returns its result's tensor.

        output_gradient: of the result, FP16, times the loss scale.
        """
        dy = self._activation.backward(script, output_gradient)
        wu = gradient(self._forward, Side.RHS, self._weight)
        roles = {"left": source, "right": dy, "result": f"{self._weight}.gradient"}
        script.run(product(wu, script.config), roles)
        if not wanted:
            return None
        bp = gradient(self._forward, Side.LHS, self._weight)
        bp = replace(bp, rhs=Operand(self._weight, self.bp))
        roles = {"left": dy, "result": f"{self.name}.input.gradient"}
        script.run(product(bp, script.config), roles | self._copy("bp"))
        return f"{self.name}.input.gradient"

    def update(self, script: Script, optimizer: Sgd, *, with_bp: bool) -> None:
        """Add UPDATE of weight and bias, and the packed copies."""
        bp = self.bp if with_bp else None
        pass_ = update_pass(self.weight_shape, 1, self.ff, bp, script.config, optimizer=optimizer)
        roles = masters(self._weight) | {"half": f"{self.name}.half"}
        for copy in _AXES:
            roles |= {f"{copy}_{plane}": f"{self.name}.{copy}.{plane}" for plane in _PLANES}
        script.run(pass_operation(pass_), roles)
        self._activation.update(script, optimizer)

    def initial(
        self, weight: Array, config: AcceleratorConfig, *, with_bp: bool
    ) -> dict[str, Array]:
        """Master and copies before the first step. weight: FP32, in the framework's shape."""
        tensors = {self._weight: _masters(weight)}
        for copy in ("ff", "bp") if with_bp else ("ff",):
            for plane, array in _planes(weight, getattr(self, copy), _AXES[copy]).items():
                tensors[f"{self.name}.{copy}.{plane}"] = array
        return tensors

    def weight(self, stored: Array) -> Array:
        """A master, momentum or gradient in the framework's shape, from FP32 as it lies in DRAM."""
        layout = Layout(self.weight_shape, 1)
        columns = padded(layout.lanes, CHANNEL_UNIT)
        shape = (1, layout.taps, layout.reduction, columns)
        matrices = stored[: int(np.prod(shape))].reshape(shape)[..., : layout.lanes]
        return layout.from_matrices(matrices.swapaxes(2, 3))

    @property
    def _weight(self) -> str:
        return f"{self.name}.weight"

    @property
    def _activation(self) -> Activation:
        return Activation(self.name, self.tokens, self.outputs, self.bias, self.relu)

    @cached_property
    def _forward(self) -> Gemm:
        if self.conv is not None:
            return convolution(self.name, self._weight, self.conv, self.weight_shape, 1)
        outputs, inputs = self.weight_shape
        return matrix_product(self.name, self._weight, self.rows, inputs, outputs)

    def _copy(self, copy: str) -> dict[str, str]:
        """The tensors of a packed weight by the roles of a product."""
        return {"right": f"{self.name}.{copy}.values", "indices": f"{self.name}.{copy}.indices"}


def _masters(weight: Array) -> Array:
    """[tap][input][output padded to 8], FP32."""
    matrices = Layout(weight.shape, 1).to_matrices(weight.astype(np.float32))
    return pad_axis(np.ascontiguousarray(matrices.swapaxes(2, 3)), -1, CHANNEL_UNIT)


def _planes(weight: Array, pattern: Pattern, axis: int) -> Mapping[str, Array]:
    """A packed copy, or the dense one [tap][entry][lane padded to 32]."""
    if isinstance(pattern, NM):
        image = pack(weight, pattern, axis=axis)
        return {plane: getattr(image, plane) for plane in _PLANES}
    matrices = Layout(weight.shape, axis).to_matrices(weight.astype(np.float16))
    entries = np.ascontiguousarray(matrices.swapaxes(2, 3))
    return {"values": pad_axis(entries, -1, PACKED_LANES)}
