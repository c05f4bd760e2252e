"""INT8 x INT8 products: every vector unit gives the integers of NumPy's int32 product."""

import re
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

import kernels
from cosparse.spec import DataError, ShapeError, UnsupportedError, pack, parse_pattern
from kernels import cpu, quantise, reference
from kernels.cpu import int8, isa, objects
from kernels.cpu.int8_assembly import PanelShape, multiply_assembly

from .conformance import activations, weights

PATTERNS = ("block 4x1 @ 0.2", "block 16x16 @ 0.3", "block 8x3 @ 0.2", "4:2:8", "16:1:8")


@pytest.fixture(params=["avx512", "avx2", "avx512 without", "avx2 without", "portable"])
def unit(request, monkeypatch):
    """A vector unit, with and without its instruction for bytes."""
    name, *without = request.param.split()
    if isa.ISAS[name] not in isa.available_isas():
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setenv("COSPARSE_CPU_ISA", name)
    if without:
        monkeypatch.setattr(int8, "has_dot_instruction", lambda _: False)
        int8._runs.cache_clear()
    yield name
    int8._runs.cache_clear()


def int8_packed(pattern, shape=(70, 173), **options):
    return pack(weights(shape), parse_pattern(pattern), dtype="int8", **{"axis": 1, **options})


def oracle(packed, x, per):
    """float32(int32 sum) * row scale * token scale of the unpacked integers, written out."""
    lanes = packed.scales.reshape(-1)
    dense = packed.unpack() if packed.axis == 1 else packed.unpack().T
    divisors = np.where(lanes > 0, lanes, 1)[:, None]
    integers = np.rint(dense / divisors).astype(np.int32)
    peak = np.abs(x).max(axis=1, keepdims=True)
    peak = peak if per == "token" else np.full_like(peak, peak.max())
    q = np.rint(x * (np.float32(127) / peak)).astype(np.int32)
    sums = q @ integers.T
    assert sums.dtype == np.int32
    return sums.astype(np.float32) * lanes * (peak / np.float32(127))


@pytest.mark.parametrize("per", ["token", "tensor"])
@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_results_are_those_of_the_int32_product(pattern, axis, per, unit):
    packed = int8_packed(pattern, axis=axis)
    for tokens in (1, 5, 16, 40, 64, 79, 130):
        x = activations((tokens, 2 * packed.shape[axis]))[:, ::2]
        before = x.copy()
        expected = oracle(packed, np.ascontiguousarray(x), per)
        np.testing.assert_array_equal(reference.matmul_int8(packed, x, per=per), expected)
        for threads in (1, 2):
            got = kernels.matmul_int8(packed, x, per=per, threads=threads)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(x, before)


def test_extreme_integers_do_not_saturate(unit):
    """Scales are 1, so that results are the integers; all products have one sign."""
    columns = 512
    for sign in (1, -1):
        packed = pack(np.full((16, columns), 127.0 * sign), parse_pattern("block 4x1 @ 1.0"), axis=1,
                      dtype="int8")  # fmt: skip
        for value in (127.0, -127.0):
            x = np.full((20, columns), value, np.float32)
            got = kernels.matmul_int8(packed, x)
            np.testing.assert_array_equal(got, np.full((20, 16), sign * 127 * int(value) * columns))


def test_rows_of_convolution_groups(unit):
    packed = int8_packed("4:2:8", shape=(30, 24), conv_groups=3)
    x = activations((21, 72))
    np.testing.assert_array_equal(kernels.matmul_int8(packed, x), reference.matmul_int8(packed, x))


@pytest.mark.parametrize("shape", [(0, 16), (16, 0)], ids=str)
def test_empty_weights_and_batches(shape, unit):
    packed = int8_packed("4:2:8", shape=shape)
    assert kernels.matmul_int8(packed, activations((3, shape[1]))).shape == (3, shape[0])
    assert not kernels.matmul_int8(packed, activations((3, shape[1]))).any()
    assert kernels.matmul_int8(packed, activations((0, shape[1]))).shape == (0, shape[0])


def test_an_all_zero_and_a_tiny_token(unit):
    packed = int8_packed("4:2:8")
    x = activations((6, 173))
    x[1], x[2], x[3] = 0, 1e-42, np.float32(2.0**-99)
    got = kernels.matmul_int8(packed, x)
    np.testing.assert_array_equal(got, reference.matmul_int8(packed, x))
    assert not got[1:3].any() and got[3].any()


def test_distance_from_the_product_that_is_not_rounded():
    """Half a step for every activation, and the rounding of three float32 operations."""
    packed = int8_packed("block 4x1 @ 0.3")
    x = activations((33, 173))
    wide = packed.unpack().astype(np.float64)
    exact = x.astype(np.float64) @ wide.T
    for per in quantise.PER:
        steps = quantise.quantise(x, per)[1].astype(np.float64)
        bound = 0.5001 * steps[:, None] * np.abs(wide).sum(axis=1) + 2.0**-21 * np.abs(exact)
        got = kernels.matmul_int8(packed, x, per=per)
        assert (np.abs(got - exact) <= bound).all()
        assert np.abs(got - exact).max() > 0.01 * bound.max()


def test_prepared_once(unit):
    packed = int8_packed("block 4x1 @ 0.2")
    prepared = cpu.prepare(packed)
    x = activations((9, 173))
    first = kernels.matmul_int8(prepared, x)
    layout = prepared.int8
    np.testing.assert_array_equal(kernels.matmul_int8(prepared, x), first)
    assert prepared.int8 is layout and layout.values.dtype == np.int8
    np.testing.assert_array_equal(layout.corrections[:70], -128 * integers(packed).sum(axis=1))


def integers(packed):
    return replace(packed, scales=np.ones_like(packed.scales)).unpack().astype(np.int64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite_are_refused(value, unit):
    x = activations((5, 173))
    x[3, 100] = value
    for per in quantise.PER:
        with pytest.raises(DataError, match="NaN or infinity in token 3"):
            kernels.matmul_int8(int8_packed("4:2:8"), x, per=per)


def test_what_is_refused():
    x = activations((5, 173))
    with pytest.raises(UnsupportedError, match="packed as int8, got float32"):
        kernels.matmul_int8(
            pack(weights((8, 173)), parse_pattern("4:2:8"), axis=1, dtype="float32"), x
        )
    with pytest.raises(UnsupportedError, match=r"in fours .* got '2:8'"):
        kernels.matmul_int8(int8_packed("2:8"), x)
    with pytest.raises(UnsupportedError, match="at most 65535 columns, got 65600"):
        kernels.matmul_int8(int8_packed("4:1:32", shape=(4, 65600)), activations((1, 65600)))
    with pytest.raises(UnsupportedError, match=r"'row'.*valid: tensor, token"):
        kernels.matmul_int8(int8_packed("4:2:8"), x, per="row")
    with pytest.raises(ShapeError):
        kernels.matmul_int8(int8_packed("4:2:8"), x[:, 1:])
    with pytest.raises(UnsupportedError, match="threads >= 1"):
        kernels.matmul_int8(int8_packed("4:2:8"), x, threads=0)


@pytest.mark.skipif(
    isa.available_isas()[0] is isa.PORTABLE, reason="this processor is not of the x86 family"
)
def test_machine_code_of_the_hot_loop():
    """64 tokens, four rows, four columns: 16 byte products for 8 shuffles, nothing spilled."""
    objects._initialise()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="icelake-server", opt=3)
    code = machine.emit_assembly(llvm.parse_assembly(multiply_assembly(PanelShape(16, 4, 4, True))))
    loops = [block for block in re.split(r"\n\.LBB\w+:", code) if "vpdpbusd" in block]
    assert len(loops) == 1
    count = {name: len(re.findall(rf"\t{name}", loops[0])) for name in ("vpdpbusd", "vpunpck")}
    assert count == {"vpdpbusd": 16, "vpunpck": 8}
    assert not re.findall(r"%zmm\d+, [-\d]*\(%rsp\)", loops[0])
