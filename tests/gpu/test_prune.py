"""Selection and packing on the device against cosparse.spec.pack, bit for bit."""

import numpy as np
import pytest
import torch

from cosparse.spec import NM, ShapeError, UnsupportedError, pack
from kernels.gpu.prepare import prepare
from kernels.gpu.prune_nm import prune_nm

from .products import NAMES

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PATTERNS = ("1:8", "2:8", "2:4", "8:16", "1:2")
MORE_PATTERNS = (*PATTERNS, "2:16", "1:16", "4:8", "8:8")


def master(shape, dtype, seed=0):
    """Random values with ties, both zeros, infinities and NaN."""
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal(shape)
    ties = generator.random(shape)
    weight = np.where(ties < 0.3, np.round(weight), weight)
    for value, share in (
        (0.0, 0.31),
        (-0.0, 0.32),
        (np.inf, 0.325),
        (-np.inf, 0.33),
        (np.nan, 0.34),
    ):
        weight = np.where((ties > share - 0.012) & (ties < share), value, weight)
    return torch.from_numpy(weight).to(dtype)


def bits(plane):
    return plane.view({2: torch.int16, 4: torch.int32}[plane.element_size()]).cpu()


def assert_same(got, expected):
    assert (got.n, got.m, got.shape) == (expected.n, expected.m, expected.shape)
    assert torch.equal(got.positions.cpu(), expected.positions.cpu())
    assert torch.equal(bits(got.values), bits(expected.values))


def check(weight, pattern, dtype, select_dtype, device, **directions):
    n, m = map(int, pattern.split(":"))
    copies = prune_nm(weight.to(device), n, m, dtype=dtype, select_dtype=select_dtype, **directions)
    for axis, got in ((1, copies.forward), (0, copies.backward)):
        packed = pack(
            weight.float().numpy(),
            NM(n, m),
            axis=axis,
            dtype=NAMES[dtype],
            select_dtype=select_dtype,
        )
        if directions.get("forward" if axis else "backward", True):
            assert_same(got, prepare(packed, device, dtype))
        else:
            assert got is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_copies_are_those_of_the_packers(pattern, device):
    check(master((40, 75), torch.float32), pattern, torch.float16, "float16", device)


@pytest.mark.parametrize("select_dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_of_weight_values_and_selection(dtype, select_dtype, device):
    check(master((20, 70), torch.float32), "2:4", dtype, select_dtype, device)
    check(master((20, 70), dtype), "2:4", dtype, select_dtype, device)


def test_one_direction_alone(device):
    weight = master((24, 64), torch.float32)
    check(weight, "2:8", torch.float16, "float16", device, backward=False)
    check(weight, "2:8", torch.float16, "float16", device, forward=False)


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", MORE_PATTERNS)
def test_more_shapes(pattern, dtype, device):
    for seed, shape in enumerate(((1, 1), (1, 300), (129, 257))):
        for select_dtype in ("float16", "bfloat16", "float32"):
            check(master(shape, torch.float32, seed), pattern, dtype, select_dtype, device)


def test_bad_weights_are_refused(device):
    weight = torch.zeros(8, 8, device=device)
    for run, error, message in (
        (lambda: prune_nm(weight[0], 2, 8), ShapeError, "rows, columns"),
        (lambda: prune_nm(weight, 3, 8), UnsupportedError, "3:8"),
        (lambda: prune_nm(weight, 2, 8, select_dtype="int8"), UnsupportedError, "int8"),
        (lambda: prune_nm(weight.double(), 2, 8), UnsupportedError, "float64"),
        (lambda: prune_nm(weight.to("meta"), 2, 8), UnsupportedError, "CUDA"),
    ):
        with pytest.raises(error, match=message):
            run()
