import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import kernels
from cosparse.spec import UnsupportedError, pack, parse_pattern
from kernels import cpu, reference
from kernels.cpu import panels

from .conformance import DTYPES, PATTERNS, KernelConformance, activations, weights


class TestCpu(KernelConformance):
    backend = kernels


class TestCpuTwoThreads(KernelConformance):
    """The same cases with the rows split between two threads."""

    backend = SimpleNamespace(
        matmul=lambda *args: kernels.matmul(*args, threads=2),
        conv2d=lambda *args, **geometry: kernels.conv2d(*args, **geometry, threads=2),
        conv2d_input_gradient=lambda *args, **geometry: kernels.conv2d_input_gradient(
            *args, **geometry, threads=2
        ),
        weight_gradient=kernels.weight_gradient,
        conv2d_weight_gradient=kernels.conv2d_weight_gradient,
    )


def arrays(packed):
    """The planes of a packed tensor."""
    return [value for value in vars(packed).values() if isinstance(value, np.ndarray)]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(33, 37), (36, 34, 3, 2)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_prepare_round_trip(pattern, shape, axis):
    packed = pack(weights(shape), parse_pattern(pattern), axis=axis)
    prepared = cpu.prepare(packed)
    assert prepared.unpack().tobytes() == packed.unpack().tobytes()
    assert prepared.repack_s > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_prepare_round_trip_of_groups_and_dtypes(dtype):
    for pattern in ("2:8", "8:2:8", "block 4x4 @ 0.4", "unstructured @ 0.3"):
        for axis in (0, 1):
            packed = pack(
                weights((30, 14, 3, 3)),
                parse_pattern(pattern),
                axis=axis,
                dtype=dtype,
                conv_groups=3,
            )
            assert cpu.prepare(packed).unpack().tobytes() == packed.unpack().tobytes()


def test_products_per_token_are_the_present_entries():
    packed = pack(weights((33, 37)), parse_pattern("2:8"), axis=1)
    assert cpu.prepare(packed).products_per_token == packed.mask().sum()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_prepared_weight_gives_the_same_bits_as_its_packed_tensor(axis):
    packed = pack(weights((32, 40)), parse_pattern("2:8"), axis=axis)
    x = activations((11, packed.shape[axis]))
    np.testing.assert_array_equal(
        kernels.matmul(kernels.prepare(packed), x), kernels.matmul(packed, x)
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_infinite_weights_meet_no_padding_in_the_input_gradient(stride):
    weight = np.where(np.arange(36).reshape(2, 2, 3, 3) % 2, np.inf, 1.0)
    packed = pack(weight, parse_pattern("2:2"), axis=0)
    out = 5 if stride == 1 else 3
    dy, steps = np.ones((1, 2, out, out)), {"stride": stride, "padding": 1}
    got = kernels.conv2d_input_gradient(packed, dy, (5, 5), **steps)
    np.testing.assert_array_equal(got, reference.conv2d_input_gradient(packed, dy, (5, 5), **steps))


@pytest.mark.parametrize("batch", [1, 9, 64])
@pytest.mark.parametrize("stride", [1, 3])
def test_batches_beyond_one_block_of_images(batch, stride):
    packed = pack(weights((8, 8, 3, 2)), parse_pattern("2:8"), axis=1)
    x, steps = activations((batch, 8, 7, 10)), {"stride": stride, "padding": (2, 1)}
    np.testing.assert_allclose(
        kernels.conv2d(packed, x, **steps),
        reference.conv2d(packed, x, **steps),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("tokens", [1, 20, 600])
@pytest.mark.parametrize("pattern", ["2:8", "4:2:8", "block 4x1 @ 0.5"])
def test_inputs_are_not_written(pattern, tokens):
    """Bytes are compared: assembly does not ask whether an array may be written."""
    packed = pack(weights((48, 64)), parse_pattern(pattern), axis=1)
    x, dy, images = activations((tokens, 64)), activations((tokens, 48)), activations((2, 64, 5, 6))
    filters = pack(weights((48, 64, 3, 3)), parse_pattern("2:8"), axis=1)
    coarse = pack(weights((48, 64)), parse_pattern("4:2:8"), axis=1, dtype="int8")
    given = (x, dy, images, *arrays(packed), *arrays(filters), *arrays(coarse))
    before = [array.tobytes() for array in given]
    kernels.matmul(packed, x)
    kernels.matmul_int8(coarse, x)
    kernels.weight_gradient(dy, x)
    kernels.conv2d(filters, images)
    kernels.conv2d_weight_gradient(kernels.conv2d(filters, images), images, (3, 3))
    assert [array.tobytes() for array in given] == before


@pytest.mark.parametrize("tokens", [1, 16, 127, 129, 1000])
@pytest.mark.parametrize("rows", [1, 33, 5000])
def test_panels_keep_every_token_and_start_on_a_line(tokens, rows):
    x = np.arange(tokens * rows, dtype=np.float32).reshape(tokens, rows)
    panel = panels.to_panel(x)
    assert panel.values.ctypes.data % 64 == 0 and panel.width % 16 == 0
    strips = panel.values.reshape(len(panel.strip_starts), rows, panel.width)
    np.testing.assert_array_equal(panels.from_strips(strips, tokens), x)


def test_a_missing_backend_names_the_valid_ones():
    packed = pack(weights((16, 16)), parse_pattern("2:8"), axis=1)
    with pytest.raises(UnsupportedError, match=r"unknown backend 'gpus'.*\(valid: cpu\)"):
        kernels.matmul(packed, activations((4, 16)), backend="gpus")


def test_a_missing_format_names_the_valid_ones():
    weight = SimpleNamespace(format_name="blok")
    with pytest.raises(UnsupportedError, match="did you mean 'block'"):
        kernels.matmul(weight, activations((4, 16)))


def test_threads_below_one_are_refused():
    packed = pack(weights((16, 16)), parse_pattern("2:8"), axis=1)
    with pytest.raises(UnsupportedError, match="threads >= 1"):
        kernels.matmul(packed, activations((4, 16)), threads=0)


def test_import_is_light():
    script = (
        "import sys, kernels; print([m for m in ('numba', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
