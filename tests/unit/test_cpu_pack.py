"""Packing by vector code: bit for bit what `cosparse.spec.pack` gives, whose rule is a few lines of NumPy."""

import numpy as np
import pytest

from cosparse.spec import PatternError, UnsupportedError, pack, parse_pattern
from kernels.cpu import (
    PreparedWeight,
    StepCopy,
    conv2d,
    conv2d_input_gradient,
    isa,
    matmul,
    prepare,
    step_copies,
)
from kernels.cpu.pack import pack_weight
from kernels.cpu.pack_assembly import Selection, Target, pack_assembly
from kernels.cpu.pack_shared import can_share

SHAPES = [(64, 64), (33, 70), (32, 16, 3, 3)]
SPECIAL = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-8, 6e-8, 7e4, 1e-40, 65_519.0, 65_520.0]


def weight(shape, kind):
    """Ties: whole numbers. special: what float16 rounds to zero, infinity, a subnormal; NaN of any sign."""
    rng = np.random.default_rng(sum(shape))
    values = rng.standard_normal(shape).astype(np.float32)
    if kind == "ties":
        return np.round(values)
    if kind == "special":
        flat = values.reshape(-1)
        flat[rng.integers(0, flat.size, flat.size // 4)] = rng.choice(SPECIAL, flat.size // 4)
    return values


def same(got, expected):
    got.validate()
    return (
        got.values.view("u4").tobytes() == expected.values.view("u4").tobytes()
        and got.indices.tobytes() == expected.indices.tobytes()
        and type(got) is type(expected)
    )


@pytest.fixture(params=["avx512", "avx2", "portable"])
def machine(request, monkeypatch):
    if isa.ISAS[request.param] not in isa.available_isas():
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("COSPARSE_CPU_ISA", request.param)
    return request.param


@pytest.mark.parametrize("pattern", ["2:8", "2:4", "3:5", "4:2:8"])
def test_every_shape_axis_and_number(machine, pattern):
    chosen = parse_pattern(pattern)
    for shape in SHAPES:
        for kind in ("normal", "ties", "special"):
            array = weight(shape, kind)
            for axis in (0, 1):
                expected = pack(array, chosen, axis=axis, dtype="float32")
                assert same(pack_weight(array, chosen, axis=axis), expected), (shape, kind, axis)


@pytest.mark.parametrize("pattern", ["1:2", "1:8", "4:8", "2:16", "8:8", "8:32", "2:2:4", "8:2:16"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_more_patterns_and_selections(machine, pattern, dtype):
    chosen = parse_pattern(pattern)
    for shape in [*SHAPES, (40, 40), (100, 48)]:
        for kind in ("normal", "ties", "special"):
            array = weight(shape, kind)
            for axis in (0, 1):
                options = {"axis": axis, "select_dtype": dtype}
                try:
                    expected = pack(array, chosen, dtype="float32", **options)
                except PatternError as error:
                    with pytest.raises(PatternError, match=str(error).split(" (", maxsplit=1)[0]):
                        pack_weight(array, chosen, **options)
                    continue
                assert same(pack_weight(array, chosen, **options), expected), (shape, kind, axis)


def test_other_weights_and_patterns_take_the_usual_way():
    chosen, array = parse_pattern("2:8"), weight((64, 32), "normal")
    for other in (array.T, array.astype(np.float64), array[:, ::-1], array[::2]):
        expected = pack(other, chosen, axis=1, dtype="float32")
        assert same(pack_weight(other, chosen, axis=1), expected)
    grouped = weight((32, 8, 3, 3), "ties")
    expected = pack(grouped, chosen, axis=0, dtype="float32", conv_groups=4)
    assert same(pack_weight(grouped, chosen, axis=0, conv_groups=4), expected)
    with pytest.raises(UnsupportedError, match="expected an N:M or V:N:M pattern"):
        pack_weight(array, parse_pattern("block 4x4 @ 0.5"), axis=1)
    with pytest.raises(PatternError, match="needs at least 8 entries"):
        pack_weight(weight((64, 4), "normal"), chosen, axis=1)


def test_both_copies_and_the_weight_is_not_written():
    array = weight((48, 80), "special")
    array.setflags(write=False)
    for axis in (1, 0):
        found = pack_weight(array, parse_pattern("2:8"), axis=axis)
        assert same(found, pack(array, parse_pattern("2:8"), axis=axis, dtype="float32"))


def test_a_kernel_has_no_branch_but_its_loops():
    """Floor of the work: positions and slots are unrolled, and nothing depends on the values."""
    text = pack_assembly(Selection(2, 8, 1, "float16"), Target(), 16, transposed=False)
    loops = 3  # chunks of blocks, groups, blocks
    assert text.count("br i1") == loops
    assert (
        text.count("icmp ugt <32 x i16>") == 8 * 7 // 2
    )  # one comparison a pair serves both ranks


@pytest.mark.parametrize("pattern", ["2:8", "1:16", "2:4", "4:2:8", "16:2:8"])
@pytest.mark.parametrize("shape", [(64, 256), (256, 80), (40, 48)])
def test_a_step_s_copy_has_the_tiles_of_a_prepared_weight(machine, pattern, shape):
    """Where sizes fill whole blocks the tiles are written at once; elsewhere products are the same."""
    chosen, array = parse_pattern(pattern), weight(shape, "normal")
    for axis, width in ((1, shape[1]), (0, shape[0])):
        prepared = prepare(pack(array, chosen, axis=axis, dtype="float32"))
        (copy,) = step_copies(array, chosen, axes=(axis,))
        if isinstance(copy, StepCopy):
            expected = prepared.register_tiles(isa.current())
            assert copy.tiles.shape == expected.shape
            for name in ("pointers", "values", "indices"):
                got, wanted = (getattr(tiles, name).reshape(-1) for tiles in (copy.tiles, expected))
                np.testing.assert_array_equal(got, wanted, name)
        x = np.random.default_rng(1).standard_normal((5, width)).astype(np.float32)
        np.testing.assert_array_equal(matmul(copy, x), matmul(prepared, x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
@pytest.mark.parametrize("pattern", ["4:2:8", "8:1:8", "8:5:8", "16:2:8", "16:2:4", "32:3:4"])
@pytest.mark.parametrize("machine", ["avx512", "avx2"], indirect=True)
def test_lanes_that_share_positions_are_packed_bit_for_bit(machine, pattern, kind, dtype):
    chosen, array = parse_pattern(pattern), weight((96, 320), kind)
    for axis in (1, 0):
        packed = pack(array, chosen, axis=axis, dtype="float32", select_dtype=dtype)
        (copy,) = step_copies(array, chosen, axes=(axis,), select_dtype=dtype)
        expected = prepare(packed).register_tiles(isa.current())
        if isinstance(copy, StepCopy):
            assert copy.tiles.values.tobytes() == expected.values.tobytes()
            assert copy.tiles.indices.tobytes() == expected.indices.tobytes()
        assert isinstance(copy, StepCopy) == (chosen.v <= isa.current().lanes)


def test_which_packing_kernels_share_the_work():
    for v, m, run, lanes, expected in (
        (8, 8, 4, 16, True), (16, 4, 16, 16, True), (8, 16, 4, 16, False), (8, 8, 0, 16, False),
        (8, 8, 16, 16, False), (2, 8, 2, 16, False), (4, 8, 4, 8, False),
    ):  # fmt: skip
        assert can_share(Selection(2, m, v, "float16"), Target(run), lanes) == expected


@pytest.mark.parametrize("pattern", ["2:8", "1:16", "8:2:8"])
@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (128, 64, 1, 1), (48, 64, 3, 2), (40, 24, 3, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_step_s_copy_of_a_convolution(machine, pattern, shape, stride):
    """Products as of a prepared weight; whole blocks are packed into tiles."""
    chosen, array = parse_pattern(pattern), weight(shape, "normal")
    array.setflags(write=False)
    options = {"stride": stride, "padding": 1}
    ff, bp = step_copies(array, chosen, taps_apart=stride > 1)
    if isa.current() is not isa.PORTABLE and shape in ((64, 32, 3, 3), (128, 64, 1, 1)):
        assert isinstance(ff, StepCopy) and isinstance(bp, StepCopy)
    images = np.random.default_rng(1).standard_normal((2, shape[1], 9, 6)).astype(np.float32)
    ff_packed, bp_packed = (pack(array, chosen, axis=a, dtype="float32") for a in (1, 0))
    expected = conv2d(prepare(ff_packed), images, **options)
    np.testing.assert_array_equal(conv2d(ff, images, **options), expected)
    back = conv2d_input_gradient(prepare(bp_packed), expected, (9, 6), **options)
    got = conv2d_input_gradient(bp, expected, (9, 6), **options)
    np.testing.assert_allclose(got, back, rtol=1e-4, atol=1e-4)  # taps apart: other k tiles


def test_weights_that_are_not_finite_are_prepared():
    array = weight((64, 64, 3, 3), "normal")
    array[3, 5] = np.inf
    for copy in step_copies(array, parse_pattern("2:8")):
        assert isinstance(copy, PreparedWeight)


def test_large_weights_go_straight_into_tiles():
    if isa.current() is isa.PORTABLE:
        pytest.skip("no vector unit")
    array = weight((768, 3072), "normal")
    assert all(isinstance(copy, StepCopy) for copy in step_copies(array, parse_pattern("2:8")))
