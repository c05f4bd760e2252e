"""Kept GPU results and bounds: sizes by the packed formats, rooflines by hand, what the command says."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cosparse.cli import app
from cosparse.flow import bench_gpu, kept_results
from cosparse.spec import pack, parse_pattern


@pytest.mark.parametrize("text", ["1:8", "2:16", "2:8", "2:4", "1:16"])
def test_stored_bits_are_those_of_the_packed_image(text):
    weight = np.random.default_rng(0).standard_normal((128, 256)).astype(np.float32)
    packed = pack(weight, parse_pattern(text), axis=1)
    density, bits = bench_gpu.density_and_bits(text)
    assert bits == packed.storage_bits / weight.size
    assert density == np.count_nonzero(packed.unpack()) / weight.size


def test_stored_bits_of_shared_patterns():
    assert bench_gpu.density_and_bits("dense") == (1.0, 16)
    assert bench_gpu.density_and_bits("unstructured 80%") == pytest.approx((0.2, 0.2 * 16 + 1))
    assert bench_gpu.density_and_bits("vector 64 87.5%") == (0.125, 0.125 * 16.5)
    assert bench_gpu.density_and_bits("block 32 87.5%") == (0.125, 0.125 * (16 + 32 / 1024))


def test_a_bound_by_hand():
    """One token is limited by bytes: 90.2 MB of dense weight at 1000 GB/s. 4096 tokens by operations."""
    one, many = bench_gpu.bounds(1000, 500, tokens=(1, 4096), contestants=["2:8"])
    weight = 11008 * 4096
    sparse = weight * (2 / 8) * (16 + 4) / 8
    beside = 2 * (11008 + 4096)
    assert one.us == pytest.approx((sparse + beside) / 1e12 * 1e6)
    assert one.speedup == pytest.approx((2 * weight + beside) / (sparse + beside))
    assert (one.limited_by, many.limited_by) == ("bytes", "operations")
    assert many.us == pytest.approx(2 * weight * 4096 / 4 / 500e12 * 1e6)
    assert many.speedup == pytest.approx(4)


def test_kept_results_say_what_they_are():
    for document in bench_gpu.kept_results():
        assert document["kind"] == "measured" and document["failures"] == []
        assert {"device", "date", "versions", "command", "ceilings"} <= document.keys()
        dense = {
            (row["layer"], row["tokens"], row["op"]): row["us"]
            for row in document["rows"]
            if row["contestant"] == "dense"
        }
        for row in document["rows"]:
            assert row["low_us"] <= row["us"] <= row["high_us"]
            baseline = dense[row["layer"], row["tokens"], row["op"]]
            assert row["speedup"] == pytest.approx(baseline / row["us"], rel=5e-3, abs=1e-3)
            assert row["error"] is None or row["error"] < 0.012


def test_no_measured_product_is_faster_than_twice_its_bound():
    """Rotating weights may still find a part of theirs in the cache; a product beyond that is not one."""
    for document in bench_gpu.kept_results():
        ceilings = document["ceilings"]
        bounds = bench_gpu.bounds(ceilings["copy_gb_s"], ceilings["dense_bf16_tflop_s"])
        least = {(bound.contestant, bound.tokens): bound.us for bound in bounds}
        for row in document["rows"]:
            key = row["contestant"], row["tokens"]
            if row["layer"] == bench_gpu.SHOWN_LAYER and row["op"] == "forward" and key in least:
                assert row["us"] > 0.5 * least[key], row


@pytest.mark.skipif(bench_gpu.has_gpu(), reason="a GPU is measured here")
def test_without_a_gpu_the_command_says_so():
    done = CliRunner().invoke(app, ["bench", "gpu"])
    assert done.exit_code == 0
    assert "no CUDA GPU on this machine" in done.output
    assert "measured on NVIDIA H200, 2026-11-28" in done.output and "modelled" in done.output
    found = json.loads(CliRunner().invoke(app, ["bench", "gpu", "--json"]).output)
    assert {bound["kind"] for bound in found["modelled"]} == {"modelled"}
    assert found["measured"][0]["kind"] == "measured"


def test_damaged_results_are_told(tmp_path, monkeypatch):
    folder = tmp_path / "_data" / "measured"
    folder.mkdir(parents=True)
    (folder / "gpu-x.json").write_text('{"kind": "measured"}')
    monkeypatch.setattr(kept_results, "_PACKAGE", tmp_path)
    done = CliRunner().invoke(app, ["bench", "gpu", "--json"])
    assert "gpu-x.json" in str(done.exception)
