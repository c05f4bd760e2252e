"""Prices of operations and steps: bounds that no schedule may break, and cases worked on paper."""

from dataclasses import replace

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
    Operand,
    Phase,
    TensorInfo,
    Unstructured,
    UnsupportedError,
    Vector,
    Workload,
)
from hwsim import AcceleratorConfig, price, supports, total

SAT8 = AcceleratorConfig.preset("sat-8x8")
SAT32 = AcceleratorConfig.preset("sat-32x32")
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
        sore_lanes=2,
        wuve_lanes=2,
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


def fits_array(op):
    return supports(op, SAT8) is None


@settings(max_examples=40, deadline=None)
@given(gemms().filter(fits_array), configs())
def test_no_schedule_beats_the_bounds(op, config):
    try:
        timing = priced(op, config)
    except UnsupportedError:  # conv groups whose channels are no whole pieces of a pixel
        return
    peak = config.rows * config.cols
    # FF counts products with padding, which a strided BP, gathering real gradients, need not do.
    strided = op.conv is not None and op.phase is Phase.BP and op.conv.stride != (1, 1)
    assert strided or timing.array_cycles * peak >= op.issued_macs
    assert timing.cycles * config.dram_bytes_per_cycle >= timing.dram_bytes
    assert timing.cycles >= timing.array_cycles
    assert sum(timing.array.values()) == peak * timing.array_cycles
    if op.conv is None:
        assert timing.dram_bytes > op.batch * op.groups * op.m * (op.k + op.n) * 2
    assert timing.macs == op.macs and timing.issued_macs == op.issued_macs
    assert timing.cycles == min(c for c in timing.candidates.values() if isinstance(c, int))


@settings(max_examples=12, deadline=None)
@given(gemms().filter(fits_array), configs())
def test_larger_scratchpads_and_interleave_are_never_slower(op, config):
    """Tilings come from one absolute list, so that more room only adds to it."""
    larger = [
        replace(config, interleave=config.interleave + 1),
        replace(config, activation_kib=config.activation_kib * 2),
        replace(config, weight_kib=config.weight_kib * 2),
        replace(config, accumulator_kib=config.accumulator_kib * 2),
    ]
    try:
        cycles = priced(op, config).cycles
    except UnsupportedError:
        return
    assert all(priced(op, config).cycles <= cycles for config in larger)


@settings(max_examples=12, deadline=None)
@given(gemms().filter(fits_array), configs())
def test_a_faster_memory_is_never_slower(op, config):
    """Each program is not slower, so the fastest one is not."""
    faster = [
        replace(config, dram_bytes_per_cycle=config.dram_bytes_per_cycle + 1),
        replace(config, outstanding=config.outstanding + 1),
        replace(config, dram_latency_cycles=config.dram_latency_cycles - 1),
    ]
    try:
        cycles = priced(op, config).cycles
    except UnsupportedError:
        return
    assert all(priced(op, config).cycles <= cycles for config in faster)


def test_speedup_approaches_the_operation_ratio():
    dense = priced(gemm(32 * 256, 8192, 8 * 1024), SAT32)
    sparse = priced(gemm(32 * 256, 8192, 8 * 1024, NM(2, 8)), SAT32)
    assert dense.utilisation > 0.95
    # 2:8 issues a quarter; each chunk's start and drain cost both the same.
    assert 3.6 < dense.cycles / sparse.cycles < 4


def test_bandwidth_bound_layer_on_paper():
    # A matrix-vector product reads its 4096 x 1024 weights once: 8 MiB at 4 bytes a cycle.
    config = AcceleratorConfig.preset("sat-8x8", dram_bytes_per_cycle=4)
    timing = priced(gemm(1, 4096, 1024), config)
    total_bytes = 2 * (4096 * 1024 + 4096 + 1024)
    assert timing.bound == "bandwidth"
    assert total_bytes <= timing.dram_bytes < 1.05 * total_bytes  # the vector may be read again
    assert timing.cycles == pytest.approx(timing.dram_bytes / 4, rel=0.01)


def test_one_small_program_on_paper():
    # 8 tokens x 16 channels by 16 x 8 on 8x8, OS. fetch 8.
    # DMA: 5 CONFIG, LOAD act issues at 13, granted at 17: 8 rows of 32 bytes are one burst of 256
    #   (16 cycles), done 17 + 30 + 16 = 63, completes 65. LOAD wgt: 5 CONFIG after 18, issues at 23,
    #   granted at 33 (channel), 16 entries x 64 bytes are 4 bursts: grants 33, 49, 65, 81;
    #   done 81 + 46 = 127, completes 129. 8 outputs of a burst-aligned entry: see below.
    # The columns are 8 of 32 lanes: every entry is a row of 64 bytes.
    # MATMUL issues at 129 + 1 = 130. Ic = 1, Ir = 1: c0 8, fill 8 * ceil(16 / 16) = 8, U = 16 * 4,
    #   skew 7 + 7, Lm 2, L 4, E 8: T = 108, completes 238.
    # STORE: issues 239, granted 243: 8 tokens x 16 bytes, 128 bytes: 8 cycles; done 281, completes 283.
    # HALT issues at 283, the program ends at 284.
    timing = priced(gemm(8, 16, 8), dataflows=("OS",))
    assert timing.array_cycles == 8 + 8 + 64 + 7 + 7 + 2 + 4 + 8
    assert timing.cycles == 284


def test_groups_and_batch_multiply_the_tiles():
    one, many = priced(gemm(64, 64, 64)), priced(gemm(64, 64, 64, batch=12))
    assert many.macs == 12 * one.macs
    assert 11 * one.array_cycles < many.array_cycles <= 12 * one.array_cycles
    assert many.cycles < 12 * one.cycles


def test_strided_bp_costs_about_what_ff_does():
    ops, _ = conv_step("conv", 8, 64, 64, 56, 3, 2)
    ff, bp, _ = price(Workload(tuple(ops)), SAT8)
    assert bp.macs == ff.macs
    # Four sub-convolutions of 4, 2, 2 and 1 taps: shorter sums, more edges and drains.
    assert ff.array_cycles < bp.array_cycles < 1.25 * ff.array_cycles


def test_stem_reads_the_hosts_im2col():
    # 3 channels a tap would fill 3 of 32 rows. Flat there are 147 rows; 64 outputs fill Ic = 2, so
    # hiding the adder's 4 cycles takes Ir = 2: 3 tiles of 64 rows, of which 147 / 192 are used.
    ops, _ = conv_step("stem", 4, 3, 64, 224, 7, 2, first=True)
    _, wu = price(Workload(tuple(ops)), SAT32)
    assert 0.95 * 147 / 192 < wu.utilisation < 147 / 192


def narrow_network():
    """A stem, a convolution of 8 channels and one of 64, in execution order."""
    stem, _ = conv_step("stem", 2, 3, 8, 32, 3, 1, first=True)
    second, _ = conv_step("second", 2, 8, 64, 32, 3, 1)
    third, _ = conv_step("third", 2, 64, 64, 32, 3, 1)
    layers = (third, second, stem)
    backward = [op for layer in layers for op in layer if op.phase is not Phase.FF]
    return [layer[0] for layer in reversed(layers)] + backward


def cycles_of(ops):
    timings = price(Workload(tuple(ops)), SAT32)
    return {(one.name, one.phase): one.cycles for one in timings}


@pytest.mark.parametrize("phases", [(Phase.FF,), (Phase.WU,), (Phase.FF, Phase.WU)], ids=str)
def test_phases_cost_the_same_alone_as_in_the_step(phases):
    step, alone = cycles_of(narrow_network()), [op for op in narrow_network() if op.phase in phases]
    assert cycles_of(alone) == {key: step[key] for key in step if key[1] in phases}


def test_only_the_networks_input_is_the_hosts():
    # The stem is frozen: nothing passes through `second`, but its input is made by the array.
    def frozen(op):
        return (op.name, op.phase) in (("stem", Phase.WU), ("second", Phase.BP))

    step = cycles_of(narrow_network())
    after = cycles_of([op for op in narrow_network() if not frozen(op)])
    assert after == {key: step[key] for key in after}


def test_wu_is_output_stationary_only():
    timing = priced(gemm(64, 64, 64, phase=Phase.WU))
    assert timing.dataflow == "OS"
    assert timing.candidates["WS"] == "WU is OS only: both of its operands change with every sample"
    with pytest.raises(UnsupportedError, match="WU is OS only"):
        priced(gemm(64, 64, 64, phase=Phase.WU), dataflows=("WS",))
    assert priced(gemm(64, 64, 64, phase=Phase.WU), dataflows=("WS",), fallback="OS") == replace(
        timing, candidates={"OS": timing.cycles}
    )


def test_what_does_not_fit_is_named():
    # A row of 416 pixels of dY, 8 columns of it, is 832 words of 4; a half has 8 KiB / 10 B = 819.
    ops, _ = conv_step("wide", 1, 64, 64, 416, 3, 1)
    small = AcceleratorConfig.preset("sat-4x4")
    reason = "the smallest needs 832 words of WGT in a half, which has 819"
    with pytest.raises(UnsupportedError, match=reason):
        price(Workload((ops[2],)), small)


def test_dataflows_are_compared_and_the_faster_is_chosen():
    both = priced(gemm(20000, 256, 256))
    alone = {name: priced(gemm(20000, 256, 256), dataflows=(name,)).cycles for name in ("OS", "WS")}
    assert both.candidates == alone
    assert both.cycles == min(alone.values())


def test_block_sparse_skips_absent_blocks():
    dense, sparse = gemm(512, 1024, 512), gemm(512, 1024, 512, Block(32, 32, 0.25))
    # A quarter of the blocks; the dense layer's K is also cut more often.
    assert 3.5 < priced(dense).cycles / priced(sparse).cycles < 4.2


def test_online_pruned_gradient_counts_sore():
    gradient = Operand("dy", NM(2, 8))
    op = Gemm("layer", Phase.BP, 1024, 512, 512, gradient, Operand("w"))
    timing = priced(op)
    # 8 lanes take a value a cycle: dY once, and the result once to turn it back.
    assert timing.prune_cycles > 2 * 1024 * 512 // 8
    assert timing.cycles > timing.array_cycles + timing.prune_cycles
    assert timing.issued_macs * 4 == timing.macs


def weight_step(pattern=None, shape=(64, 64)):
    """FF, BP, WU, the SGD update and the packing of one linear layer."""
    weight = Operand("w", Dense() if pattern is None else pattern)
    elements = shape[0] * shape[1]
    ops = [
        Gemm("l", Phase.FF, 128, shape[1], shape[0], X, weight),
        Gemm("l", Phase.BP, 128, shape[0], shape[1], Operand("dy"), weight),
        Gemm("l", Phase.WU, shape[1], 128, shape[0], X, Operand("dy")),
        Vector("w", Phase.UPDATE, "sgd_momentum", elements, 22 * elements),
    ]
    if pattern is not None:
        ops += [Vector(f"w.{p}", Phase.PRUNE, str(pattern), elements, 1) for p in ("FF", "BP")]
    return Workload(tuple(ops), (TensorInfo("w", shape, "float32", "weight"),))


def test_update_and_copies_are_programs():
    *_, update, forward, backward = price(weight_step(NM(2, 8)), SAT8)
    assert update.kind == forward.kind == backward.kind == Kind.SIMULATED
    # FP32 w, v and dW are read, w and v written; both copies hold 64 * 16 entries of 20 bits.
    assert update.dram_bytes >= 20 * 64 * 64
    bare = price(weight_step(), SAT8)[-1]
    assert bare.dram_bytes == 20 * 64 * 64 + 2 * 2 * 64 * 64  # dense: both copies in FP16
    *_, apart_ff, apart_bp = price(weight_step(NM(2, 8)), SAT8, pregenerate=False)
    assert apart_ff.cycles > forward.cycles
    assert apart_bp.cycles > backward.cycles


def test_other_vector_work_is_modelled():
    relu = Vector("r", Phase.FF, "relu", 1000, 20000)
    prune = Vector("w", Phase.PRUNE, "select", 8000, 2560)
    first, second = price(Workload((relu, prune)), SAT8)
    assert first.kind == second.kind == Kind.MODELLED
    assert first.cycles == 30 + -(-20000 // 256) * 16  # 79 bursts outlast 125 cycles of lanes
    assert second.cycles == 30 + 1000  # one value a lane and cycle
    assert total((first, second), Phase.PRUNE) == second.cycles


def test_equal_layers_share_a_schedule_and_keep_their_names():
    ops = tuple(replace(gemm(64, 64, 64), name=name) for name in ("a", "b"))
    first, second = price(Workload(ops), SAT8)
    assert (first.name, second.name) == ("a", "b")
    assert replace(first, name="b") == second


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
        (gemm(8, 8, 8, batch=2, groups=3), "batch 2 and groups 3"),
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


def test_resnet50_step_is_priced_completely():
    step = resnet50(batch=4, pattern=NM(2, 8))
    assert step.macs() == 4 * 12_149_538_816  # torchvision's ResNet-50, three phases, no stem BP
    timings = price(step, SAT32)
    assert sum(timing.macs for timing in timings) == step.macs()
    assert total(timings) == sum(total(timings, phase) for phase in (Phase.FF, Phase.BP, Phase.WU))
    assert price(step, SAT32) == timings
    # Dense against 2:8 stays below the bound of the operations: stem, classifier and WU are dense.
    dense = resnet50(batch=4)
    bound = dense.issued_macs() / step.issued_macs()
    assert 0.8 * bound < total(price(dense, SAT32)) / total(timings) < 1.05 * bound
