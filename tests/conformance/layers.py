"""Products of layers with operands, and what they must give: NumPy in the canonical order.

FF and BP come from kernels.reference; WU and the pruned gradient (SDGP) are worked out here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cosparse.spec import NM, Dense, Gemm, Operand, Phase, pack, products
from cosparse.spec.products import Side
from kernels import reference

WEIGHT = "layer.weight"

UNIT_ROUNDOFF = 2.0**-24

DENSE = Dense()


@dataclass(frozen=True)
class Case:
    """A GEMM with its operands, in the shapes of hwsim.compile.images.

    product: (left, right, dtype of the sums) to the exact result's array in canonical order.
    """

    gemm: Gemm
    left: np.ndarray
    right: object
    product: Callable
    flat: bool = False

    def bits(self) -> np.ndarray:
        """What the accelerator must leave in memory."""
        sums = self.product(self.left, self.right, np.float32)
        if self.gemm.phase is Phase.WU:
            return sums
        with np.errstate(over="ignore"):
            return sums.astype(np.float16)

    def within_bound(self, result: np.ndarray) -> bool:
        """|error| <= gamma_k sum |left x right| against float64, and half a unit of FP16."""
        exact = self.product(self.left, self.right, np.float64)
        terms = self.product(np.abs(self.left), magnitudes(self.right), np.float64)
        gamma = self.gemm.k * UNIT_ROUNDOFF / (1 - self.gemm.k * UNIT_ROUNDOFF)
        allowed = gamma * terms
        if result.dtype == np.float16:
            allowed = allowed + (np.abs(exact) + allowed) * 2.0**-11 + 2.0**-25
        return bool((np.abs(result - exact) <= allowed).all())


def magnitudes(operand: object) -> object:
    """The operand without signs."""
    if isinstance(operand, np.ndarray):
        return np.abs(operand)
    return replace(operand, values=np.abs(operand.values))


def linear(
    rng: np.random.Generator,
    phase: Phase,
    tokens: int,
    inputs: int,
    outputs: int,
    pattern=DENSE,
    groups: int = 1,
) -> Case:
    """A layer of inputs and outputs in each of `groups` diagonal blocks."""
    forward = products.matrix_product("linear", WEIGHT, tokens, inputs, outputs)
    forward = replace(forward, groups=groups, macs=-1)
    gemm = _of_phase(forward, phase, pattern)
    x = _halves(rng, (tokens, groups * inputs))
    dy = _halves(rng, (tokens, groups * outputs))
    if phase is Phase.WU:
        return Case(gemm, x, dy, lambda x, dy, dtype: _token_sums(x, dy, groups, dtype))
    weight = _weight(rng, (groups * outputs, inputs), phase, pattern, groups)

    def product(left, right, dtype):
        return reference.matmul(_packed(right, phase, groups), left, accumulate=dtype)

    return Case(gemm, x if phase is Phase.FF else dy, weight, product)


def conv(
    rng: np.random.Generator,
    phase: Phase,
    images: int,
    hw: tuple[int, int],
    inputs: int,
    outputs: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    pattern=DENSE,
    groups: int = 1,
) -> Case:
    """A convolution of inputs and outputs in each of `groups` conv groups."""
    geometry = products.conv_geometry(images, hw, kernel, stride, padding, dilation)
    shape = (groups * outputs, inputs, *kernel)
    gemm = _of_phase(products.convolution("conv", WEIGHT, geometry, shape, groups), phase, pattern)
    x = _halves(rng, (images, groups * inputs, *hw))
    dy = _halves(rng, (images, groups * outputs, *geometry.out_hw))
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    if phase is Phase.WU:
        return Case(gemm, x, dy, lambda x, dy, dtype: _conv_sums(x, dy, geometry, groups, dtype))
    weight = _weight(rng, shape, phase, pattern, groups)

    def product(left, right, dtype):
        packed = _packed(right, phase, groups)
        if phase is Phase.FF:
            return reference.conv2d(packed, left, **steps, accumulate=dtype)
        return reference.conv2d_input_gradient(packed, left, hw, **steps, accumulate=dtype)

    return Case(gemm, x if phase is Phase.FF else dy, weight, product)


def batched(rng: np.random.Generator, phase: Phase, batch: int, m: int, k: int, n: int) -> Case:
    """`batch` products of activations; of phase WU the left operand is (k, m)."""
    operand = Operand("x")
    gemm = Gemm("batched", phase, m, k, n, operand, operand, batch=batch)
    left = _halves(rng, (batch, k, m) if phase is Phase.WU else (batch, m, k))

    def product(left, right, dtype):
        if phase is Phase.WU:
            pairs = zip(left, right, strict=True)
            return np.stack([_token_sums(x, dy, 1, dtype).T for x, dy in pairs])
        pairs = ((x, pack(y.T, NM(1, 1), axis=1)) for x, y in zip(left, right, strict=True))
        return np.stack([reference.matmul(y, x, accumulate=dtype) for x, y in pairs])

    return Case(gemm, left, _halves(rng, (batch, k, n)), product)


def pruned_linear(
    rng: np.random.Generator, tokens: int, inputs: int, outputs: int, pattern: NM
) -> Case:
    """BP of a linear layer whose output gradient is pruned."""
    case = linear(rng, Phase.BP, tokens, inputs, outputs)
    gemm = replace(case.gemm, lhs=Operand("dy", pattern))

    def product(dy, weight, dtype):
        packed = pack(dy, pattern, axis=1)
        return reference.matmul(packed, weight.T, accumulate=dtype).T

    return Case(gemm, case.left, case.right, product)


def pruned_conv(rng: np.random.Generator, *, pattern: NM, **sizes) -> Case:
    """BP of a convolution whose output gradient is pruned along its channels at every pixel."""
    case = conv(rng, Phase.BP, **sizes)
    geometry, channels = case.gemm.conv, case.gemm.channels

    def product(dy, weight, dtype):
        panel, _ = reference.transposed_im2col(dy, geometry, 1)
        pixels = panel.reshape(*geometry.kernel, channels, -1).transpose(3, 2, 0, 1)
        packed = pack(np.ascontiguousarray(pixels), pattern, axis=1)
        rows = weight.transpose(2, 3, 0, 1).reshape(-1, weight.shape[1])
        sums = reference.multiply_panel(packed, rows, accumulate=dtype)
        return sums.T.reshape(-1, geometry.batch, *geometry.in_hw).swapaxes(0, 1)

    return Case(replace(case.gemm, lhs=Operand("dy", pattern)), case.left, case.right, product)


def flat(case: Case) -> Case:
    """The same convolution with its im2col matrix in memory."""
    return replace(case, flat=True)


def _of_phase(forward: Gemm, phase: Phase, pattern) -> Gemm:
    if phase is Phase.FF:
        gemm = forward
    else:
        side = Side.LHS if phase is Phase.BP else Side.RHS
        gemm = products.gradient(forward, side, WEIGHT)
    return replace(gemm, rhs=replace(gemm.rhs, pattern=pattern))


def _halves(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """FP16 of mixed sizes, some of them +0 and -0."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-4, 2, shape))
    values[rng.random(shape) < 0.05] = 0
    values[rng.random(shape) < 0.02] = -0.0
    return values.astype(np.float16)


def _weight(rng: np.random.Generator, shape, phase: Phase, pattern, groups: int):
    """FP16 array, packed for the phase where it has a pattern."""
    array = _halves(rng, shape)
    if isinstance(pattern, Dense):
        return array
    return pack(array, pattern, axis=_axis(phase), conv_groups=groups)


def _packed(weight, phase: Phase, groups: int):
    if not isinstance(weight, np.ndarray):
        return weight
    return pack(weight, NM(1, 1), axis=_axis(phase), conv_groups=groups)


def _axis(phase: Phase) -> int:
    return 1 if phase is Phase.FF else 0


def _token_sums(x: np.ndarray, dy: np.ndarray, groups: int, dtype) -> np.ndarray:
    """DW of each group, token after token. x, dy: (tokens, groups * channels)."""
    tokens = len(x)
    left = x.reshape(tokens, groups, 1, -1).astype(dtype)
    right = dy.reshape(tokens, groups, -1, 1).astype(dtype)
    total = np.zeros((groups, right.shape[2], left.shape[3]), dtype)
    for token in range(tokens):
        total += left[token] * right[token]
    return total.reshape(-1, total.shape[2])


def _conv_sums(x: np.ndarray, dy: np.ndarray, geometry, groups: int, dtype) -> np.ndarray:
    """DW of a convolution, output pixel after output pixel."""
    columns = reference.im2col(x, geometry, groups)
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, dy.shape[1])
    sums = _token_sums(columns.T, rows, groups, dtype)
    return np.moveaxis(sums.reshape(len(sums), *geometry.kernel, -1), -1, 1)
