"""Bits of the machine against NumPy in canonical order, the oracle, PyTorch, and values by hand."""

import itertools

import numpy as np
import pytest
import torch

from cosparse.spec import NM, pack
from cosparse.spec.errors import InputError, ProgramError
from hwsim import AcceleratorConfig, machine
from hwsim.isa import Flow, Instruction, Lhs, Op, Space, Unit, VectorOp, configure
from hwsim.program import Program
from kernels import reference

from .machine_bench import Bench, bits, padded

SMALL = AcceleratorConfig.preset("sat-4x4")
MEDIUM = AcceleratorConfig.preset("sat-8x8")
ROOMY = AcceleratorConfig.preset(
    "sat-8x8", activation_kib=256, weight_kib=512, accumulator_kib=512, add_latency=3
)
INF = np.inf
NAN16, NAN32 = 0x7E00, 0x7FC00000
ZERO, MINUS_ZERO = 0x00000000, 0x80000000
POSITIVE, NEGATIVE = 0x7F800000, 0xFF800000  # infinities


def floats(*values):
    """FP32 bits."""
    return bits(np.array(values, np.float32)).tolist()


def normal(shape, seed=0, scale=1.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return values.astype(np.float16)


def wide_range(shape, seed=0):
    """FP16 from the subnormals to the largest, so that the order of additions shows."""
    random = np.random.default_rng(seed)
    exponents = random.uniform(-24, 15, shape)
    return (random.choice([-1, 1], shape) * 2.0**exponents).astype(np.float16)


def canonical_product(x, w, start=None):
    """(rows, K) @ (K, columns), one rounded FP32 addition after the other, K ascending."""
    total = np.zeros((len(x), w.shape[1]), np.float32) if start is None else start.copy()
    for k in range(len(w)):
        total += x[:, k : k + 1].astype(np.float32) * w[k].astype(np.float32)
    return total


def equal_bits(got, expected):
    assert got.shape == expected.shape
    assert np.array_equal(bits(got), bits(expected))


# --- MATMUL: lhs = ROW


def plain_product(config, x, w, **registers):
    bench = Bench(config)
    pixel_words = bench.load_tokens(0, x)
    shape = {
        "out_w": len(x),
        "in_w": len(x),
        "pixel_words": pixel_words,
        "channels": x.shape[1],
        "columns": w.shape[1],
        "wgt_words": bench.load_dense(0, w),
        "acc_words": -(-w.shape[1] // config.cols),
    }
    bench.matmul({**shape, **registers})
    return bench.acc_rows(len(x), w.shape[1])


@pytest.mark.parametrize("config", [SMALL, MEDIUM], ids=lambda config: config.name)
@pytest.mark.parametrize(("tokens", "k", "columns"), [(1, 1, 1), (5, 19, 7), (13, 33, 20)])
def test_a_dense_product_has_the_bits_of_the_canonical_order(config, tokens, k, columns):
    x, w = wide_range((tokens, k)), wide_range((k, columns), seed=1)
    expected = canonical_product(x, w)
    equal_bits(plain_product(config, x, w), expected)
    if k > 8:
        backwards = canonical_product(x[:, ::-1], w[::-1])
        assert not np.array_equal(backwards, expected)  # the operands tell orders apart


@pytest.mark.parametrize("flow", Flow)
@pytest.mark.parametrize(("ic", "ir"), [(1, 1), (4, 1), (2, 2), (1, 2)])
def test_dataflow_and_interleave_do_not_change_a_bit(flow, ic, ir):
    x, w = wide_range((11, 30)), wide_range((30, 9), seed=1)
    got = plain_product(SMALL, x, w, flow=flow, ic=ic, ir=ir, n=4, m=4)
    equal_bits(got, canonical_product(x, w))


def packed_product(config, packed, x, **registers):
    n, m = packed.pattern.n, packed.pattern.m
    columns = packed.layout.lanes
    bench = Bench(config)
    shape = {"out_w": len(x), "in_w": len(x), "channels": x.shape[1], "columns": columns}
    bench.matmul(
        {
            **shape,
            "pixel_words": bench.load_tokens(0, x),
            "wgt_words": bench.load_packed(0, packed),
            "packed": 1,
            "n": n,
            "m": m,
            "acc_words": -(-columns // config.cols),
            **registers,
        }
    )
    return bench.acc_rows(len(x), columns)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (2, 8), (1, 8), (2, 16), (16, 16)])
def test_a_packed_product_has_the_bits_of_the_oracle(n, m, axis):
    weight = wide_range((20, 35)).astype(np.float32)
    packed = pack(weight, NM(n, m), axis=axis)
    x = wide_range((9, weight.shape[axis]), seed=2)
    expected = reference.matmul(packed, x, accumulate=np.float32)
    equal_bits(packed_product(MEDIUM, packed, x), expected)
    equal_bits(packed_product(MEDIUM, packed, x, flow=Flow.WS, ic=2, ir=2), expected)


def test_a_sum_is_within_the_bound_of_an_exact_one():
    x, w = normal((8, 120)), normal((120, 16), seed=1)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    magnitudes = np.abs(x.astype(np.float64)) @ np.abs(w.astype(np.float64))
    gamma = 120 * 2.0**-24 / (1 - 120 * 2.0**-24)
    got = plain_product(MEDIUM, x, w)
    assert (np.abs(got - exact) <= gamma * magnitudes).all()


def test_products_of_subnormals_are_exact():
    x, w = np.full((1, 1), 2.0**-24, np.float16), np.full((1, 1), -(2.0**-24), np.float16)
    assert plain_product(SMALL, x, w) == np.float32(-(2.0**-48))


# --- MATMUL: convolutions


CONVS = {
    "same": ((3, 3), (7, 6), 1, (1, 1), 1),
    "stride": ((3, 3), (9, 8), 2, (1, 1), 1),
    "pixels": ((1, 1), (7, 7), 3, (0, 0), 1),
    "dilated": ((3, 2), (9, 8), 1, (2, 1), 2),
    "one pixel": ((3, 3), (1, 1), 1, (1, 1), 1),
    "wide padding": ((3, 3), (4, 5), 2, (3, 2), 2),
}


def walk_registers(bench, images, kernel, out_hw, stride, origin, step):
    """images: (batch, channels, h, w) FP16, laid channels-last in ACT."""
    batch, channels, height, width = images.shape
    words = bench.load_tokens(0, images.transpose(0, 2, 3, 1).reshape(-1, channels))
    return {
        "images": batch,
        "out_h": out_hw[0],
        "out_w": out_hw[1],
        "in_h": height,
        "in_w": width,
        "stride_y": stride,
        "stride_x": stride,
        "taps_y": kernel[0],
        "taps_x": kernel[1],
        "origin_y": origin[0],
        "origin_x": origin[1],
        "step_y": step,
        "step_x": step,
        "channels": channels,
        "pixel_words": words,
        "row_words": words * width,
        "image_words": words * width * height,
    }


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize(("n", "m"), [(2, 8), (2, 4)])
def test_a_convolution_has_the_bits_of_the_oracle(name, n, m):
    kernel, in_hw, stride, padding, dilation = CONVS[name]
    packed = pack(wide_range((10, 12, *kernel)).astype(np.float32), NM(n, m), axis=1)
    x = wide_range((2, 12, *in_hw), seed=1)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    expected = reference.conv2d(packed, x, **geometry, accumulate=np.float32)
    bench = Bench(ROOMY)
    origin = (-padding[0], -padding[1])
    walk = walk_registers(bench, x, kernel, expected.shape[2:], stride, origin, dilation)
    right = {"wgt_words": bench.load_packed(0, packed), "packed": 1, "n": n, "m": m}
    for flow in Flow:
        bench.matmul({**walk, **right, "columns": 10, "acc_words": 2, "flow": flow})
        tokens = expected.transpose(0, 2, 3, 1).reshape(-1, 10)
        equal_bits(bench.acc_rows(len(tokens), 10), tokens)


def test_an_input_gradient_walks_the_taps_backwards():
    packed = pack(wide_range((12, 10, 3, 3)).astype(np.float32), NM(2, 8), axis=0)
    dy = wide_range((2, 12, 6, 5), seed=1)
    expected = reference.conv2d_input_gradient(packed, dy, (6, 5), padding=1, accumulate=np.float32)
    bench = Bench(ROOMY)
    walk = walk_registers(bench, dy, (3, 3), (6, 5), 1, (1, 1), -1)
    right = {"wgt_words": bench.load_packed(0, packed), "packed": 1, "n": 2, "m": 8}
    bench.matmul({**walk, **right, "columns": 10, "acc_words": 2})
    equal_bits(bench.acc_rows(60, 10), expected.transpose(0, 2, 3, 1).reshape(-1, 10))


def test_a_weight_gradient_sums_tokens_in_order():
    x, dy = wide_range((2, 5, 6, 5)), wide_range((2, 7, 3, 3), seed=1)
    columns = dy.transpose(0, 2, 3, 1).reshape(-1, 7)
    panel = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = [
        panel[:, :, ky : ky + 5 : 2, kx : kx + 5 : 2].transpose(1, 0, 2, 3).reshape(5, -1)
        for ky, kx in itertools.product(range(3), repeat=2)
    ]
    bench = Bench(ROOMY)
    walk = walk_registers(bench, x, (3, 3), (3, 3), 2, (-1, -1), 1)
    wgt_words = bench.load_dense(0, columns)
    bench.matmul({**walk, "lhs": Lhs.COLUMN, "wgt_words": wgt_words, "columns": 7, "acc_words": 1})
    equal_bits(bench.acc_rows(45, 7), canonical_product(np.concatenate(rows), columns))


def test_a_segment_table_skips_absent_blocks():
    """Segments of 4 channels at (tap, first channel); those not listed contribute nothing."""
    images, weight = wide_range((1, 16, 4, 4)), wide_range((3, 3, 16, 6), seed=1)
    listed = [(0, 1, 4), (1, 1, 0), (1, 1, 12), (2, 0, 8)]
    table = np.array([[ky << 24 | kx << 16 | first for ky, kx, first in listed]], np.uint32)
    padding = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    tokens = [
        padding[0, first : first + 4, ky : ky + 4, kx : kx + 4].reshape(4, 16).T
        for ky, kx, first in listed
    ]
    entries = np.concatenate([weight[ky, kx, first : first + 4] for ky, kx, first in listed])
    bench = Bench(SMALL)
    walk = walk_registers(bench, images, (3, 3), (4, 4), 1, (-1, -1), 1)
    wgt_words = bench.load_dense(0, entries)
    bench.load(Space.WGT, 100, table)
    segments = {"use_table": 1, "segments": 4, "channels": 4}
    bench.matmul(
        {**walk, **segments, "wgt_words": wgt_words, "columns": 6, "acc_words": 2}, table=100
    )
    equal_bits(bench.acc_rows(16, 6), canonical_product(np.concatenate(tokens, axis=1), entries))


def test_segments_may_lie_inside_a_word():
    """Two channels at 6 and at 2, with eight lanes to a word."""
    config = AcceleratorConfig.preset("sat-4x4", act_values_per_row_cycle=2)
    x, entries = wide_range((5, 8)), wide_range((4, 3), seed=1)
    bench = Bench(config)
    pixel_words = bench.load_tokens(0, x)
    wgt_words = bench.load_dense(0, entries)
    bench.load(Space.WGT, 100, np.array([[6, 2, 0, 0]], np.uint32))
    shape = {"out_w": 5, "in_w": 5, "channels": 2, "columns": 3, "use_table": 1, "segments": 2}
    words = {"pixel_words": pixel_words, "wgt_words": wgt_words, "acc_words": 1}
    bench.matmul({**shape, **words}, table=100)
    equal_bits(bench.acc_rows(5, 3), canonical_product(x[:, [6, 7, 2, 3]], entries))


# --- MATMUL: accumulators and special values


def accumulated(x, w, pieces, start=None):
    bench = Bench(SMALL)
    shape = {"out_w": len(x), "in_w": len(x), "columns": w.shape[1], "acc_words": 2}
    if start is not None:
        bench.load_acc(0, start)
    for number, (first, last) in enumerate(itertools.pairwise(pieces)):
        pixel_words = bench.load_tokens(0, x[:, first:last])
        wgt_words = bench.load_dense(0, w[first:last])
        registers = {**shape, "channels": last - first, "pixel_words": pixel_words}
        accumulate = int(number > 0 or start is not None)
        bench.matmul({**registers, "wgt_words": wgt_words}, accumulate=accumulate)
    return bench.acc_rows(len(x), w.shape[1])


def test_pieces_of_k_give_the_bits_of_one_product():
    x, w = wide_range((6, 40)), wide_range((40, 5), seed=1)
    whole = canonical_product(x, w)
    for pieces in ([0, 40], [0, 16, 40], [0, 3, 4, 30, 40]):
        equal_bits(accumulated(x, w, pieces), whole)


def test_accumulation_starts_from_what_lies_there():
    x, w = wide_range((6, 10)), wide_range((10, 5), seed=1)
    start = wide_range((6, 5), seed=2).astype(np.float32)
    equal_bits(accumulated(x, w, [0, 10], start), canonical_product(x, w, start))


@pytest.mark.parametrize(("product", "expected"), [(0.0, 0x00000000), (-0.0, 0x80000000)])
def test_minus_zero_stays_until_plus_zero_is_added(product, expected):
    x = np.full((1, 1), product, np.float16)
    got = accumulated(x, np.ones((1, 5), np.float16), [0, 1], np.full((1, 5), -0.0))
    assert (bits(got) == expected).all()


def test_padding_is_multiplied_and_nan_is_canonical():
    """Token 1 reads outside the image: +0 times infinity."""
    bench = Bench(SMALL)
    x, w = np.ones((1, 1), np.float16), np.array([[INF, 2.0, -INF]], np.float16)
    words = {"pixel_words": bench.load_tokens(0, x), "wgt_words": bench.load_dense(0, w)}
    shape = {"out_w": 2, "in_w": 1, "channels": 1, "columns": 3, "acc_words": 1}
    bench.matmul({**shape, **words})
    assert bits(bench.acc_rows(2, 3)).tolist() == [
        [POSITIVE, *floats(2.0), NEGATIVE],
        [NAN32, ZERO, NAN32],
    ]


def test_an_absent_weight_never_meets_an_infinity():
    packed = pack(np.array([[1.0, 0, 0, 2.0], [0, 3.0, 4.0, 0]]), NM(2, 4), axis=1)
    got = packed_product(MEDIUM, packed, np.array([[INF, 1, 1, 1], [1, np.nan, 1, 1]], np.float16))
    assert bits(got).tolist() == [
        [POSITIVE, *floats(7)],
        [*floats(3), NAN32],
    ]


# --- PRUNE


def pruned(config, source, n, m, transpose):
    """Value and index plane that PRUNE leaves in DRAM; lanes padded to 32."""
    bench = Bench(config)
    lanes, k = source.shape if transpose else source.shape[::-1]
    lanes, entries = 32 * -(-lanes // 32), -(-k // m) * n
    words = lanes // config.cols
    shape = {"n": n, "m": m, "rows": len(source), "columns": source.shape[1]}
    strides = {"act_words": bench.load_tokens(0, source), "wgt_words": words}
    bench.emit(Unit.SORE, {**shape, **strides, "transpose": transpose}, Op.PRUNE, act=0, wgt=0)
    values = bench.store(Space.WGT, 0, entries, 2 * lanes, words)
    indices = bench.store(Space.IDX, 0, entries, lanes // 2, words)
    memory = bench.run().memory
    return (
        memory.array(values, (entries, lanes), np.uint16),
        memory.array(indices, (entries, lanes // 2), np.uint8),
    )


@pytest.mark.parametrize("transpose", [0, 1])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (2, 8), (1, 8), (2, 16), (4, 4)])
def test_pruning_writes_the_packed_image(n, m, transpose):
    source = np.round(normal((21, 37), scale=2)).astype(np.float16)  # many ties
    source[3, 5], source[4, 5], source[5, 5] = np.nan, -INF, -0.0
    source.view(np.uint16)[6, 6] = 0xFC01  # a signalling NaN
    packed = pack(source if transpose else source.T, NM(n, m), axis=1)
    values, indices = pruned(MEDIUM, source, n, m, transpose)
    assert np.array_equal(values, packed.values.view(np.uint16).reshape(values.shape))
    assert np.array_equal(indices, packed.indices.reshape(indices.shape))


# --- VECTOR


SPECIAL = np.array([[1.5, -2.0, 0.0, -0.0], [INF, -INF, np.nan, -np.nan]], np.float32)
OTHER = np.array([[1.0, -1.0, 0.0, 3.0], [np.nan, 2.0, 2.0, -0.0]], np.float32)

EXPECTED = {
    VectorOp.COPY: [[*floats(1.5, -2), ZERO, MINUS_ZERO], [POSITIVE, NEGATIVE, NAN32, NAN32]],
    VectorOp.RELU: [[*floats(1.5), ZERO, ZERO, ZERO], [POSITIVE, ZERO, NAN32, NAN32]],
    VectorOp.BIAS: [floats(2.5, -3, 0, 3), [POSITIVE, NEGATIVE, NAN32, NAN32]],
    VectorOp.ADD: [floats(2.5, -3, 0, 3), [NAN32, NEGATIVE, NAN32, NAN32]],
    VectorOp.MASK: [[*floats(1.5), ZERO, ZERO, MINUS_ZERO], [ZERO, NEGATIVE, NAN32, ZERO]],
    VectorOp.SCALE: [[*floats(-0.75, 1), MINUS_ZERO, ZERO], [NEGATIVE, POSITIVE, NAN32, NAN32]],
    VectorOp.COLSUM: [[POSITIVE, NEGATIVE, NAN32, NAN32]],
}
"""By hand, from docs/numerics.md; SCALE by -0.5, BIAS with the first row of OTHER."""


@pytest.mark.parametrize("kind", VectorOp)
def test_a_vector_operation_on_special_values(kind):
    bench = Bench(SMALL)
    bench.load_acc(0, SPECIAL)
    bench.load_acc(8, OTHER)
    words = {"rows": 2, "words": 1, "a_words": 1, "b_words": 1, "dst_words": 1}
    bench.vector(kind, {**words, "scale": floats(-0.5)[0]}, a=0, b=8, dst=16)
    got = bench.run().scratchpads.acc.bits[16 : 16 + len(EXPECTED[kind])]
    assert got.tolist() == EXPECTED[kind]


def test_a_column_sum_adds_rows_in_order_from_plus_zero():
    rows = np.float32([[2.0**24, -0.0], [1, -0.0], [1, -0.0], [-(2.0**24), -0.0]])
    bench = Bench(SMALL)
    words = bench.load_acc(0, rows)
    registers = {"rows": 4, "words": 1, "a_words": words, "dst_words": 1}
    bench.vector(VectorOp.COLSUM, registers, a=0, dst=16)
    assert bench.run().scratchpads.acc.bits[16, :2].tolist() == [0, 0]


def test_a_result_may_replace_its_operand():
    rows = np.arange(24, dtype=np.float32).reshape(3, 8)
    bench = Bench(SMALL)
    bench.load_acc(0, rows)
    registers = {"rows": 3, "words": 2, "a_words": 2, "b_words": 2, "dst_words": 2}
    bench.vector(VectorOp.ADD, registers, a=0, b=0, dst=0)
    equal_bits(bench.acc_rows(3, 8), rows + rows)


@pytest.mark.parametrize(
    ("value", "expected", "nonfinite"),
    [
        (65519.996, 0x7BFF, False),
        (65520.0, 0x7C00, True),
        (-INF, 0xFC00, True),
        (np.nan, NAN16, True),
        (2.0**-25, 0x0000, False),  # half of the smallest, to even
        (-(2.0**-24), 0x8001, False),
        (1 + 2.0**-11, 0x3C00, False),
        (1 + 3 * 2.0**-11, 0x3C02, False),
    ],
)
def test_a_cast_rounds_to_nearest_even_and_flags_what_is_not_finite(value, expected, nonfinite):
    for through_store in (True, False):
        bench = Bench(SMALL)
        bench.load_acc(0, np.full((1, 8), value, np.float32))
        address = 0
        if through_store:
            address = bench.store(Space.ACC16, 0, 1, 16)
        else:
            registers = {"rows": 1, "words": 2, "a_words": 2, "dst_words": 2, "to_act": 1}
            bench.vector(VectorOp.COPY, registers, a=0, dst=4)
            address = bench.store(Space.ACT, 4, 1, 16)
        result = bench.run()
        assert result.nonfinite is nonfinite
        assert result.memory.array(address, (8,), np.uint16).tolist() == [expected] * 8


def test_a_cast_row_leaves_the_rest_of_its_last_word_alone():
    config = AcceleratorConfig.preset("sat-4x4", act_values_per_row_cycle=2)
    bench = Bench(config)
    bench.fill(Space.ACT, 0, 2, 0x1234)
    bench.load_acc(0, np.ones((1, 4)))
    registers = {"rows": 1, "words": 1, "a_words": 1, "dst_words": 1, "to_act": 1}
    bench.vector(VectorOp.COPY, registers, a=0, dst=0)
    act = bench.run().scratchpads.act.bits
    assert act[0].tolist() == [0x3C00] * 4 + [0x1234] * 4


# --- UPDATE


RATE, MOMENTUM, DECAY, SCALE = (np.float32(value) for value in (0.05, 0.9, 1e-3, 2.0**-10))


def updated(w, v, dw):
    """Weight, momentum and FP16 copy after one UPDATE of (rows, 8) FP32."""
    rows = len(w)
    bench = Bench(SMALL)
    for start, values in ((0, w), (2 * rows, v), (4 * rows, dw)):
        bench.load_acc(start, values)
    scalars = {"scale": SCALE, "rate": RATE, "momentum": MOMENTUM, "decay": DECAY}
    registers = {name: int(bits(value.reshape(1)).item()) for name, value in scalars.items()}
    words = {"rows": rows, "words": 2, "a_words": 2, "dst_words": 2}
    bench.emit(
        *(Unit.WUVE, {**registers, **words}, Op.UPDATE),
        weight=0,
        momentum=2 * rows,
        gradient=4 * rows,
        act=0,
    )
    pads = bench.run().scratchpads
    acc = pads.acc.bits.view(np.float32).reshape(-1)[: 16 * rows].reshape(2, rows, 8)
    return *acc, pads.act.bits.view(np.float16).reshape(-1)[: 8 * rows].reshape(rows, 8)


def update_operands(rows=60):
    random = np.random.default_rng(0)
    w, v = (random.standard_normal((rows, 8)).astype(np.float32) for _ in range(2))
    return w, v, (random.standard_normal((rows, 8)) * 1024).astype(np.float32)


def test_an_update_rounds_every_operation():
    w, v, dw = update_operands()
    got_w, got_v, copy = updated(w, v, dw)
    fused = 0
    for place in np.ndindex(w.shape):
        product = DECAY * w[place]
        gradient = dw[place] * SCALE + product
        velocity = MOMENTUM * v[place] + gradient
        step = RATE * velocity
        assert bits(got_v)[place] == bits(velocity.reshape(1))
        assert bits(got_w)[place] == bits((w[place] - step).reshape(1))
        once = np.float64(MOMENTUM) * np.float64(v[place]) + np.float64(gradient)
        fused += np.float32(once) != velocity
    assert fused > 20  # a fused multiply-add would show
    assert np.array_equal(bits(copy), bits(got_w.astype(np.float16)))


def test_an_update_is_sgd_of_pytorch():
    w, v, dw = update_operands()
    parameter = torch.nn.Parameter(torch.from_numpy(w.astype(np.float64)))
    options = {"lr": float(RATE), "momentum": float(MOMENTUM), "weight_decay": float(DECAY)}
    optimizer = torch.optim.SGD([parameter], **options)
    optimizer.state[parameter]["momentum_buffer"] = torch.from_numpy(v.astype(np.float64))
    parameter.grad = torch.from_numpy(dw.astype(np.float64) * float(SCALE))
    optimizer.step()
    got_w, _, _ = updated(w, v, dw)
    largest = np.abs(w) + np.abs(v) + np.abs(dw * SCALE)
    assert (np.abs(got_w - parameter.detach().numpy()) <= 8 * 2.0**-24 * largest).all()


# --- LOAD, STORE, FILL


def test_a_transfer_walks_three_loops():
    """Runs of 16 bytes: two columns backwards, three rows, two planes."""
    source = np.arange(1024, dtype=np.uint16)
    bench = Bench(SMALL)
    bench.place(source)
    loops = {
        "count0": 2,
        "stride0": -32,
        "count1": 3,
        "stride1": 64,
        "count2": 2,
        "stride2": 512,
        "run_bytes": 16,
        "row_bytes": 32,
        "row_words": 5,
    }
    bench.emit(Unit.DMA, loops, Op.LOAD, space=Space.ACT, local=1, dram=32)
    act = bench.run().scratchpads.act
    starts = [
        32 + plane * 512 + row * 64 - column * 32
        for plane in range(2)
        for row in range(3)
        for column in range(2)
    ]
    expected = np.concatenate([source[start // 2 : start // 2 + 8] for start in starts])
    words = [1 + 5 * row + word for row in range(6) for word in range(4)]
    assert np.array_equal(act.bits[words].reshape(-1), expected)
    assert act.known.sum() == len(expected)


def test_a_load_pads_the_last_word_and_a_store_leaves_it_out():
    config = AcceleratorConfig.preset("sat-8x8")
    rows = np.arange(1, 49, dtype=np.uint16).reshape(2, 24)
    bench = Bench(config)
    bench.load(Space.ACT, 0, rows, 3)
    address = bench.store(Space.ACT, 0, 2, 48, 3)
    result = bench.run()
    assert np.array_equal(result.memory.array(address, (2, 24), np.uint16), rows)
    words = result.scratchpads.act.bits[[0, 1, 3, 4]].reshape(2, 32)
    assert np.array_equal(words, padded(rows, 16))


def test_moves_keep_the_bits_of_nan_and_accumulators_widen_fp16():
    halves = np.array([[0x7C01, 0xFE05, 0x8000, 0x0001, 0xFC00, 0x3C00, 0, 0]], np.uint16)
    bench = Bench(SMALL)
    bench.load(Space.WGT, 0, halves)
    bench.load(Space.ACC16, 0, halves)
    address = bench.store(Space.WGT, 0, 1, 16)
    result = bench.run()
    assert np.array_equal(result.memory.array(address, (1, 8), np.uint16), halves)
    expected = [NAN32, NAN32, MINUS_ZERO, *floats(2.0**-24), NEGATIVE, *floats(1.0), 0, 0]
    assert result.scratchpads.acc.bits[:2].reshape(-1).tolist() == expected
    assert result.nonfinite is False


def test_fill_writes_every_lane():
    bench = Bench(SMALL)
    bench.fill(Space.ACC, 3, 2, NAN32 + 5)
    acc = bench.run().scratchpads.acc
    assert (acc.bits[3:5] == NAN32 + 5).all() and acc.known.sum() == 8


def test_the_given_memory_stays():
    bench = Bench(SMALL)
    bench.fill(Space.ACT, 0, 2, 0x3C00)
    address = bench.store(Space.ACT, 0, 1, 16)
    memory = machine.Memory.build(256)
    result = machine.run(bench.program, SMALL, memory)
    assert not memory.image.any()
    assert (result.memory.array(address, (8,), np.float16) == 1).all()


# --- what is refused


def refused(listing, message, config=SMALL):
    with pytest.raises(ProgramError, match=message):
        machine.run(Program.assemble(listing), config, machine.Memory.build(1024))


def test_a_word_that_nothing_has_written_is_named():
    bench = Bench(SMALL)
    bench.fill(Space.ACT, 4, 1, 0)
    bench.store(Space.ACT, 4, 1, 16)
    last = len(bench.listing) - 1
    message = (
        rf"instruction {last} \(STORE .*\): reads ACT word 5 lane 0, which nothing has written"
    )
    refused(bench.listing, message)


def test_semaphores_are_counted():
    fill = Bench(SMALL)
    fill.fill(Space.ACT, 0, 1, 0)
    args = fill.listing[0].args
    refused([Instruction(Op.FILL, args, wait=4)], "waits for semaphore 2, which has no token")
    refused([Instruction(Op.FILL, args, signal=4)] * 256, "semaphore 2, which has 255 tokens")
    pair = [Instruction(Op.FILL, args, signal=4), Instruction(Op.FILL, args, wait=4)]
    machine.run(Program.assemble(pair * 300), SMALL, machine.Memory.build(16))


def test_halt_is_last_and_opcodes_are_known():
    halt = Instruction(Op.HALT)
    refused([halt, halt], "instruction 0 .*expected HALT as the last instruction")
    unfinished = Program(Program.assemble(configure(Unit.WUVE, 0, {})).words[:-1])
    for program, message in (
        (unfinished, "expected HALT"),
        (Program(np.zeros((1, 2), np.uint64)), "instruction 0: unknown opcode"),
        (Program(np.zeros((0, 2), np.uint64)), "got none"),
    ):
        with pytest.raises(ProgramError, match=message):
            machine.run(program, SMALL, machine.Memory.build(16))


def test_addresses_outside_dram_are_refused():
    bench = Bench(SMALL)
    bench.end = 1008
    bench.store(Space.ACT, 0, 1, 32)
    refused(bench.listing, r"dram: expected bytes 0 to 1023 of DRAM, got 1008 to 1039")


def test_positions_outside_a_group_are_refused():
    packed = pack(np.ones((4, 8)), NM(2, 4), axis=1)
    broken = packed.indices.copy()
    broken[..., 0] = 0x41  # lane 1 names value 4 of a group of 4
    object.__setattr__(packed, "indices", broken)
    with pytest.raises(ProgramError, match="position: expected at most 3 in groups of 4, got 4"):
        packed_product(MEDIUM, packed, np.ones((1, 8), np.float16))


def table_product(entries, channels=4):
    """A product of one token with 8 channels at ACT word 1016, two words from the half's end."""
    bench = Bench(SMALL)
    bench.fill(Space.ACT, 1016, 2, 0)
    bench.fill(Space.WGT, 0, 64, 0)
    bench.load(Space.WGT, 100, np.array([entries], np.uint32))
    shape = {"out_w": 1, "in_w": 1, "columns": 4, "acc_words": 1, "wgt_words": 1}
    segments = {"channels": channels, "use_table": 1, "segments": len(entries)}
    bench.matmul({**shape, **segments}, act=1016, table=100)
    return bench.run()


def test_a_segment_table_is_checked_as_it_is_read():
    table_product([0, 4, 0, 4])
    table_product([5, 1, 6, 2], channels=2)
    for entries, message in (
        ([0, 2, 0, 0], "first channel that is a multiple of 4, or a segment inside one word"),
        ([0, 8, 0, 0], "reads ACT word 1018 lane 0, which nothing has written"),
        ([0, 32, 0, 0], "expected words of ACT below 1024, the end of its half, got 1024"),
    ):
        with pytest.raises(ProgramError, match=message):
            table_product(entries)


def test_a_memory_image_is_checked():
    for image in (np.zeros(16, np.int8), np.zeros((4, 16), np.uint8), np.zeros(24, np.uint8)):
        with pytest.raises(InputError, match="DRAM image: expected"):
            machine.Memory(image)
    with pytest.raises(InputError, match="expected 32 bytes from 16 inside 32"):
        machine.Memory.build(32, {16: np.zeros(8, np.float32)})
    with pytest.raises(InputError, match="expected bytes inside 32, got 16 to 47"):
        machine.Memory.build(32).array(16, (8,), np.float32)
