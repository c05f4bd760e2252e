"""Kernels that decode tiles, and gradients of stored entries, against the dense products."""

import pytest
import torch

from cosparse.spec import ShapeError, Unstructured, UnsupportedError, pack
from kernels.gpu import layouts
from kernels.gpu.configs import TileConfig
from kernels.gpu.decoded import decoded
from kernels.gpu.layouts import NMRows, VectorWise
from kernels.gpu.prepare import prepare
from kernels.gpu.products import multiply, multiply_transposed, weight_gradient

from .products import (
    NAMES,
    activations,
    assert_matches_dense,
    assert_product,
    packed_weight,
    prepared_weight,
)
from .test_products import DTYPES, reference_product

DECODED = ("1:8", "2:8", "2:4", "8:16", "bitmap")
CONFIG = TileConfig(16, 16)


def packed_any(pattern, shape, dtype, axis=1):
    if pattern != "bitmap":
        return packed_weight(pattern, shape, dtype, axis)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()
    return pack(weight, Unstructured(0.3), axis=axis, dtype=NAMES[dtype], format="bitmap")


def places_of(weight, device):
    """(row, column) of every stored value and which values are no padding."""
    rows, columns = weight.shape
    if isinstance(weight, NMRows):
        values, positions = layouts.nm_entries(weight)
        group = torch.arange(values.shape[1], device=device)[:, None]
        column = group * weight.m + positions
        row = torch.arange(rows, device=device)[:, None, None].expand_as(column)
        one = layouts.pack_nm_rows
        planes = [one(part.double(), positions, weight.m, columns).values for part in (row, column)]
        whole = torch.ones_like(column).masked_fill(group * weight.m >= columns, 0)
        return planes[0].long(), planes[1].long(), one(whole, positions, weight.m, columns).values
    if isinstance(weight, VectorWise):
        width = weight.columns.shape[1]
        column = weight.columns.long().repeat_interleave(weight.v, 0)
        row = torch.arange(len(column), device=device)[:, None].expand_as(column)
        return row, column, (torch.arange(width, device=device) < weight.kept).expand_as(column)
    row, column = layouts.bitmap_mask(weight).nonzero(as_tuple=True)
    return row, column, torch.ones_like(row)


def assert_gradient(weight, dy, x, config, device):
    rows, columns = weight.shape
    row, column, whole = places_of(weight, device)
    inside = (row < rows) & (column < columns) & whole.bool()
    row, column = row.clamp(max=rows - 1), column.clamp(max=columns - 1)
    exact, magnitudes = (
        torch.where(inside, (a.double().t() @ b.double())[row, column], 0)
        for a, b in ((dy, x), (dy.abs(), x.abs()))
    )
    assert_product(weight_gradient(weight, dy, x, config), exact, magnitudes, len(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["2:8", "bitmap"])
def test_decoded_tiles(pattern, dtype, device):
    check_decoded(pattern, dtype, device, (19,))


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", DECODED)
def test_decoded_tiles_of_more_patterns(pattern, dtype, device):
    check_decoded(pattern, dtype, device, (1, 16, 40))


def check_decoded(pattern, dtype, device, counts):
    packed = packed_any(pattern, (21, 150), dtype)
    weight = prepared_weight(packed, device, dtype)
    dense = layouts.to_dense(weight)
    for tokens in counts:
        x, dy = (activations((tokens, size), dtype, device, size) for size in (150, 21))
        exact, magnitudes = reference_product(packed, x)
        assert_product(multiply(weight, x, CONFIG), exact, magnitudes, 150)
        assert_matches_dense(multiply_transposed(weight, dy, CONFIG), dense.t(), dy)
        assert_gradient(weight, dy, x, CONFIG, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["16:2:8", "32:1:8"])
def test_vector_gradient_is_that_of_the_stored_entries(pattern, dtype, device):
    weight = prepared_weight(packed_weight(pattern, (50, 280), dtype), device, dtype)
    for tokens in (5, 32):
        x, dy = (activations((tokens, size), dtype, device, size) for size in (280, 50))
        assert_gradient(weight, dy, x, CONFIG, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["2:8", "32:1:8", "bitmap"])
def test_input_gradient_from_the_backward_copy(pattern, dtype, device):
    """The BP copy is W^T in the same layout: dx = dy W is a forward product with it."""
    packed = packed_any(pattern, (64, 40), dtype, axis=0)
    dy = activations((5, 64), dtype, device)
    exact, magnitudes = reference_product(packed, dy)
    assert_product(multiply(prepared_weight(packed, device, dtype), dy), exact, magnitudes, 64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bitmaps_keep_the_weight(dtype, device):
    for shape, axis in (((33, 80), 1), ((64, 50), 0)):
        packed = packed_any("bitmap", shape, dtype, axis)
        dense = torch.from_numpy(packed.unpack() if axis == 1 else packed.unpack().T.copy())
        weight = prepare(packed, device, dtype)
        assert weight.name == "bitmap"
        assert torch.equal(layouts.to_dense(weight).cpu(), dense.to(dtype))


def test_defaults_run(device):
    for pattern in ("2:8", "bitmap", "16:2:8"):
        weight = prepared_weight(
            packed_any(pattern, (20, 64), torch.float16), device, torch.float16
        )
        x, dy = (activations((3, size), torch.float16, device) for size in (64, 20))
        assert_gradient(weight, dy, x, None, device)
        if pattern != "16:2:8":
            assert_matches_dense(multiply_transposed(weight, dy), layouts.to_dense(weight).t(), dy)


def test_what_has_no_kernel_is_told(device):
    vectors = prepared_weight(
        packed_weight("16:2:8", (32, 64), torch.float16), device, torch.float16
    )
    rows = prepared_weight(packed_weight("3:8", (32, 64), torch.float16), device, torch.float16)
    x, dy = (torch.zeros(2, size, dtype=torch.float16, device=device) for size in (64, 32))
    with pytest.raises(UnsupportedError, match=r"VectorWise 'vector 16'.*valid: NMRows"):
        multiply_transposed(vectors, dy)
    with pytest.raises(UnsupportedError, match=r"SparseRows 'rows'.*valid: NMRows"):
        weight_gradient(rows, dy, x)
    with pytest.raises(ShapeError, match="as many tokens"):
        weight_gradient(vectors, dy, x[:1])
    bitmap = prepared_weight(packed_any("bitmap", (32, 64), torch.float16), device, torch.float16)
    with pytest.raises(ShapeError, match="float16"):
        decoded(bitmap, x.float(), CONFIG)
