import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cosparse.flow import bench_cpu as bench
from cosparse.flow import dense_worker
from cosparse.spec import Phase, UnsupportedError, pack, parse_pattern

BASELINES = {"torch mm", "torch linear", "NumPy/OpenBLAS unpinned", "NumPy/OpenBLAS as found"}


@pytest.fixture(scope="module")
def baselines():
    with bench.DenseBaselines() as opened:
        yield opened


def packed_weight(shape=(24, 32), axis=1, **options):
    weight = np.random.default_rng(0).standard_normal(shape)
    return pack(weight, parse_pattern("2:8"), axis=axis, **options)


@pytest.fixture(scope="module")
def measurements():
    shapes = {"linear": bench.LayerShape(24, 32), "conv": bench.LayerShape(8, 36, tokens=20)}
    return bench.bench_cpu(shapes, patterns=("2:8", "block 16x16 @ 0.5"), batches=(4, 8), repeats=3)


def test_every_case_has_every_contestant(measurements):
    times = [m for m in measurements if m.metric == "time"]
    cases = {(m.op, m.provenance["pattern"], m.provenance["tokens"]) for m in times}
    block = "block 16x16 @ 0.5"
    linear = {("linear", pattern, tokens) for pattern in ("2:8", block) for tokens in (4, 8)}
    assert cases == linear | {("conv", "2:8", 20)}  # 8 outputs are too few for blocks of 16 rows
    for case in cases:
        backends = {m.backend for m in times if (m.op, *_case(m)) == case}
        assert backends == {"cpu"} | BASELINES


def _case(measurement):
    return measurement.provenance["pattern"], measurement.provenance["tokens"]


def test_the_ratio_is_sparse_over_the_fastest_dense_of_the_same_case(measurements):
    ratios = [m for m in measurements if m.metric == "ratio"]
    assert len(ratios) == 5
    for ratio in ratios:
        times = {
            m.backend: m.value
            for m in measurements
            if m.metric == "time" and (m.op, *_case(m)) == (ratio.op, *_case(ratio))
        }
        sparse = times.pop("cpu")
        assert ratio.provenance["baseline"] == min(times, key=times.get)
        assert ratio.value == sparse / min(times.values())


def test_rates_follow_from_the_macs(measurements):
    picked = [m for m in measurements if (m.op, *_case(m)) == ("linear", "2:8", 4)]
    by_metric = {m.metric: m for m in picked if m.backend == "cpu"}
    dense_flops = 2 * 24 * 32 * 4
    assert by_metric["rate"].value == pytest.approx(dense_flops / by_metric["time"].value / 1e9)
    assert by_metric["nonzero rate"].value == pytest.approx(by_metric["rate"].value / 4)


def test_provenance_names_clock_machine_and_libraries(measurements):
    provenance = measurements[0].provenance
    assert provenance["clock"] == "thread CPU time"
    machine = provenance["machine"]
    assert machine["cpu"] and machine["cores"] == os.cpu_count()
    assert set(machine["openblas"]) == {"NumPy/OpenBLAS unpinned", "NumPy/OpenBLAS as found"}
    spread = measurements[0].spread
    assert spread.low <= measurements[0].value <= spread.high and spread.samples == 3


def test_table_has_one_line_a_case(measurements):
    lines = bench.format_table(measurements).splitlines()
    assert lines[0].split()[:3] == ["layer", "pattern", "tokens"]
    assert len(lines) == 1 + 5


@pytest.mark.parametrize("phase", ["FF", "BP"])
@pytest.mark.parametrize("shape", [(24, 32), (16, 8, 3, 3)], ids=["linear", "grouped conv"])
def test_time_gemm_of_a_packed_copy(baselines, shape, phase):
    groups = 1 if len(shape) == 2 else 2
    axis = 1 if phase == "FF" else 0
    packed = packed_weight(shape, axis, conv_groups=groups)
    timing = bench.time_gemm(phase, packed, 10, repeats=2, baselines=baselines)
    assert timing.product.macs == 10 * int(np.prod(shape))
    assert timing.issued_macs == 10 * packed.mask().sum()
    assert timing.ratio == timing.sparse_s / timing.dense_s
    assert timing.dense_s == min(dense.median_s for dense in timing.dense.values())
    assert set(timing.spreads) == {"sparse"} | set(timing.dense)


@pytest.mark.parametrize(("phase", "weight"), [("WU", packed_weight()), ("BP", (24, 32))])
def test_a_dense_product_has_ratio_one(baselines, phase, weight):
    timing = bench.time_gemm(phase, weight, 6, repeats=2, baselines=baselines)
    assert timing.ratio == 1.0
    assert timing.issued_macs == timing.product.macs == 6 * 24 * 32


def test_the_other_phases_copy_is_refused(baselines):
    with pytest.raises(UnsupportedError, match="axis 0"):
        bench.time_gemm(Phase.BP, packed_weight(axis=1), 4, baselines=baselines)


def test_budget_ends_sampling_after_a_whole_round():
    calls = []
    contestants = {"a": lambda: calls.append("a") or 1.0, "b": lambda: calls.append("b") or 2.0}
    timed = bench.time_interleaved(contestants, repeats=100, budget_s=0.0)
    assert calls == ["a", "b"] * 2  # one round to warm up, one counted
    assert {name: t.median_s for name, t in timed.items()} == {"a": 1.0, "b": 2.0}


def test_time_layer_counts_samples():
    x = np.ones((3, 32), np.float32)
    assert bench.time_layer(packed_weight(), x, repeats=4).spread.samples == 4


def test_the_unpinned_process_does_not_see_the_pin(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    pytest.importorskip("threadpoolctl")
    with bench.DenseBaselines() as opened:
        libraries = opened.libraries()
        pins = bench.describe_machine(opened)["pins"]
    assert libraries["NumPy/OpenBLAS as found"]["core_type"] == "Haswell"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    with bench.DenseBaselines() as opened:
        own = opened.libraries()["NumPy/OpenBLAS as found"]["core_type"]
    assert libraries["NumPy/OpenBLAS unpinned"]["core_type"] == own
    assert pins["OPENBLAS_CORETYPE"] == "Haswell"


def test_torch_threads_are_restored():
    before = torch.get_num_threads()
    with bench.DenseBaselines(threads=1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_worker_multiplies_what_it_says():
    for phase, spec in {"FF": "ti,oi->to", "BP": "to,oi->ti", "WU": "to,ti->oi"}.items():
        first, second = dense_worker.operands(phase, 3, 5, 4, 1)
        expected = np.einsum(spec, first, second)
        np.testing.assert_allclose(dense_worker.product(phase, first, second), expected, rtol=1e-5)


def test_the_worker_answers_a_number_a_line():
    script = [sys.executable, "-P", dense_worker.__file__, "1"]
    done = subprocess.run(
        script, input='["FF", 2, 3, 4, 1]\n', capture_output=True, text=True, check=True
    )
    about, seconds = done.stdout.splitlines()
    assert "blas" in about and float(seconds) > 0


def test_a_depthwise_layer_is_a_product_a_group(baselines):
    timing = bench.time_gemm("FF", (1, 9), 10, conv_groups=16, repeats=2, baselines=baselines)
    assert timing.product.macs == 10 * 9 * 16
    assert "torch linear" not in timing.dense  # it has no groups


def test_two_threads_are_timed_by_wall_clock():
    timing = bench.time_gemm("FF", packed_weight(), 4, threads=2, repeats=2)
    assert timing.clock == "wall time" and timing.ratio > 0
