import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cosparse.flow import bench_cpu as bench
from cosparse.flow import dense_torch, dense_worker
from cosparse.flow.bench_layers import same_conv
from cosparse.flow.dense_baselines import UNPINNED, DenseBaselines, probe_core_types
from cosparse.flow.timing import Product, time_interleaved
from cosparse.spec import ConvGeometry, Phase, RunError, UnsupportedError, pack, parse_pattern
from kernels.geometry import conv_geometry

SMALL_CONV = same_conv(2, 5, 3)
PHASES = (Phase.FF, Phase.BP, Phase.WU)


@pytest.fixture(scope="module")
def baselines():
    with DenseBaselines() as opened:
        yield opened


def packed_weight(shape=(24, 32), axis=1, **options):
    weight = np.random.default_rng(0).standard_normal(shape)
    return pack(weight, parse_pattern("2:8"), axis=axis, **options)


@pytest.mark.parametrize("phase", [Phase.FF, Phase.BP])
def test_a_packed_linear_layer(baselines, phase):
    packed = packed_weight(axis=1 if phase is Phase.FF else 0)
    product = bench.product_of(phase, packed, 10)
    assert product.macs == 10 * 24 * 32
    check_timing(bench.time_gemm(product, packed, repeats=2, baselines=baselines), packed)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("phase", [Phase.FF, Phase.BP])
def test_a_packed_grouped_convolution(baselines, phase, stride):
    packed = packed_weight((16, 8, 3, 3), axis=1 if phase is Phase.FF else 0, conv_groups=2)
    geometry = same_conv(3, 6, 3, stride)
    product = bench.product_of(phase, packed, geometry)
    pixels = 3 * (6 // stride) ** 2
    assert product.tokens == pixels
    assert product.macs == pixels * 16 * 8 * 9
    check_timing(bench.time_gemm(product, packed, repeats=2, baselines=baselines), packed)


def check_timing(timing, packed):
    assert timing.issued_macs == timing.product.tokens * packed.mask().sum()
    assert timing.ratio == timing.sparse_s / timing.dense_s
    assert timing.dense_s == min(dense.median_s for dense in timing.dense.values())
    assert set(timing.spreads) == {"sparse"} | set(timing.dense)


@pytest.mark.parametrize("conv", [None, SMALL_CONV], ids=["linear", "conv"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_dense_product_has_ratio_one(baselines, phase, conv):
    product = Product(phase, 50, 8, 9 * 4, conv=conv)
    timing = bench.time_gemm(product, repeats=2, baselines=baselines)
    assert timing.ratio == 1.0
    assert timing.issued_macs == timing.product.macs == 50 * 8 * 36


def test_the_other_phases_copy_is_refused(baselines):
    product = Product(Phase.BP, 4, 24, 32)
    with pytest.raises(UnsupportedError, match="got axis 1"):
        bench.time_gemm(product, packed_weight(axis=1), baselines=baselines)


def linear_reference(product):
    phase = str(product.phase)
    first, second = dense_worker.operands(phase, *product.sizes)
    spec = {"FF": "ti,oi->to", "BP": "to,oi->ti", "WU": "to,ti->oi"}[phase]
    return np.einsum(spec, first.astype(float), second.astype(float))


@pytest.mark.parametrize("phase", PHASES)
def test_every_linear_contestant_gives_the_product(phase):
    product = Product(phase, 12, 16, 24)
    for name, call in dense_torch.torch_calls(product).items():
        got, expected = call().numpy(), linear_reference(product)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=name)


CONVS = {
    "same": (SMALL_CONV, 1),
    "strided": (conv_geometry(2, (6, 5), (3, 2), (2, 1), (1, 0), 1), 1),
    "dilated groups": (conv_geometry(2, (7, 6), (3, 3), 1, (2, 1), (2, 1)), 2),
}


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_convolution_contestant_gives_the_convolution(phase, name):
    geometry, groups = CONVS[name]
    pixels = geometry.batch * geometry.out_hw[0] * geometry.out_hw[1]
    product = Product(phase, pixels, 8, 6 * geometry.taps, groups, geometry)
    expected = conv_reference(product, geometry)
    calls = dense_torch.torch_calls(product)
    assert calls
    for contestant, call in calls.items():
        got = call()
        values = got if torch.is_tensor(got) else next(part for part in got if part is not None)
        values = values.reshape(expected.shape)
        torch.testing.assert_close(
            values.double(), expected, rtol=1e-4, atol=1e-4, msg=lambda m, c=contestant: f"{c}: {m}"
        )


def conv_reference(product: Product, geometry: ConvGeometry):
    """In float64 by PyTorch's automatic differentiation."""
    tensors = dense_torch.ConvTensors.of(product, geometry, torch.contiguous_format)
    x, weight = (t.double().requires_grad_() for t in (tensors.x, tensors.weight))
    y = torch.nn.functional.conv2d(
        x, weight, None, geometry.stride, geometry.padding, geometry.dilation, tensors.groups
    )
    if product.phase is Phase.FF:
        return y.detach()
    y.backward(tensors.dy.double())
    return x.grad if product.phase is Phase.BP else weight.grad


def test_budget_ends_sampling_after_a_whole_round():
    calls = []
    contestants = {"a": lambda: calls.append("a") or 1.0, "b": lambda: calls.append("b") or 2.0}
    timed = time_interleaved(contestants, repeats=100, budget_s=0.0)
    assert calls == ["a", "b"] * 2  # one round to warm up, one counted
    assert {name: t.median_s for name, t in timed.items()} == {"a": 1.0, "b": 2.0}


def test_time_layer_counts_samples():
    x = np.ones((3, 32), np.float32)
    assert bench.time_layer(packed_weight(), x, repeats=4).spread.samples == 4


def test_the_unpinned_process_does_not_see_the_pin(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    pytest.importorskip("threadpoolctl")
    with DenseBaselines() as opened:
        libraries = opened.libraries()
        pins = bench.describe_machine(opened)["pins"]
    assert libraries["NumPy/OpenBLAS as found"]["core_type"] == "Haswell"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    with DenseBaselines() as opened:
        own = opened.libraries()["NumPy/OpenBLAS as found"]["core_type"]
    assert libraries["NumPy/OpenBLAS unpinned"]["core_type"] == own
    assert pins["OPENBLAS_CORETYPE"] == "Haswell"


def test_torch_threads_are_restored():
    before = torch.get_num_threads()
    with DenseBaselines(threads=1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_worker_multiplies_what_it_says():
    for phase, spec in {"FF": "ti,oi->to", "BP": "to,oi->ti", "WU": "to,ti->oi"}.items():
        first, second = dense_worker.operands(phase, 3, 5, 4, 1)
        expected = np.einsum(spec, first, second)
        turned = dense_worker.operands(phase, 3, 5, 4, 1, transposed=True)
        np.testing.assert_array_equal(turned[1], second)
        assert turned[1].T.flags.c_contiguous
        np.testing.assert_allclose(dense_worker.product(phase, first, second), expected, rtol=1e-5)


def test_the_worker_answers_a_number_a_line():
    script = [sys.executable, "-P", dense_worker.__file__, "1"]
    done = subprocess.run(
        script, input='["FF", 2, 3, 4, 1, true]\n', capture_output=True, text=True, check=True
    )
    about, seconds = done.stdout.splitlines()
    assert "blas" in about and float(seconds) > 0


def test_a_depthwise_layer_is_a_product_a_group(baselines):
    timing = bench.time_gemm(Product(Phase.FF, 10, 1, 9, 16), repeats=2, baselines=baselines)
    assert timing.product.macs == 10 * 9 * 16
    assert "torch linear" not in timing.dense  # it has no groups


def test_two_threads_are_timed_by_wall_clock():
    packed = packed_weight()
    timing = bench.time_gemm(bench.product_of(Phase.FF, packed, 4), packed, threads=2, repeats=2)
    assert timing.clock == "wall time" and timing.ratio > 0


def test_copies_of_a_weight_are_multiplied_in_turn():
    calls = []
    assert dense_worker.rotation_s([lambda i=i: calls.append(i) for i in range(3)], 1) >= 0
    assert calls == [0, 1, 2]


def test_rotating_contestants_take_samples_too():
    with DenseBaselines(core_type=UNPINNED) as opened:
        contestants = opened.contestants(Product(Phase.FF, 1, 24, 32), copies=3)
        openblas = [name for name in contestants if "OpenBLAS" in name]
        assert openblas == ["NumPy/OpenBLAS unpinned", "NumPy/OpenBLAS unpinned, transposed weight"]
        assert all(sample() > 0 for sample in contestants.values())


def test_the_best_core_type_is_the_fastest_that_runs(monkeypatch):
    from cosparse.flow import dense_baselines

    monkeypatch.setattr(
        dense_baselines, "CORE_TYPES", {dense_baselines.platform.machine(): ("Haswell",)}
    )
    found = probe_core_types()
    assert set(found.gflop_s) == {UNPINNED, "Haswell"}
    rates = {name: rate for name, rate in found.gflop_s.items() if rate}
    assert found.best == max(rates, key=rates.get)
    assert dense_baselines.CoreTypes({"a": 1.0, "b": None}).best == "a"
    with pytest.raises(RunError, match="tried b"):
        _ = dense_baselines.CoreTypes({"b": None}).best


def test_a_pin_of_the_environment_does_not_reach_the_probe(monkeypatch):
    from cosparse.flow.dense_baselines import openblas_environment

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & openblas_environment(UNPINNED).keys()
    assert openblas_environment("Zen")["OPENBLAS_CORETYPE"] == "Zen"
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"
