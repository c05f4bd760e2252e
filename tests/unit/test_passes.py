"""The passes beside the products, on the machine: bits against NumPy, PyTorch and cosparse.spec.pack."""

import numpy as np
import pytest
import torch

from cosparse.spec import NM, VNM, Block, ConvGeometry, Dense, UnsupportedError, pack
from cosparse.spec.layout import Layout
from hwsim import AcceleratorConfig, machine
from hwsim.compile.passes import (
    bias_gradient_pass,
    conv_gradient_pass,
    emit_pass,
    gradient_pass,
    prune_pass,
    transpose_pass,
    update_pass,
    vector_pass,
)
from hwsim.compile.weights import Sgd
from hwsim.legality import require_legal

SMALL = AcceleratorConfig.preset("sat-4x4", group_max=16, n_max=16, act_values_per_row_cycle=2)
MIDDLE = AcceleratorConfig.preset("sat-8x8")
LARGE = AcceleratorConfig.preset("sat-32x32")
SGD = Sgd(rate=0.05, momentum=0.9, decay=0.01, scale=2.0**-10)
F16, F32 = np.float16, np.float32


def padded(array, multiple):
    """Zeros behind the last axis."""
    missing = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])


def execute(pass_, **tensors):
    """The result of a legal run on zeroed memory with tensors at their addresses."""
    program = emit_pass(pass_)
    require_legal(program, pass_.config, pass_.size_bytes)
    parts = {pass_.addresses[name]: tensor for name, tensor in tensors.items()}
    memory = machine.Memory.build(pass_.size_bytes, parts)
    return machine.run(program, pass_.config, memory)


def read(result, pass_, name, shape, dtype):
    return result.memory.array(pass_.addresses[name], shape, dtype)


def masters_of(weight, groups):
    """[conv group][tap][input][output padded to 8]."""
    matrices = Layout(weight.shape, 1, groups).to_matrices(weight)
    return padded(np.ascontiguousarray(matrices.swapaxes(2, 3)), 8)


def half_of(weight, groups):
    """[conv group][tap][input][output padded to 32], FP16."""
    matrices = Layout(weight.shape, 1, groups).to_matrices(weight.astype(np.float16))
    return padded(np.ascontiguousarray(matrices.swapaxes(2, 3)), 32)


def stepped(w, v, dw):
    """SGD in float32, one operation at a time."""
    g = dw * F32(SGD.scale) + F32(SGD.decay) * w
    v = F32(SGD.momentum) * v + g
    return w - F32(SGD.rate) * v, v


def random_step(shape, seed=0):
    rng = np.random.default_rng(seed)
    w, v, dw = rng.standard_normal((3, *shape), F32)
    return w, v, dw * F32(1000)


def check_copy(result, pass_, name, weight, pattern, groups):
    """A copy's planes are those of pack, or the weight itself."""
    axis = 1 if name == "ff" else 0
    if isinstance(pattern, Dense):
        layout = Layout(weight.shape, axis, groups)
        dense = layout.to_matrices(weight.astype(np.float16)).swapaxes(2, 3)
        expected = {"values": padded(np.ascontiguousarray(dense), 32)}
    else:
        image = pack(weight, pattern, axis=axis, conv_groups=groups)
        expected = {"values": image.values, "indices": image.indices}
    for plane, wanted in expected.items():
        got = read(result, pass_, f"{name}_{plane}", wanted.shape, wanted.dtype)
        view = f"u{wanted.dtype.itemsize}"
        np.testing.assert_array_equal(got.view(view), wanted.view(view), f"{name} {plane}")


LAYERS = [
    ((64, 64, 3, 3), 1, NM(2, 8), NM(2, 8)),
    ((70, 52, 3, 1), 2, NM(2, 4), NM(2, 8)),
    ((96, 40), 1, NM(1, 8), NM(2, 16)),
    ((33, 100), 1, NM(2, 16), None),
    ((40, 72, 2, 2), 4, None, NM(2, 4)),
    ((48, 20), 1, Dense(), NM(2, 8)),
    ((20, 3, 3, 3), 1, Dense(), None),
    ((24, 17, 1, 2), 1, Dense(), Dense()),
    ((20, 30), 1, NM(2, 8), Dense()),
    ((12, 5, 3), 3, None, None),
]


@pytest.mark.parametrize("config", [SMALL, MIDDLE, LARGE], ids=lambda config: config.name)
@pytest.mark.parametrize(("shape", "groups", "ff", "bp"), LAYERS)
def test_update_and_its_copies(shape, groups, ff, bp, config):
    pass_ = update_pass(shape, groups, ff, bp, config, optimizer=SGD)
    w, v, dw = (masters_of(array, groups) for array in random_step(shape))
    result = execute(pass_, weight=w, momentum=v, gradient=dw)
    new_w, new_v = stepped(w, v, dw)
    assert not result.nonfinite
    for name, wanted in (("weight", new_w), ("momentum", new_v)):
        got = read(result, pass_, name, wanted.shape, F32)
        np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32), name)
    stepped_weight, _ = stepped(*random_step(shape))
    for name, pattern in (("ff", ff), ("bp", bp)):
        if pattern is not None:
            check_copy(result, pass_, name, stepped_weight, pattern, groups)


@pytest.mark.parametrize(("shape", "groups", "ff", "bp"), LAYERS[:9])
def test_prune_without_an_update(shape, groups, ff, bp):
    weight = random_step(shape)[0]
    pass_ = prune_pass(shape, groups, ff, bp, MIDDLE)
    result = execute(pass_, half=half_of(weight, groups))
    for name, pattern in (("ff", ff), ("bp", bp)):
        if pattern is not None:
            check_copy(result, pass_, name, weight, pattern, groups)


def test_update_is_sgd_of_pytorch():
    w, v, dw = random_step((32, 48))
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = torch.optim.SGD(
        [parameter], lr=SGD.rate, momentum=SGD.momentum, weight_decay=SGD.decay
    )
    optimizer.state[parameter]["momentum_buffer"] = torch.tensor(v)
    parameter.grad = torch.tensor(dw) * SGD.scale
    optimizer.step()
    pass_ = update_pass((32, 48), 1, NM(2, 8), NM(2, 8), MIDDLE, optimizer=SGD)
    masters = dict(zip(("weight", "momentum", "gradient"), (w, v, dw), strict=True))
    result = execute(pass_, **{name: masters_of(array, 1) for name, array in masters.items()})
    got = read(result, pass_, "weight", (48, 32), F32).T
    # PyTorch may fuse products and sums: a few roundings of values near 1.
    np.testing.assert_allclose(got, parameter.detach().numpy(), rtol=0, atol=2e-6)


def test_an_overflowing_weight_is_reported():
    pass_ = update_pass((8, 8), 1, Dense(), None, MIDDLE, optimizer=Sgd(rate=1.0, momentum=0.0))
    gradient = np.full((8, 8), 7e4, F32)
    zeros = np.zeros((8, 8), F32)
    assert execute(pass_, weight=zeros, momentum=zeros, gradient=gradient).nonfinite


@pytest.mark.parametrize(("tokens", "channels"), [(50, 40), (64, 16), (7, 100)])
def test_online_pruning_of_a_gradient(tokens, channels):
    pattern = NM(2, 8)
    gradient = random_step((tokens, channels))[0].astype(np.float16)
    pass_ = gradient_pass(tokens, channels, pattern, MIDDLE)
    result = execute(pass_, half=padded(gradient, 8))
    image = pack(gradient.astype(F32), pattern, axis=1)
    values = read(result, pass_, "bp_values", image.values.shape, np.float16)
    indices = read(result, pass_, "bp_indices", image.indices.shape, np.uint8)
    np.testing.assert_array_equal(values, image.values)
    np.testing.assert_array_equal(indices, image.indices)


def conv_geometry(batch, in_hw, kernel, padding, dilation):
    out_hw = tuple(
        size + 2 * pad - step * (taps - 1)
        for size, pad, step, taps in zip(in_hw, padding, dilation, kernel, strict=True)
    )
    return ConvGeometry(batch, in_hw, out_hw, kernel, (1, 1), padding, dilation)


@pytest.mark.parametrize("config", [MIDDLE, LARGE], ids=lambda config: config.name)
@pytest.mark.parametrize(
    "conv",
    [
        conv_geometry(2, (8, 16), (3, 3), (1, 1), (1, 1)),
        conv_geometry(5, (7, 7), (3, 2), (1, 0), (2, 1)),
        conv_geometry(3, (4, 5), (1, 1), (0, 0), (1, 1)),
        conv_geometry(1, (64, 32), (3, 1), (0, 0), (1, 1)),
    ],
)
def test_online_pruning_of_a_convolution_gradient(conv, config):
    channels, pattern = 20, NM(2, 8)
    (height, width), (taps_y, taps_x), (step_y, step_x) = conv.in_hw, conv.kernel, conv.dilation
    gradient = halves(conv.batch, *conv.out_hw, channels)
    pass_ = conv_gradient_pass(conv, channels, pattern, config)
    tops = [
        (taps - 1) * step - pad
        for taps, step, pad in zip(conv.kernel, conv.dilation, conv.padding, strict=True)
    ]
    framed = np.pad(gradient, [(0, 0), *((top, top) for top in tops), (0, 0)])
    result = execute(pass_, half=padded(framed, 8))
    shifted = [
        framed[:, y : y + height, x : x + width].reshape(-1, channels)
        for y in range((taps_y - 1) * step_y, -1, -step_y)
        for x in range((taps_x - 1) * step_x, -1, -step_x)
    ]
    for plane in ("values", "indices"):
        images = [pack(tap.astype(F32), pattern, axis=1) for tap in shifted]
        wanted = np.stack([getattr(image, plane)[0, 0] for image in images])
        got = read(result, pass_, f"bp_{plane}", wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(got, wanted, plane)


def test_a_strided_gradient_is_refused():
    conv = ConvGeometry(1, (8, 8), (4, 4), (3, 3), (2, 2), (1, 1), (1, 1))
    with pytest.raises(UnsupportedError, match="expected stride 1"):
        conv_gradient_pass(conv, 16, NM(2, 8), MIDDLE)


@pytest.mark.parametrize(("rows", "columns"), [(50, 40), (64, 300), (3, 9)])
def test_transposition(rows, columns):
    array = random_step((rows, columns))[0].astype(np.float16)
    pass_ = transpose_pass(rows, columns, MIDDLE)
    result = execute(pass_, half=padded(array, 8))
    wanted = padded(np.ascontiguousarray(array.T), 8)
    np.testing.assert_array_equal(read(result, pass_, "bp_values", wanted.shape, F16), wanted)


def halves(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(F16)


@pytest.mark.parametrize("config", [SMALL, MIDDLE, LARGE], ids=lambda config: config.name)
@pytest.mark.parametrize(("tokens", "channels"), [(1, 1), (37, 20), (300, 64), (5, 1000)])
def test_bias_and_relu(tokens, channels, config):
    x, bias = padded(halves(tokens, channels), 8), padded(halves(channels).astype(F32), 8)
    pass_ = vector_pass(("bias", "relu"), tokens, channels, config)
    result = execute(pass_, source=x, operand_0=bias)
    wanted = np.maximum(x.astype(F32) + bias, F32(0)).astype(F16)
    np.testing.assert_array_equal(read(result, pass_, "result", wanted.shape, F16), wanted)


def test_residual_relu_and_its_mask():
    x, residual = halves(70, 24), halves(70, 24, seed=1)
    forward = vector_pass(("add", "relu"), 70, 24, MIDDLE)
    y = read(execute(forward, source=x, operand_0=residual), forward, "result", (70, 24), F16)
    np.testing.assert_array_equal(
        y, np.maximum(x.astype(F32) + residual.astype(F32), F32(0)).astype(F16)
    )
    backward = vector_pass(("mask",), 70, 24, MIDDLE)
    gradient = read(
        execute(backward, source=residual, operand_0=y), backward, "result", (70, 24), F16
    )
    np.testing.assert_array_equal(gradient, np.where(y > 0, residual, F16(0)))


def test_casts():
    wide = np.random.default_rng(0).standard_normal((30, 8), F32)
    narrow = vector_pass(("copy",), 30, 8, MIDDLE, source="float32")
    got = read(execute(narrow, source=wide), narrow, "result", (30, 8), F16)
    np.testing.assert_array_equal(got, wide.astype(F16))
    scaled = vector_pass(("scale",), 30, 8, MIDDLE, result="float32", scale=0.25)
    got = read(execute(scaled, source=got), scaled, "result", (30, 8), F32)
    np.testing.assert_array_equal(got, wide.astype(F16).astype(F32) / 4)


@pytest.mark.parametrize("config", [SMALL, MIDDLE], ids=lambda config: config.name)
@pytest.mark.parametrize(("tokens", "channels"), [(1, 8), (5, 20), (4000, 64), (900, 1000)])
def test_bias_gradient(tokens, channels, config):
    # Multiples of 1/8 below 2: every sum is exact, whatever its order.
    rng = np.random.default_rng(0)
    gradient = padded((rng.integers(-15, 16, (tokens, channels)) / 8).astype(F16), 8)
    pass_ = bias_gradient_pass(tokens, channels, config)
    result = execute(pass_, source=gradient)
    wanted = gradient.astype(F32).sum(axis=0)
    np.testing.assert_array_equal(read(result, pass_, "result", wanted.shape, F32), wanted)


def test_what_sore_cannot_select_is_refused():
    with pytest.raises(UnsupportedError, match=r"SORE selects N:M .* got .*2:2:8"):
        update_pass((32, 32), 1, VNM(2, 2, 8), None, MIDDLE)
    with pytest.raises(UnsupportedError, match="SORE selects N:M"):
        prune_pass((32, 32), 1, Block(8, 8, 0.5), None, MIDDLE)
    with pytest.raises(UnsupportedError, match="divides group_max = 8"):
        update_pass((32, 32), 1, NM(2, 16), None, AcceleratorConfig.preset("sat-4x4"))
    with pytest.raises(UnsupportedError, match="did you mean 'relu'"):
        vector_pass(("relv",), 8, 8, MIDDLE)


def test_scratchpads_that_are_too_small_are_refused():
    # indices of 32 lanes are the least a STORE moves: 32 x 16 FP16 against halves of 512 bytes
    tiny = AcceleratorConfig.preset("sat-4x4", group_max=16, n_max=16, activation_kib=1)
    with pytest.raises(UnsupportedError, match="hold a tile of 32 x 16"):
        gradient_pass(64, 64, NM(2, 16), tiny)


def test_a_larger_scratchpad_is_never_slower():
    sizes = [
        AcceleratorConfig.preset("sat-8x8", accumulator_kib=kib, activation_kib=kib, weight_kib=kib)
        for kib in (32, 64, 128, 256)
    ]
    cycles = [update_pass((96, 80, 3, 3), 1, NM(2, 8), NM(2, 8), config).cycles for config in sizes]
    assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize(("config", "share"), [(MIDDLE, 0.95), (LARGE, 0.75)])
def test_update_is_near_the_bound_of_memory_or_lanes(config, share):
    pass_ = update_pass((256, 256, 3, 3), 1, NM(2, 8), NM(2, 8), config)
    weights = 256 * 256 * 9
    # w, v and dW read, w and v written; two copies of 2 of 8 values, 2.5 bytes each
    moved = weights * (5 * 4 + 2 * 2.5 * 2 / 8)
    bound = max(moved / config.dram_bytes_per_cycle, 3 * weights / config.wuve_lanes)
    assert pass_.counters["bytes_read"] + pass_.counters["bytes_written"] == moved
    assert bound <= pass_.cycles <= bound / share
