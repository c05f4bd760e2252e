"""The cases that every backend passes. A subclass names its backend and its unit roundoff.

Expected values come from NumPy float64 on the unpacked weight and its mask, and from PyTorch float64
for convolutions. Tolerance: a sum of n products in any order with unit roundoff u differs from the
exact one by at most gamma_{n+1} * sum |w x|, gamma_n = n u / (1 - n u) (Higham 2002, section 3.1; one
more for rounding the result), plus n smallest subnormals where products underflow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from cosparse.spec import PackedTensor, ShapeError, UnsupportedError, pack, parse_pattern
from kernels import reference

FLOAT32_ROUNDOFF = 2.0**-24
FLOAT64_ROUNDOFF = 2.0**-53

PATTERNS = (
    "2:4",
    "2:8",
    "1:8",
    "4:8",
    "2:16",
    "1:32",
    "16:2:8",
    "4:2:4",
    "3:2:8",
    "block 4x1 @ 0.3",
    "block 16x16 @ 0.3",
    "block 3x5 @ 0.3",
    "unstructured @ 0.2",
)
SHAPES = ((48, 64), (33, 37), (50, 129))
TOKENS = (1, 2, 3, 8, 15, 16, 33, 150)
DTYPES = ("float16", "bfloat16", "float32", "int8")


@dataclass(frozen=True)
class ConvCase:
    """One convolution; weights (out, inputs / groups, *kernel), images (batch, inputs, *in_hw)."""

    batch: int
    inputs: int
    out: int
    kernel: tuple[int, int]
    in_hw: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def geometry(self) -> dict[str, tuple[int, int]]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out, self.inputs // self.groups, *self.kernel)


CONVS = {
    "1x1": ConvCase(2, 16, 24, (1, 1), (5, 6)),
    "3x3 same": ConvCase(2, 16, 18, (3, 3), (7, 6), padding=(1, 1)),
    "stride 2": ConvCase(1, 17, 16, (3, 3), (9, 8), stride=(2, 2), padding=(1, 1)),
    "stride 2 of many pixels": ConvCase(3, 16, 16, (3, 3), (15, 22), stride=(2, 2), padding=(1, 1)),
    "stride beyond the kernel": ConvCase(1, 16, 16, (1, 1), (7, 7), stride=(3, 2)),
    "dilated": ConvCase(1, 16, 16, (3, 2), (9, 8), padding=(2, 1), dilation=(2, 3)),
    "groups": ConvCase(2, 32, 36, (3, 3), (6, 5), stride=(1, 2), padding=(1, 0), groups=2),
    "more than one strip": ConvCase(3, 16, 16, (3, 3), (12, 11), padding=(1, 1)),
    "more than one k tile": ConvCase(2, 48, 20, (3, 3), (4, 18), padding=(1, 1)),
    "padding beyond the image": ConvCase(2, 16, 8, (3, 3), (2, 3), padding=(3, 4)),
    "stride 3": ConvCase(1, 16, 16, (2, 4), (5, 41), stride=(1, 3), padding=(0, 2)),
    "stride of few pixels": ConvCase(2, 16, 16, (2, 2), (5, 40), stride=(2, 9), padding=(1, 0)),
}
CONV_PATTERNS = ("2:8", "8:2:8", "block 4x4 @ 0.3", "unstructured @ 0.2")


def summation_bound(terms: int, magnitudes: Any, roundoff: float) -> Any:
    """gamma_{n+1} * sum |w x| + n smallest subnormals; magnitudes: sum |w x|."""
    gamma = (terms + 1) * roundoff / (1 - (terms + 1) * roundoff)
    return gamma * magnitudes + terms * 2.0**-149


def weights(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def activations(shape: tuple[int, ...], seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def present_products(packed: PackedTensor, x: Any) -> Any:
    """Brute force over present entries only, with NaN and infinity. Returns (tokens, lanes)."""
    rows = (packed.unpack(), packed.mask())
    dense, mask = (part if packed.axis == 1 else part.T for part in rows)
    with np.errstate(all="ignore"):
        products = dense[None].astype(np.float64) * x[:, None, :].astype(np.float64)
        return np.where(mask[None], products, 0).sum(axis=-1)


def as_torch(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float64))


class KernelConformance:
    """Subclass in `test_<backend>.py`; the products are those of `kernels`."""

    backend: Any
    """An object with matmul, weight_gradient, conv2d and its two gradients."""
    roundoff: float = FLOAT32_ROUNDOFF

    def check(self, got: Any, expected: Any, magnitudes: Any, terms: int) -> None:
        """Within the summation bound of the module's text."""
        assert got.shape == expected.shape
        excess = np.abs(got - expected) - summation_bound(terms, magnitudes, self.roundoff)
        assert excess.max(initial=-1.0) <= 0

    def check_product(self, packed: PackedTensor, x: Any) -> None:
        dense = packed.unpack().astype(np.float64)
        matrix = dense if packed.axis == 1 else dense.T
        wide = x.astype(np.float64)
        magnitudes = np.abs(wide) @ np.abs(matrix.T)
        got = self.backend.matmul(packed, x)
        self.check(got, wide @ matrix.T, magnitudes, matrix.shape[1])

    @pytest.mark.parametrize("axis", [1, 0], ids=["FF", "BP"])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_every_pattern(self, pattern: str, shape: tuple[int, int], axis: int) -> None:
        packed = pack(weights(shape), parse_pattern(pattern), axis=axis)
        self.check_product(packed, activations((20, shape[axis])))

    @pytest.mark.parametrize("tokens", TOKENS)
    @pytest.mark.parametrize("pattern", ["2:8", "16:2:8", "block 16x16 @ 0.3"])
    def test_every_token_count(self, pattern: str, tokens: int) -> None:
        packed = pack(weights((48, 64)), parse_pattern(pattern), axis=1)
        self.check_product(packed, activations((tokens, 64)))

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("pattern", ["2:8", "16:2:8", "block 4x4 @ 0.3", "unstructured @ 0.2"])
    def test_every_stored_dtype(self, pattern: str, dtype: str) -> None:
        for axis in (0, 1):
            packed = pack(weights((40, 36)), parse_pattern(pattern), axis=axis, dtype=dtype)
            self.check_product(packed, activations((9, packed.shape[axis])))

    def test_bitmap(self) -> None:
        pattern = parse_pattern("unstructured @ 0.2")
        packed = pack(weights((33, 37)), pattern, axis=1, format="bitmap")
        self.check_product(packed, activations((5, 37)))

    @pytest.mark.parametrize("shape", [(0, 16), (16, 0), (0, 0)], ids=str)
    @pytest.mark.parametrize("pattern", ["2:8", "8:2:8"])
    def test_empty_weights(self, pattern: str, shape: tuple[int, int]) -> None:
        packed = pack(np.zeros(shape), parse_pattern(pattern), axis=1)
        got = self.backend.matmul(packed, activations((3, shape[1])))
        assert got.shape == (3, shape[0])
        assert not got.any()

    def test_no_tokens(self) -> None:
        packed = pack(weights((16, 24)), parse_pattern("2:8"), axis=1)
        assert self.backend.matmul(packed, activations((0, 24))).shape == (0, 16)

    @pytest.mark.parametrize("tokens", [1, 20])
    @pytest.mark.parametrize("pattern", ["2:8", "4:2:8", "block 4x4 @ 0.3", "unstructured @ 0.2"])
    def test_infinity_and_nan_reach_present_weights_only(self, pattern: str, tokens: int) -> None:
        dense = weights((24, 40))
        dense[::5] = 0.0  # entries that are present and zero: 0 * inf is NaN
        packed = pack(dense, parse_pattern(pattern), axis=1)
        x = activations((tokens, 40))
        x[0, 3], x[0, 17], x[-1, 30] = np.inf, np.nan, -np.inf
        expected = present_products(packed, x)
        got = self.backend.matmul(packed, x)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(got[~finite], expected[~finite])
        assert np.isfinite(got[finite]).all()

    def test_infinite_weights(self) -> None:
        dense = weights((16, 16))
        dense[2, 3], dense[5, 9] = np.inf, -np.inf
        packed = pack(dense, parse_pattern("2:8"), axis=1)
        x = activations((4, 16))
        got, expected = self.backend.matmul(packed, x), present_products(packed, x)
        np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
        np.testing.assert_array_equal(got[np.isinf(got)], expected[np.isinf(got)])

    @pytest.mark.parametrize("pattern", CONV_PATTERNS)
    def test_groups_of_rows_with_columns_of_their_own(self, pattern: str) -> None:
        packed = pack(weights((36, 24)), parse_pattern(pattern), axis=1, conv_groups=2)
        x, dense = activations((20, 48)), packed.unpack().astype(np.float64)
        parts = [(x[:, 24 * i : 24 * i + 24], dense[18 * i : 18 * i + 18].T) for i in (0, 1)]
        expected = np.hstack([part @ rows for part, rows in parts])
        magnitudes = np.hstack([np.abs(part) @ np.abs(rows) for part, rows in parts])
        self.check(self.backend.matmul(packed, x), expected, magnitudes, 24)

    def test_weight_gradient(self) -> None:
        dy, x = activations((33, 20), seed=3), activations((33, 27), seed=4)
        wide_dy, wide_x = dy.astype(np.float64), x.astype(np.float64)
        got = self.backend.weight_gradient(dy, x)
        self.check(got, wide_dy.T @ wide_x, np.abs(wide_dy.T) @ np.abs(wide_x), len(x))

    @pytest.mark.parametrize("pattern", CONV_PATTERNS)
    @pytest.mark.parametrize("name", CONVS)
    def test_conv2d(self, name: str, pattern: str) -> None:
        case = CONVS[name]
        packed = self.packed_conv(case, pattern, axis=1)
        x = activations((case.batch, case.inputs, *case.in_hw))
        got = self.backend.conv2d(packed, x, **case.geometry)
        expected, magnitudes = (
            torch.nn.functional.conv2d(image, weight, groups=case.groups, **case.geometry).numpy()
            for image, weight in self.with_magnitudes(x, packed.unpack())
        )
        self.check(got, expected, magnitudes, packed.layout.taps * packed.layout.reduction)

    @pytest.mark.parametrize("pattern", CONV_PATTERNS)
    @pytest.mark.parametrize("name", CONVS)
    def test_conv2d_input_gradient(self, name: str, pattern: str) -> None:
        case = CONVS[name]
        packed = self.packed_conv(case, pattern, axis=0)
        dy = activations(self.out_shape(case))
        got = self.backend.conv2d_input_gradient(packed, dy, case.in_hw, **case.geometry)
        size = (case.batch, case.inputs, *case.in_hw)
        expected, magnitudes = (
            torch.nn.grad.conv2d_input(size, w, g, groups=case.groups, **case.geometry).numpy()
            for g, w in self.with_magnitudes(dy, packed.unpack())
        )
        self.check(got, expected, magnitudes, packed.layout.taps * packed.layout.reduction)

    @pytest.mark.parametrize("name", CONVS)
    def test_conv2d_weight_gradient(self, name: str) -> None:
        case = CONVS[name]
        x = activations((case.batch, case.inputs, *case.in_hw))
        dy = activations(self.out_shape(case), seed=5)
        got = self.backend.conv2d_weight_gradient(
            dy, x, case.kernel, conv_groups=case.groups, **case.geometry
        )
        expected, magnitudes = (
            torch.nn.grad.conv2d_weight(
                image, case.weight_shape, gradient, groups=case.groups, **case.geometry
            ).numpy()
            for image, gradient in self.with_magnitudes(x, dy)
        )
        self.check(got, expected, magnitudes, dy.size // dy.shape[1])

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("pattern", CONV_PATTERNS)
    def test_infinity_and_nan_of_images_reach_present_weights_only(
        self, pattern: str, stride: int
    ) -> None:
        case = ConvCase(
            2, 16, 32, (3, 3), (7, 9), (stride, stride), (1, 1)
        )  # more than whole squares
        for axis, function in ((1, "conv2d"), (0, "conv2d_input_gradient")):
            packed = self.packed_conv(case, pattern, axis)
            shape = (case.batch, case.inputs, *case.in_hw) if axis else self.out_shape(case)
            sizes = () if axis else (case.in_hw,)
            x = activations(shape)
            x[0, 3, 0, 0], x[1, 9, -1, -1], x[0, 7, 2, 3] = np.inf, -np.inf, np.nan
            spread = np.repeat(x, 2, axis=3)[:, :, :, ::2]
            last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            for given in (spread, last):
                run = getattr(self.backend, function)
                got = run(packed, given, *sizes, **case.geometry)
                np.testing.assert_array_equal(given, x)
                np.testing.assert_array_equal(got, run(packed, x, *sizes, **case.geometry))
            with np.errstate(invalid="ignore"):
                expected = getattr(reference, function)(packed, x, *sizes, **case.geometry)
            finite = np.isfinite(expected)
            assert not finite.all()
            np.testing.assert_array_equal(got[~finite], expected[~finite])
            assert np.isfinite(got[finite]).all()

    def test_wrong_activations_are_refused(self) -> None:
        packed = pack(weights((16, 24)), parse_pattern("2:8"), axis=1)
        with pytest.raises(ShapeError, match=r"tokens, 24.*\(4, 25\)"):
            self.backend.matmul(packed, activations((4, 25)))

    def test_the_other_phases_copy_is_refused(self) -> None:
        packed = pack(weights((16, 16, 3, 3)), parse_pattern("2:8"), axis=0)
        with pytest.raises(UnsupportedError, match=r"needs the FF copy \(axis 1\)"):
            self.backend.conv2d(packed, activations((1, 16, 5, 5)))

    @staticmethod
    def packed_conv(case: ConvCase, pattern: str, axis: int) -> PackedTensor:
        weight = weights(case.weight_shape)
        return pack(weight, parse_pattern(pattern), axis=axis, conv_groups=case.groups)

    @staticmethod
    def out_shape(case: ConvCase) -> tuple[int, ...]:
        x = torch.empty(case.batch, case.inputs, *case.in_hw, device="meta")
        w = torch.empty(case.weight_shape, device="meta")
        y = torch.nn.functional.conv2d(x, w, groups=case.groups, **case.geometry)
        return tuple(y.shape)

    @staticmethod
    def with_magnitudes(*arrays: Any) -> tuple[tuple[torch.Tensor, ...], ...]:
        """The operands in float64, and their absolute values (whose product is sum |w x|)."""
        wide = tuple(as_torch(array) for array in arrays)
        return wide, tuple(operand.abs() for operand in wide)
