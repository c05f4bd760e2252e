import numpy as np
import pytest

from cosparse.spec import pack, parse_pattern
from kernels import reference

from .conformance import FLOAT64_ROUNDOFF, KernelConformance, activations, weights


class TestReference(KernelConformance):
    backend = reference
    roundoff = FLOAT64_ROUNDOFF


def scalar_product(packed, x):
    """One output at a time in float32: tap, group, entry ascending, from +0 (design section 3)."""
    matrix, mask = packed.to_matrices()
    matrix, mask = matrix[0, 0], mask[0, 0]
    y = np.zeros((len(x), len(matrix)), np.float32)
    for token, lane in np.ndindex(*y.shape):
        for k in np.flatnonzero(mask[lane]):
            y[token, lane] = y[token, lane] + matrix[lane, k] * x[token, k]
    return y


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("pattern", ["2:8", "4:2:8", "block 4x3 @ 0.5", "unstructured @ 0.3"])
def test_float32_accumulation_is_the_canonical_order(pattern, axis):
    packed = pack(weights((19, 21)), parse_pattern(pattern), axis=axis)
    x = activations((3, packed.shape[axis])).astype(np.float16).astype(np.float32)
    got = reference.matmul(packed, x, accumulate=np.float32)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, scalar_product(packed, x))


def test_an_input_gradient_tap_without_an_output_pixel_adds_nothing():
    weight = np.full((2, 2, 3, 3), np.inf)
    packed = pack(weight, parse_pattern("2:2"), axis=0)
    dx = reference.conv2d_input_gradient(packed, np.ones((1, 2, 3, 3)), (5, 5), stride=2, padding=1)
    assert np.isposinf(dx).all()
