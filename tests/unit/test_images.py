"""Where operands lie in DRAM, worked on paper, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from cosparse.spec import NM, VNM, Block, BlockTensor, Phase, ShapeError, UnsupportedError, pack
from hwsim import AcceleratorConfig
from hwsim.compile.block_rows import block_nests
from hwsim.compile.images import build, result_span
from hwsim.compile.lower import gemm_nests
from tests.conformance.compiled import check_bits, cuts
from tests.conformance.layers import batched, conv, flat, linear, pruned_conv, pruned_linear

CONFIG = AcceleratorConfig.preset("sat-4x4")
FF, BP, WU = Phase.FF, Phase.BP, Phase.WU
PAGE = 4096


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def image_of(case):
    nests = gemm_nests(case.gemm, CONFIG, flat=case.flat)
    return nests, build(case.gemm, nests, case.left, case.right, flat=case.flat)


def test_pixels_lie_channels_last_padded_to_eight(rng):
    case = conv(rng, FF, 2, (4, 3), 5, 9)
    _, memory = image_of(case)
    pixels = memory.array(0, (2, 4, 3, 8), np.float16)
    assert (pixels[..., :5] == case.left.transpose(0, 2, 3, 1)).all()
    assert (pixels[..., 5:] == 0).all()


def test_dense_weights_lie_by_tap_channel_and_lane(rng):
    case = conv(rng, FF, 2, (4, 3), 5, 9, kernel=(2, 3))
    _, memory = image_of(case)
    entries = memory.array(PAGE, (2, 3, 5, 32), np.float16)
    assert (entries[..., :9] == case.right.transpose(2, 3, 1, 0)).all()
    assert (entries[..., 9:] == 0).all()


def test_the_packed_image_is_that_of_the_format(rng):
    case = linear(rng, FF, 3, 16, 40, NM(2, 8))
    _, memory = image_of(case)
    values = memory.array(PAGE, case.right.values.shape, np.float16)
    indices = memory.array(2 * PAGE, case.right.indices.shape, np.uint8)
    assert (values == case.right.values).all()
    assert (indices == case.right.indices).all()


def test_shared_indices_are_one_a_lane_in_memory(rng):
    case = linear(rng, FF, 3, 8, 32, VNM(16, 2, 8))
    _, memory = image_of(case)
    pairs = memory.array(2 * PAGE, (2, 16), np.uint8)
    lanes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(2, 32)
    first, second = case.right.unpacked_indices()[0, 0, 0].T.reshape(2, 2)
    assert (lanes[0] == np.repeat([first[0], second[0]], 16)).all()
    assert (lanes[1] == np.repeat([first[1], second[1]], 16)).all()


def test_merged_conv_groups_select_their_own_channels(rng):
    case = conv(rng, FF, 1, (3, 3), 2, 2, groups=4, kernel=(1, 1))
    _, memory = image_of(case)
    values = memory.array(PAGE, (2, 32), np.float16)
    pairs = memory.array(2 * PAGE, (2, 16), np.uint8)
    assert (values[:, :8] == case.right[:, :, 0, 0].T).all()
    assert pairs[0, :4].tolist() == [0x00, 0x22, 0x44, 0x66]
    assert pairs[1, :4].tolist() == [0x11, 0x33, 0x55, 0x77]


def test_block_rows_lie_block_by_block_with_their_tables(rng):
    weight = np.zeros((24, 16), np.float16)
    weight[:8, 8:] = 2
    weight[16:, :8], weight[16:, 8:] = 3, 4
    tensor = pack(weight, Block(8, 8, 0.5), axis=1)
    case = replace(linear(rng, FF, 3, 16, 24, Block(8, 8, 0.5)), right=tensor)
    nests = block_nests(case.gemm, tensor, CONFIG)
    memory = build(case.gemm, nests, case.left, tensor)
    assert nests["segments"].tolist() == [1, 0, 2]
    assert nests["columns"].tolist() == [8, 8, 8]
    assert memory.array(nests[0]["table"], (1,), "<u4").tolist() == [8]
    assert memory.array(nests[2]["table"], (2,), "<u4").tolist() == [0, 8]
    assert (memory.array(nests[0]["wgt"], (8, 8), np.float16) == 2).all()
    blocks = memory.array(nests[2]["wgt"], (2, 8, 8), np.float16)
    assert (blocks[0] == 3).all() and (blocks[1] == 4).all()


def test_equal_block_rows_are_one_nest_and_sub_convolutions_keep_their_taps(rng):
    weight = np.zeros((8, 16, 3, 3), np.float16)
    weight[:, :, 0, 0] = weight[:, :, 2, 1] = 1
    pattern = Block(8, 8, 2 / 9)
    tensor = pack(weight, pattern, axis=0)
    case = conv(rng, BP, 1, (6, 6), 16, 8, stride=(2, 2), padding=(1, 1), pattern=pattern)
    nests = block_nests(case.gemm, tensor, CONFIG)
    # Stride 2, padding 1: input row 0 meets tap row 1; input row 1 meets tap rows 0 and 2.
    assert nests["segments"].tolist() == [0, 0, 1, 1]
    assert nests["columns"].tolist() == [16, 16, 16, 16]
    memory = build(case.gemm, nests, case.left, tensor)
    assert memory.array(nests[2]["table"], (1,), "<u4").tolist() == [1 << 24]
    assert memory.array(nests[3]["table"], (1,), "<u4").tolist() == [0]


def test_a_row_of_the_im2col_matrix_is_a_window_tap_by_tap(rng):
    case = flat(conv(rng, FF, 2, (4, 3), 3, 9, padding=(1, 1)))
    _, memory = image_of(case)
    rows = memory.array(0, (2, 4, 3, 32), np.float16)
    window = rows[1, 0, 1, :27].reshape(3, 3, 3)
    assert (window[0] == 0).all()
    assert (window[1:] == case.left[1, :, :2].transpose(1, 2, 0)).all()


def test_weight_gradients_are_single_precision_with_padded_outputs(rng):
    case = linear(rng, WU, 5, 3, 9)
    nests, _ = image_of(case)
    assert len(result_span(case.gemm, nests)) == 3 * 16 * 4


@pytest.mark.parametrize("layer", ["dense", "2:8", "block", "SDGP", "conv"])
def test_infinite_activations_meet_present_weights_only(rng, layer):
    case = {
        "dense": lambda: linear(rng, FF, 9, 20, 12),
        "2:8": lambda: linear(rng, FF, 9, 20, 12, NM(2, 8)),
        "block": lambda: linear(rng, FF, 9, 36, 40, Block(8, 8, 0.2)),
        "SDGP": lambda: pruned_linear(rng, 9, 20, 12, NM(2, 4)),
        "conv": lambda: conv(rng, FF, 1, (4, 4), 2, 2, groups=4),
    }[layer]()
    case.left.reshape(-1)[::7] = np.inf
    expected = case.bits()
    expected[np.isnan(expected)] = np.nan
    assert np.isinf(expected).any() or np.isnan(expected).any()
    (made,) = cuts(case, CONFIG, 1)
    check_bits(case, made, CONFIG, expected)


WRONG = {
    "shape": lambda case: (case.left[:-1], case.right),
    "dtype": lambda case: (case.left.astype(np.float32), case.right),
    "dense weight for a pattern": lambda case: (case.left, case.right.unpack()),
    "copy of the other phase": lambda case: (
        case.left,
        pack(case.right.unpack(), NM(2, 8), axis=0),
    ),
    "other pattern": lambda case: (case.left, pack(case.right.unpack(), NM(2, 4), axis=1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_operands_that_are_not_the_gemms_are_refused(rng, name):
    case = linear(rng, FF, 3, 16, 40, NM(2, 8))
    nests = gemm_nests(case.gemm, CONFIG)
    with pytest.raises(ShapeError, match=r"FF of 'linear', (left|right) operand: expected"):
        build(case.gemm, nests, *WRONG[name](case))


def test_block_nests_belong_to_one_tensor(rng):
    case = linear(rng, FF, 3, 16, 40, Block(8, 8, 0.4))
    assert isinstance(case.right, BlockTensor)
    with pytest.raises(ShapeError, match="nests of `block_nests`"):
        build(case.gemm, gemm_nests(case.gemm, CONFIG), case.left, case.right)
    other = linear(rng, FF, 3, 24, 40, Block(8, 8, 0.4))
    with pytest.raises(ShapeError, match="lanes, reduction"):
        block_nests(case.gemm, other.right, CONFIG)


def test_groups_that_the_array_cannot_select_lie_on_the_diagonal_of_a_dense_product(rng):
    case = linear(rng, FF, 3, 12, 4, groups=4)  # pairs of 24 channels: no group holds them
    nests, memory = image_of(case)
    assert (nests[["packed", "groups", "channels", "columns"]].tolist()) == [(0, 2, 24, 8)]
    values = memory.array(PAGE, (2, 24, 32), np.float16)
    weight = case.right.reshape(2, 2, 4, 12)
    for group in (0, 1):
        channels, lanes = slice(12 * group, 12 * group + 12), slice(4 * group, 4 * group + 4)
        assert (values[:, channels, lanes] == weight[:, group].swapaxes(1, 2)).all()
        values[:, channels, lanes] = 0
    assert not values.any()


def test_products_without_a_layout_are_refused(rng):
    low = linear(rng, FF, 3, 16, 40, Block(4, 4, 0.4))
    with pytest.raises(UnsupportedError, match="multiple of 8"):
        block_nests(low.gemm, low.right, CONFIG)
    case = batched(rng, FF, 2, 4, 16, 8)
    gemm = replace(case.gemm, rhs=replace(case.gemm.rhs, pattern=NM(2, 8)))
    with pytest.raises(UnsupportedError, match="batched products"):
        gemm_nests(gemm, CONFIG)
    few = linear(rng, FF, 3, 16, 20, NM(2, 8), groups=4)
    with pytest.raises(UnsupportedError, match="multiples of 8 each, got 16 and 20"):
        gemm_nests(few.gemm, CONFIG)
    stem = flat(pruned_conv(rng, images=1, hw=(4, 4), inputs=3, outputs=8, pattern=NM(2, 4)))
    with pytest.raises(UnsupportedError, match="im2col"):
        image_of(stem)
