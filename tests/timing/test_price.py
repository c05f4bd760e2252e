"""Prices of GEMMs and steps: bounds that no schedule may break, and cases worked on paper."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosparse.spec import (
    NM,
    VNM,
    Block,
    ConvGeometry,
    Dense,
    Gemm,
    Kind,
    NMTensor,
    Operand,
    Phase,
    Unstructured,
    UnsupportedError,
    Vector,
    Workload,
    pack,
)
from hwsim import CONSTANTS, PRESETS, AcceleratorConfig, price, supports, total
from hwsim.product import Axis, to_product

SAT8 = AcceleratorConfig.preset("sat-8x8")
SAT32 = AcceleratorConfig.preset("sat-32x32")
C0 = CONSTANTS["matmul_start"].value
X, W = Operand("x"), Operand("w")


def gemm(m, k, n, pattern=None, phase=Phase.FF, **more):
    weight = Operand("w", Dense() if pattern is None else pattern)
    return Gemm("layer", phase, m, k, n, X, weight, **more)


def priced(op, config=SAT8, **options):
    (timing,) = price(Workload((op,)), config, **options)
    return timing


def conv_step(name, batch, inputs, outputs, size, kernel, stride, pattern=None, first=False):
    """FF, BP and WU of a square convolution with half padding; returns (GEMMs, output size)."""
    padding = kernel // 2
    out = (size + 2 * padding - kernel) // stride + 1
    pairs = [(side, side) for side in (size, out, kernel, stride, padding, 1)]
    geometry = ConvGeometry(batch, *pairs)
    weight = Operand(f"{name}.weight", Dense() if pattern is None else pattern)
    taps = kernel * kernel
    macs = batch * out * out * inputs * outputs * taps
    shapes = {
        Phase.FF: (batch * out * out, inputs * taps, outputs, weight),
        Phase.BP: (batch * size * size, outputs * taps, inputs, weight),
        Phase.WU: (inputs * taps, batch * out * out, outputs, Operand("dy")),
    }
    ops = [
        Gemm(name, phase, m, k, n, X, rhs, conv=geometry, macs=macs)
        for phase, (m, k, n, rhs) in shapes.items()
        if not (first and phase is Phase.BP)
    ]
    return ops, out


def linear_step(name, tokens, inputs, outputs):
    return [
        Gemm(name, Phase.FF, tokens, inputs, outputs, X, W),
        Gemm(name, Phase.BP, tokens, outputs, inputs, X, W),
        Gemm(name, Phase.WU, inputs, tokens, outputs, X, Operand("dy")),
    ]


def resnet50(batch, pattern=None):
    ops, size = conv_step("stem", batch, 3, 64, 224, 7, 2, first=True)
    size, channels = size // 2, 64
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name = f"{stage}.{block}"
            ops += conv_step(f"{name}.1", batch, channels, width, size, 1, 1, pattern)[0]
            middle, out = conv_step(f"{name}.2", batch, width, width, size, 3, stride, pattern)
            ops += middle + conv_step(f"{name}.3", batch, width, 4 * width, out, 1, 1, pattern)[0]
            if not block:
                shortcut = (channels, 4 * width, size, 1, stride, pattern)
                ops += conv_step(f"{name}.s", batch, *shortcut)[0]
            size, channels = out, 4 * width
    return Workload(tuple(ops + linear_step("fc", batch, 2048, 1000)))


@st.composite
def configs(draw):
    group_max = draw(st.sampled_from([4, 8, 16]))
    return AcceleratorConfig.preset(
        "sat-8x8",
        rows=draw(st.sampled_from([2, 4, 8, 16])),
        cols=draw(st.sampled_from([2, 4, 8, 16])),
        group_max=group_max,
        n_max=group_max,
        mul_latency=draw(st.integers(1, 4)),
        add_latency=draw(st.integers(1, 4)),
        interleave=draw(st.integers(1, 8)),
        act_values_per_row_cycle=draw(st.sampled_from([1, 2, 4])),
        activation_kib=draw(st.sampled_from([2, 8, 64])),
        weight_kib=draw(st.sampled_from([16, 64])),
        accumulator_kib=draw(st.sampled_from([32, 64])),
        dram_bytes_per_cycle=draw(st.integers(1, 15)),
        outstanding=draw(st.integers(1, 16)),
    )


@st.composite
def gemms(draw):
    phase = draw(st.sampled_from([Phase.FF, Phase.BP, Phase.WU]))
    patterns = [None, NM(1, 4), NM(2, 4), NM(4, 4), VNM(8, 2, 4), Block(8, 4, 0.3)]
    pattern = draw(st.sampled_from(patterns)) if phase is not Phase.WU else None
    if draw(st.booleans()):
        kernel, stride = draw(st.sampled_from([(1, 1), (1, 2), (3, 1), (3, 2)]))
        batch, inputs, outputs = (draw(st.integers(1, 40)) for _ in range(3))
        size = draw(st.integers(3, 12))
        ops, _ = conv_step("conv", batch, inputs, outputs, size, kernel, stride, pattern)
        return next(op for op in ops if op.phase is phase)
    m, k, n = (draw(st.integers(1, 300)) for _ in range(3))
    batch, groups = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    return gemm(m, k, n, pattern, phase, batch=batch, groups=groups)


@settings(max_examples=150, deadline=None)
@given(gemms().filter(lambda op: supports(op, SAT8) is None), configs())
def test_no_schedule_beats_the_bounds(op, config):
    timing = priced(op, config)
    peak = config.rows * config.cols
    assert timing.compute_cycles * peak >= op.issued_macs
    assert timing.cycles * config.dram_bytes_per_cycle >= timing.dram_bytes
    if op.conv is None:
        operand_and_result = op.batch * op.groups * op.m * (op.k + op.n) * 2
        assert timing.dram_bytes > operand_and_result
    assert 0 < timing.utilisation <= 1
    assert timing.macs == op.macs and timing.issued_macs == op.issued_macs
    assert timing.cycles == min(c for c in timing.candidates.values() if isinstance(c, int))


@settings(max_examples=50, deadline=None)
@given(gemms().filter(lambda op: supports(op, SAT8) is None), configs())
def test_more_of_anything_is_never_slower(op, config):
    cycles = priced(op, config).cycles
    better = [
        replace(config, dram_bytes_per_cycle=config.dram_bytes_per_cycle + 1),
        replace(config, interleave=config.interleave + 1),
        replace(config, outstanding=config.outstanding + 1),
        replace(config, dram_latency_cycles=config.dram_latency_cycles - 1),
        replace(config, activation_kib=config.activation_kib * 2),
        replace(config, weight_kib=config.weight_kib * 2),
        replace(config, accumulator_kib=config.accumulator_kib * 2),
    ]
    assert all(priced(op, faster).cycles <= cycles for faster in better)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(64, 2000), st.integers(8, 100), st.integers(64, 600), st.sampled_from(list(PRESETS))
)
def test_sparse_is_never_slower_on_large_layers(m, groups, n, preset):
    config = AcceleratorConfig.preset(preset)
    k = 8 * groups
    assert priced(gemm(m, k, n, NM(2, 8)), config).cycles <= priced(gemm(m, k, n), config).cycles


def test_speedup_approaches_the_operation_ratio():
    dense = priced(gemm(32 * 256, 8192, 8 * 1024), SAT32)
    sparse = priced(gemm(32 * 256, 8192, 8 * 1024, NM(2, 8)), SAT32)
    assert dense.utilisation > 0.99
    assert dense.cycles / sparse.cycles == pytest.approx(4, rel=0.01)


def test_one_small_os_matmul_on_paper():
    # 8 x 16 by 16 x 8 on 8x8: Ic = Ir = 1 needs S = 4 (adder), U = 16 * 4, fill 16 / 2, E = 8.
    # Traffic: 256 + 256 + 128 bytes = 3 bursts of 256, 16 cycles each. Latency 30 before them.
    timing = priced(gemm(8, 16, 8), dataflows=("OS",))
    compute = C0 + 8 + 64 + 7 + 7 + 2 + 4 + 8
    assert (timing.compute_cycles, timing.bandwidth_cycles) == (compute, 48)
    assert timing.cycles == compute + 30
    assert timing.dram_bytes == 640
    assert timing.bound == "compute"


def test_long_k_streams_through_the_scratchpads_on_paper():
    # 8 x 4096 activations are 64 KiB, half of the scratchpad is 32: two MATMULs a tile, U = 4096 * 4.
    timing = priced(gemm(8, 4096, 8, phase=Phase.WU))
    compute = 2 * (C0 + 8 + 7 + 7 + 2 + 4) + 4096 * 4 + 8
    assert timing.cycles == compute + 30
    assert timing.dram_bytes == 2 * (2 * 8 * 4096) + 4 * 8 * 8


def test_bandwidth_bound_layer_on_paper():
    # A matrix-vector product reads its 4096 x 1024 weights once: 8 MiB at 4 bytes a cycle.
    config = AcceleratorConfig.preset("sat-8x8", dram_bytes_per_cycle=4)
    timing = priced(gemm(1, 4096, 1024), config)
    total_bytes = 2 * (4096 * 1024 + 4096 + 1024)
    assert timing.bound == "bandwidth"
    assert timing.dram_bytes == total_bytes
    assert timing.bandwidth_cycles == -(-total_bytes // 256) * 64


def test_outstanding_bursts_limit_bandwidth_on_paper():
    # One burst of 256 bytes in flight: 30 cycles of latency and 16 of data, one after the other.
    config = AcceleratorConfig.preset("sat-8x8", outstanding=1)
    timing = priced(gemm(8, 16, 8), config)
    assert timing.bandwidth_cycles == 3 * (30 + 16)


@pytest.mark.parametrize(("rows", "cols"), [(8, 4), (33, 5), (64, 40)])
def test_packed_weight_bytes_are_the_formats(rows, cols):
    weight = np.arange(rows * cols * 8, dtype=np.float32).reshape(rows, cols * 8)
    packed = pack(weight, NM(2, 8), axis=1)
    assert isinstance(packed, NMTensor)
    assert to_product(gemm(16, cols * 8, rows, NM(2, 8)), SAT8).rhs_bytes * 8 == packed.storage_bits


@given(st.integers(1, 5), st.integers(1, 100), st.integers(1, 40))
def test_tiles_cover_an_axis_once(segments, length, span):
    axis = Axis(segments, length)
    assert sum(count * entries for count, entries in axis.runs(span)) == axis.size
    assert sum(count for count, _ in axis.runs(span)) == axis.tiles(span)


def test_groups_and_batch_multiply_the_tiles():
    one, many = priced(gemm(64, 64, 64)), priced(gemm(64, 64, 64, batch=3, groups=4))
    assert many.macs == 12 * one.macs
    assert many.dram_bytes == 12 * one.dram_bytes
    assert 11 * one.compute_cycles < many.compute_cycles <= 12 * one.compute_cycles


def test_strided_bp_costs_what_ff_does():
    ops, _ = conv_step("conv", 8, 64, 64, 56, 3, 2)
    ff, bp, _ = price(Workload(tuple(ops)), SAT8)
    assert bp.macs == ff.macs
    assert bp.compute_cycles == pytest.approx(ff.compute_cycles, rel=0.01)


def test_stem_materialises_im2col():
    # 3 channels a tap would fill 3 of 32 rows. Flat there are 147 rows; 64 outputs fill Ic = 2, so
    # hiding the adder's 4 cycles takes Ir = 2: 3 tiles of 64 rows, of which 147 / 192 are used.
    ops, _ = conv_step("stem", 4, 3, 64, 224, 7, 2, first=True)
    _, wu = price(Workload(tuple(ops)), SAT32)
    assert 0.98 * 147 / 192 < wu.utilisation < 147 / 192
    assert to_product(ops[0], SAT32).reduction.segments == 1
    assert to_product(ops[0], AcceleratorConfig.preset("sat-4x4")).reduction.segments == 49


def test_wu_is_output_stationary_only():
    timing = priced(gemm(64, 64, 64, phase=Phase.WU))
    assert timing.dataflow == "OS"
    assert timing.candidates["WS"] == "WU is OS only: both of its operands change with every sample"
    with pytest.raises(UnsupportedError, match="WU is OS only"):
        priced(gemm(64, 64, 64, phase=Phase.WU), dataflows=("WS",))


def test_dataflows_are_compared_and_the_faster_is_chosen():
    both = priced(gemm(20000, 256, 256))
    alone = {name: priced(gemm(20000, 256, 256), dataflows=(name,)).cycles for name in ("OS", "WS")}
    assert both.candidates == alone
    assert both.cycles == min(alone.values())
    assert priced(gemm(20000, 256, 256), dataflows=("WS",)).partial_sum_bytes > 0


def test_a_tie_prefers_os_whatever_the_order():
    op = gemm(16, 64, 64)  # everything fits, and so little bandwidth decides in both dataflows
    config = AcceleratorConfig.preset("sat-8x8", dram_bytes_per_cycle=1)
    orders = (("OS", "WS"), ("WS", "OS"))
    forward, backward = (priced(op, config, dataflows=order) for order in orders)
    assert forward.candidates["OS"] == forward.candidates["WS"]
    assert forward.dataflow == backward.dataflow == "OS"


def test_block_sparse_skips_absent_blocks():
    dense, sparse = gemm(512, 1024, 512), gemm(512, 1024, 512, Block(32, 32, 0.25))
    product = to_product(sparse, SAT8)
    # 8 of 32 block columns in each of 16 block rows; 2 bytes an entry, 4 a block and a row pointer.
    assert product.rhs_bytes == 16 * (8 * (32 * 32 * 2 + 4) + 4)
    assert 3.5 < priced(dense).cycles / priced(sparse).cycles <= 4.0


def test_online_pruned_gradient_counts_sore():
    gradient = Operand("dy", NM(2, 8))
    op = Gemm("layer", Phase.BP, 1024, 512, 512, gradient, Operand("w"))
    timing = priced(op)
    # 8 lanes take a value a cycle. Packed: 1024 * 512 / 4 entries of 20 bits.
    assert timing.prune_cycles == max(1024 * 512 // 8, (1024 * 512 * 2 + 1024 * 128 * 5 // 2) // 16)
    assert (
        timing.cycles
        == max(timing.compute_cycles, timing.bandwidth_cycles) + timing.prune_cycles + 30
    )
    assert timing.issued_macs * 4 == timing.macs


def test_vector_work_is_modelled():
    update = Vector("w", Phase.UPDATE, "sgd", 1000, 20000)
    prune = Vector("w", Phase.PRUNE, "select", 8000, 2560)
    first, second = price(Workload((update, prune)), SAT8)
    assert first.kind == second.kind == Kind.MODELLED
    assert first.cycles == 30 + -(-20000 // 256) * 16  # 79 bursts outlast 125 cycles of lanes
    assert second.cycles == 30 + 1000  # one value a lane and cycle
    assert total((first, second), Phase.PRUNE) == second.cycles


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (gemm(64, 64, 64, Unstructured(0.1)), "no bounded group"),
        (gemm(64, 64, 64, NM(2, 32)), r"must divide group_max = 16 \(valid M: 1, 2, 4, 8, 16\)"),
        (gemm(64, 64, 64, NM(2, 6)), "must divide group_max"),
        (gemm(64, 64, 64, NM(2, 8), Phase.WU), "WU runs dense"),
        (gemm(64, 4, 64, NM(2, 8)), "needs at least 8 entries along the reduction axis"),
        (gemm(64, 64, 16, Block(32, 32, 0.5)), "needs at least 32 output lanes"),
        (
            Gemm("a", Phase.BP, 8, 8, 8, Operand("x", NM(2, 4)), Operand("w", NM(2, 4))),
            "one operand",
        ),
        (Gemm("a", Phase.BP, 8, 8, 8, Operand("x", Block(2, 2, 0.5)), W), "pruned online to N:M"),
        (Gemm("a", Phase.FF, 8, 8, 8, Operand("x", dtype="float32"), W), "got float32"),
    ],
)
def test_refusals_give_their_reason(op, words):
    reason = supports(op, SAT8)
    assert reason is not None
    with pytest.raises(UnsupportedError, match=words) as caught:
        priced(op)
    assert reason in str(caught.value) and op.name in str(caught.value)


def test_n_above_the_hardware_maximum():
    config = AcceleratorConfig.preset("sat-8x8", n_max=2)
    assert supports(gemm(64, 64, 64, NM(4, 8)), config) == "N of 4:8 is above n_max = 2"
    assert supports(gemm(64, 64, 64, NM(2, 8)), config) is None


def test_unknown_dataflow():
    with pytest.raises(UnsupportedError, match="unknown dataflow 'IS'"):
        priced(gemm(8, 8, 8), dataflows=("IS",))


def test_empty_product_takes_no_time():
    assert priced(gemm(0, 8, 8)).cycles == 0


def test_resnet50_step_is_priced_quickly_and_completely():
    step = resnet50(batch=4, pattern=NM(2, 8))
    assert step.macs() == 4 * 12_149_538_816  # torchvision's ResNet-50, three phases, no stem BP
    start = time.process_time()
    timings = price(step, SAT32)
    assert time.process_time() - start < 1.0
    assert sum(timing.macs for timing in timings) == step.macs()
    assert total(timings) == sum(total(timings, phase) for phase in (Phase.FF, Phase.BP, Phase.WU))
    assert price(step, SAT32) == timings
    # Dense against 2:8 stays below the bound of the operations: stem, classifier and WU are dense.
    dense = resnet50(batch=4)
    bound = dense.issued_macs() / step.issued_macs()
    assert 0.9 * bound < total(price(dense, SAT32)) / total(timings) < 1.05 * bound
