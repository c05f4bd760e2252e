"""Every kernel at tiny shapes against kernels.reference: in the interpreter, or on a GPU."""

import numpy as np
import pytest
import torch

from cosparse.spec import ShapeError, Unstructured, pack
from kernels import reference
from kernels.gpu import layouts
from kernels.gpu.configs import GatherConfig, TileConfig, config_for
from kernels.gpu.expand import expand_nm
from kernels.gpu.k_major import k_major
from kernels.gpu.products import multiply, multiply_transposed, weight_gradient

from .products import (
    activations,
    assert_matches_dense,
    assert_product,
    packed_weight,
    prepared_weight,
)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
GATHERED = ("1:8", "2:8", "2:4", "2:16", "4:16", "unstructured @ 0.2", "3:8", "block 3x5 @ 0.3")
TILED = ("16:2:8", "32:1:8", "block 16x16 @ 0.4", "block 32x32 @ 0.5")


def reference_product(packed, x):
    """(exact, magnitudes) of the oracle, float64."""
    wide = x.double().cpu().numpy()
    exact = reference.matmul(packed, wide)
    dense = np.abs(packed.unpack().astype(np.float64))
    magnitudes = np.abs(wide) @ (dense.T if packed.axis == 1 else dense)
    return torch.from_numpy(exact), torch.from_numpy(magnitudes)


def check(packed, x, config, device, dtype):
    weight = prepared_weight(packed, device, dtype)
    exact, magnitudes = reference_product(packed, x)
    assert_product(multiply(weight, x, config), exact, magnitudes, weight.shape[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", [*GATHERED, *TILED])
def test_layouts_keep_the_weight(pattern, dtype, device):
    for shape, axis in (((33, 80), 1), ((64, 50), 0)):
        packed = packed_weight(pattern, shape, dtype, axis)
        dense = torch.from_numpy(packed.unpack() if axis == 1 else packed.unpack().T.copy())
        weight = prepared_weight(packed, device, dtype)
        assert torch.equal(layouts.to_dense(weight).cpu(), dense.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", GATHERED)
def test_gathers(pattern, dtype, device):
    packed = packed_weight(pattern, (21, 300), dtype)
    per_program = (1, 2, 4, 8) if dtype == torch.float32 else (1, 2, 4, 8, 16)
    for tokens in per_program:
        x = activations((max(1, tokens - 1) if tokens > 2 else tokens, 300), dtype, device)
        check(packed, x, GatherConfig(tokens, 16, 2 if tokens <= 2 else 1, 4), device, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gathers_of_whole_tiles_and_more_tokens_than_a_program_takes(dtype, device):
    for pattern in ("1:8", "2:4"):
        packed = packed_weight(pattern, (32, 1024), dtype)
        for tokens, config in ((1, GatherConfig(1, 8, 2, 4)), (11, GatherConfig(4, 64, 1, 8))):
            check(packed, activations((tokens, 1024), dtype, device), config, device, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["1:8", "unstructured @ 0.2"])
def test_gathers_as_configured_for_more_tokens_than_one_program_packs(pattern, dtype, device):
    packed = packed_weight(pattern, (16, 64), dtype)
    check(packed, activations((17, 64), dtype, device), None, device, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["16:2:8", "32:1:8"])
@pytest.mark.parametrize("k_major_x", [False, True])
def test_vector_wise_tiles(pattern, dtype, k_major_x, device):
    packed = packed_weight(pattern, (50, 280), dtype)
    weight = prepared_weight(packed, device, dtype)
    for tokens, splits, block_k in ((1, 1, 32), (19, 4, 32), (32, 2, 64)):
        config = TileConfig(16, block_k, splits, k_major=k_major_x)
        x = activations((tokens, 280), dtype, device)
        exact, magnitudes = reference_product(packed, x)
        for _ in range(2):  # tickets are as they were before
            assert_product(multiply(weight, x, config), exact, magnitudes, 280)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["block 16x16 @ 0.4", "block 32x32 @ 0.5"])
@pytest.mark.parametrize("tokens_first", [False, True])
def test_block_tiles(pattern, dtype, tokens_first, device):
    packed = packed_weight(pattern, (40, 58), dtype)
    weight = prepared_weight(packed, device, dtype)
    dense = layouts.to_dense(weight)
    for tokens, splits in ((1, 1), (19, 4), (32, 2)):
        config = TileConfig(16, 16, splits, tokens_first=tokens_first)
        x, dy = (activations((tokens, size), dtype, device, size) for size in (58, 40))
        exact, magnitudes = reference_product(packed, x)
        for _ in range(2):
            assert_product(multiply(weight, x, config), exact, magnitudes, 58)
        assert_matches_dense(multiply_transposed(weight, dy, config), dense.t(), dy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_block_gradient_is_that_of_the_stored_blocks(dtype, device):
    packed = packed_weight("block 16x16 @ 0.4", (70, 90), dtype)
    weight = prepared_weight(packed, device, dtype)
    for tokens in (5, 32):
        x, dy = (activations((tokens, size), dtype, device, size) for size in (90, 70))
        got = weight_gradient(weight, dy, x, TileConfig(16))
        full = [part.double() for part in (dy, x)]
        exact, magnitudes = (a.t() @ b for a, b in (full, [part.abs() for part in full]))
        for plane, target in ((exact, "exact"), (magnitudes, "magnitudes")):
            padded = torch.nn.functional.pad(plane, (0, 96 - 90, 0, 80 - 70))
            blocks = padded.reshape(5, 16, 6, 16).transpose(1, 2)
            stored = blocks[weight.owners.long(), weight.block_columns.long()]
            exact, magnitudes = (stored, magnitudes) if target == "exact" else (exact, stored)
        assert_product(got, exact, magnitudes, tokens)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["1:8", "2:8", "2:4", "2:16", "8:16"])
def test_expanding_gives_the_dense_bits(pattern, dtype, device):
    packed = packed_weight(pattern, (19, 300), dtype)
    weight = prepared_weight(packed, device, dtype)
    assert torch.equal(expand_nm(weight), layouts.to_dense(weight))


@pytest.mark.parametrize("width", [2, 8, 16, 64, 128])
def test_k_major_order(width, device):
    x = activations((2 * width - 1, 70), torch.float16, device)
    out = k_major(x, width)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 2 * width - len(x)))
    assert torch.equal(out, padded.reshape(2, width, 70).transpose(1, 2))


def test_absent_weights_meet_no_activation(device):
    """Infinite activations at columns that no row keeps, also behind the padding of short rows."""
    weight = np.zeros((20, 256))
    weight[:, 8:200:8] = np.random.default_rng(0).standard_normal((20, 24)) + 3
    packed = pack(weight, Unstructured(24 / 256), axis=1, dtype="float16")
    kept = torch.from_numpy(packed.mask().any(0)).to(device)
    x = activations((3, 256), torch.float16, device)
    x = torch.where(kept, x, torch.inf)
    assert not kept[0]  # the column of padding entries
    got = multiply(prepared_weight(packed, device, torch.float16), x, GatherConfig(4, 8, 1, 4))
    exact = torch.from_numpy(reference.matmul(packed, x.cpu().numpy()))
    torch.testing.assert_close(got.double().cpu(), exact, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("pattern", ["2:8", "unstructured @ 0.2", "16:2:8", "block 16x16 @ 0.4"])
def test_bad_activations_are_refused(pattern, device):
    weight = prepared_weight(packed_weight(pattern, (32, 64), torch.float16), device, torch.float16)
    for x, message in (
        (torch.zeros(2, 63, dtype=torch.float16, device=device), "tokens, 64"),
        (torch.zeros(64, dtype=torch.float16, device=device), "tokens, 64"),
        (torch.zeros(0, 64, dtype=torch.float16, device=device), "1 to"),
        (torch.zeros(2, 64, device=device), "float16"),
        (torch.zeros(2, 64, dtype=torch.float16, device="meta"), "device"),
    ):
        with pytest.raises(ShapeError, match=message):
            multiply(weight, x, config_for(weight, max(1, len(x))))
