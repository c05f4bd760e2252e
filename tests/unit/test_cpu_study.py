"""`cosparse bench cpu`: what a document holds, by counts and equalities; never seconds."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cosparse.cli import app
from cosparse.flow import bench_layers, bench_text, cpu_study, dispatch_check, kept_results
from cosparse.flow.bench_layers import LayerShape, same_conv
from cosparse.flow.ceilings import Ceilings, last_level_cache_bytes, measure_ceilings
from cosparse.flow.library_baselines import bf16_calls, sparse_products
from cosparse.flow.report.sections import cpu_kernels
from cosparse.flow.timing import Product
from cosparse.spec import CorruptFileError, InputError, Phase, pack, parse_pattern

LINEAR, CONV = "linear", "conv"
PATTERNS = ("2:8", "block 16x16 @ 0.5")
PLAN = cpu_study.Plan(
    {LINEAR: LayerShape(48, 32), CONV: LayerShape(8, 16, same_conv(2, 5, 3))},
    tokens=(1, 9),
    patterns=PATTERNS,
    growth_tokens=(),
    growth_patterns=(),
    repeats=3,
)
LINEAR_DENSE = {
    "torch mm", "torch mm, transposed weight", "torch linear",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Choices of these tests stay out of the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSPARSE_KERNEL_CACHE", str(tmp_path_factory.mktemp("kernels")))
        patch.setattr(cpu_study, "beyond_cache_bytes", lambda: 200_000)
        patch.setattr("cosparse.flow.dense_baselines.CORE_TYPES", {})
        patch.setattr("cosparse.flow.ceilings._READ_BYTES", 1 << 20)
        patch.setattr(
            cpu_study,
            "measure_ceilings",
            lambda threads: measure_ceilings(threads, (1 << 15, 1 << 20)),
        )
        yield


@pytest.fixture(scope="module")
def document(own_cache):
    seen = []
    found = cpu_study.study(PLAN, 1, seen.append)
    assert seen == found["cases"]
    return found


def test_every_case_has_every_pattern_and_library(document):
    cases = {(case["layer"], case["tokens"]): case for case in document["cases"]}
    assert set(cases) == {(LINEAR, 1), (LINEAR, 9), (CONV, 50)}
    for (layer, _), case in cases.items():
        patterns = [row["pattern"] for row in case["rows"]]
        assert patterns == list(PATTERNS if layer == LINEAR else PATTERNS[:1])  # 8 rows: no block
        assert set(case["bf16"]) == (
            {"torch mm BF16", "torch linear BF16"} if layer == LINEAR else set()
        )
        for row in case["rows"]:
            libraries = set(row["libraries"])
            assert libraries >= ({"SciPy CSR"} if layer == LINEAR else set())
            assert "torch BSR" not in libraries or row["pattern"].startswith("block")
        if layer == LINEAR:
            assert set(case["dense"]) >= LINEAR_DENSE
            assert any(name.startswith("NumPy/OpenBLAS") for name in case["dense"])


def test_ratios_are_over_the_fastest_dense_of_the_case(document):
    for case in document["cases"]:
        dense = {name: timed["median_us"] for name, timed in case["dense"].items()}
        assert case["baseline"] == min(dense, key=dense.get)
        for row in case["rows"]:
            best = min(dense.values())
            assert row["ratio"] == pytest.approx(row["sparse"]["median_us"] / best)
            ratio, again = row["dispatch"]["median_us"] / best, row["confirmed"]
            assert (again is None) == (ratio <= bench_text.DISPATCH_LIMIT)
            if again is not None:  # by the pair alone, in more samples
                ratio = again["dispatch"]["median_us"] / again["dense"]["median_us"]
                assert again["dispatch"]["samples"] > row["dispatch"]["samples"]
            assert row["dispatch_ratio"] == pytest.approx(ratio)
            assert row["choice"]["side"] in ("sparse", "dense")
            assert row["choice"]["reason"].startswith(row["choice"]["side"])
            for timed in (row["sparse"], row["dispatch"]):
                assert timed["low_us"] <= timed["median_us"] <= timed["high_us"]
                assert timed["samples"] == 3


def test_bf16_is_no_baseline(document):
    assert not [name for case in document["cases"] for name in case["dense"] if "BF16" in name]


def test_weights_rotate_where_they_are_used_once(document):
    for case in document["cases"]:
        assert (case["copies"] > 1) == (case["tokens"] == 1) == (case["rotated_mib"] is not None)
        if case["rotated_mib"]:
            assert case["rotated_mib"] * 2**20 >= 200_000


def test_roofline_by_hand():
    ceilings = Ceilings("avx512", 1, 100.0, {1.0: 50.0, 64.0: 10.0})
    assert ceilings.read_rate(2**20) == 50e9
    assert ceilings.read_rate(2**20 + 1) == ceilings.read_rate(2**40) == 10e9
    assert ceilings.least_s(1e9, 1e6, 1e6) == (0.02, "operations")
    assert ceilings.least_s(1e6, 1e9, 1e9) == (0.1, "bytes")


def test_the_roofline_of_a_row(document):
    rates = {float(mib): rate for mib, rate in document["ceilings"]["read_gb_s"].items()}
    peak = document["ceilings"]["gflop_s"]
    case = next(c for c in document["cases"] if (c["layer"], c["tokens"]) == (LINEAR, 9))
    packed = pack(np.ones((48, 32), np.float32), parse_pattern("2:8"), axis=1)
    nbytes = packed.storage_bits / 8 + 4 * 9 * (32 + 48)
    macs = 2 / 8 * 48 * 32 * 9
    least_us = max(2 * macs / peak / 1e3, nbytes / rates[min(rates)] / 1e3)
    row = case["rows"][0]
    assert row["least_us"] == pytest.approx(least_us)
    assert row["of_roofline"] == pytest.approx(least_us / row["sparse"]["median_us"])


def test_the_machine_is_described(document):
    assert document["machine"]["cores"] == os.cpu_count() and "pins" in document["machine"]
    assert set(document["openblas"]["gflop_s_by_core_type"]) == {"unpinned"}
    assert (document["statistic"], document["clock"]) == ("median", "thread CPU time")
    assert document["last_level_cache_mib"] * 2**20 == last_level_cache_bytes() > 0


def test_two_threads_use_the_shortest_wall_time_and_say_whether_dense_scales(monkeypatch):
    monkeypatch.setattr(cpu_study, "_SCALING_SAMPLES", 2)
    before = torch.get_num_threads()
    found = cpu_study.study(replace(PLAN, layers={LINEAR: LayerShape(48, 32)}, tokens=(8,)), 2)
    assert torch.get_num_threads() == before
    assert (found["statistic"], found["clock"]) == ("shortest", "wall time")
    scaling = found["scaling"]
    assert scaling["judged"] == (scaling["torch_linear"] >= 1.9)
    (case,) = found["cases"]
    best = min(timed["low_us"] for timed in case["dense"].values())
    for row in case["rows"]:
        assert row["ratio"] == pytest.approx(row["sparse"]["low_us"] / best)
        assert row["thread_speedup"] > 0
    assert "judged" in bench_text.summary(found)


@pytest.mark.parametrize("text", ["2:8", "block 16x16 @ 0.5", "unstructured @ 0.2"])
def test_sparse_libraries_give_the_product(text):
    random = np.random.default_rng(0)
    packed = pack(random.standard_normal((48, 32), np.float32), parse_pattern(text), axis=1)
    x = random.standard_normal((5, 32), np.float32)
    expected = x.astype(float) @ packed.unpack().astype(float).T
    products = sparse_products(packed)
    assert "SciPy CSR" in products
    for name, product in products.items():
        got = np.asarray(product(x, 1)[0]())
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_bsr_has_whole_blocks_only():
    packed = pack(np.ones((20, 32), np.float32), parse_pattern("block 16x16 @ 0.5"), axis=1)
    assert set(sparse_products(packed)) == {"torch CSR (MKL)", "SciPy CSR"}


@pytest.mark.parametrize(("first", "shown"), [(1.0, 1.0), (1.03, 1.03), (1.04, 0.5)])
def test_a_miss_of_dispatch_is_timed_once_more(first, shown):
    seconds = {"dispatch": 1.0, "dense": 2.0}
    samples = {name: (lambda value=value: value) for name, value in seconds.items()}
    found = dispatch_check.checked(samples["dispatch"], samples["dense"], first, 1)
    assert found["dispatch_ratio"] == shown
    assert (found["confirmed"] is None) == (first == shown)


def test_scipy_is_left_out_where_it_would_take_long(monkeypatch):
    monkeypatch.setattr("cosparse.flow.library_baselines.MOST_SCIPY_MACS", 100)
    packed = pack(np.ones((48, 32), np.float32), parse_pattern("2:8"), axis=1)
    assert sparse_products(packed)["SciPy CSR"](np.ones((1, 32), np.float32), 1) == []


def test_bf16_gives_the_product_in_bf16():
    for name, call in bf16_calls(Product(Phase.FF, 6, 16, 24)).items():
        from cosparse.flow import dense_worker

        x, weight = dense_worker.operands("FF", 6, 16, 24, 1)
        got = call()
        assert got.dtype == torch.bfloat16
        np.testing.assert_allclose(
            got.float().numpy(), x @ weight.T, rtol=0.05, atol=0.3, err_msg=name
        )


def test_the_plan_has_the_layers_and_numbers_of_the_issue():
    whole = cpu_study.plan()
    for network in ("BERT-base", "ResNet-50", "LLaMA-7B"):
        assert any(name.startswith(network) for name in whole.layers)
    assert {1, 784} <= set(whole.tokens)
    assert {"2:4", "2:8", "1:8", "1:16"} <= set(whole.patterns)
    assert set(cpu_study.plan("BERT*, digits*").layers) == {
        name for name in bench_layers.LAYERS if name.startswith(("BERT", "digits"))
    }
    assert cpu_study.plan(quick=True, repeats=1).repeats == 1
    with pytest.raises(InputError, match=r"got 'GPT' .valid: BERT-base attention"):
        cpu_study.plan("GPT")


def test_large_weights_have_fewer_cases():
    whole = cpu_study.plan()
    large, huge = (whole.layers[f"LLaMA-7B {name}"] for name in ("attention", "gate"))
    assert cpu_study._tokens(whole, large) == cpu_study._tokens(whole, huge) == (1, 128)
    assert cpu_study._patterns(whole, large) == whole.patterns
    assert set(cpu_study._patterns(whole, huge)) == set(bench_layers.HUGE_PATTERNS)
    assert cpu_study._tokens(whole, whole.layers["BERT-base FFN up"]) == whole.tokens


def test_a_line_is_found():
    base, slope = cpu_study.fit_line([1.0, 2.0, 4.0], [5.0, 7.0, 11.0])
    assert (base, slope) == pytest.approx((3.0, 2.0))


def test_growth_counts_nonzeros(monkeypatch):
    monkeypatch.setitem(bench_layers.LAYERS, bench_layers.GROWTH_LAYER, LayerShape(32, 32))
    plan = replace(
        PLAN, layers={}, growth_tokens=(4, 8), growth_patterns=("1:16", "4:16"), repeats=1
    )
    growth = cpu_study.study(plan)["growth"]
    tokens = [(p["tokens"], p["macs"]) for p in growth["tokens"]["points"]]
    assert tokens == [(4, 32 * 32 * 4 / 4), (8, 32 * 32 * 8 / 4)]
    nonzeros = [(p["pattern"], p["macs"]) for p in growth["nonzeros"]["points"]]
    assert nonzeros == [("1:16", 32 * 32 / 16 * 128), ("4:16", 32 * 32 / 4 * 128)]
    assert growth["tokens"]["worst_deviation"] == pytest.approx(0, abs=1e-6)  # two points


def test_layers_after_the_limit_are_named():
    found = cpu_study.study(replace(PLAN, limit_s=-1))
    assert (found["cases"], found["left_out"]) == ([], [LINEAR, CONV])
    assert f"not timed, the limit had passed: {LINEAR}, {CONV}" in bench_text.summary(found)


def test_table_summary_and_files(document, tmp_path):
    lines = bench_text.table(document).splitlines()
    assert len(lines) == 1 + sum(len(case["rows"]) for case in document["cases"])
    assert "of roofline" in lines[0] and "dispatch" in lines[0]
    text = bench_text.summary(document)
    assert "OpenBLAS by core type" in text and "environment pins" in text
    assert "weights rotate over" in text
    path = tmp_path / "new" / "cpu-x.json"
    bench_text.write(path, document)
    assert json.loads(path.read_text()) == json.loads(json.dumps(document))


def test_misses_of_dispatch_are_listed(document):
    changed = json.loads(json.dumps(document))
    for case in changed["cases"]:
        for row in case["rows"]:
            row["dispatch_ratio"] = 1.0
    assert bench_text.misses(changed) == []
    changed["cases"][0]["rows"][1]["dispatch_ratio"] = 1.04
    assert bench_text.misses(changed) == [(LINEAR, 1, PATTERNS[1], 1.04)]
    assert f"{PATTERNS[1]}: 1.040" in bench_text.summary(changed)


def test_the_report_shows_kept_results(document, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "kept_results", list)
    assert cpu_kernels.cpu_kernels_section({}) is None
    monkeypatch.setattr(cpu_kernels, "kept_results", lambda: [document])
    monkeypatch.setattr(cpu_kernels, "_SHOWN_TOKENS", 9)
    section = cpu_kernels.cpu_kernels_section({})
    _, figure, table, _ = section.blocks
    assert [bar["name"] for bar in figure.data] == list(PATTERNS)
    assert list(figure.data[1]["y"])[1] is None  # the convolution has no blocks
    assert len(table.rows) == 3


def test_kept_results_are_whole():
    for found in bench_text.kept_results():
        assert {"machine", "openblas", "ceilings", "versions", "date", "command"} <= found.keys()
        for case in found["cases"]:
            dense = {k: bench_text.figure_us(found, t) for k, t in case["dense"].items()}
            assert case["baseline"] == min(dense, key=dense.get)
            for row in case["rows"]:
                sparse = bench_text.figure_us(found, row["sparse"])
                assert row["ratio"] == pytest.approx(sparse / min(dense.values()))


@pytest.mark.parametrize("text", ["{", '{"kind": "measured"}'])
def test_damaged_results_are_told(text, tmp_path, monkeypatch):
    folder = tmp_path / "_data" / "measured"
    folder.mkdir(parents=True)
    (folder / "cpu-x.json").write_text(text)
    monkeypatch.setattr(kept_results, "_PACKAGE", tmp_path)
    with pytest.raises(CorruptFileError, match=r"cpu-x\.json"):
        bench_text.kept_results()


def test_the_command_writes_prints_and_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_study, "plan", lambda *_, **__: replace(PLAN, tokens=(8,), repeats=1))
    out = tmp_path / "bench.json"
    done = CliRunner().invoke(app, ["bench", "cpu", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "of roofline" in done.output and f"written: {out}" in done.output
    assert len(json.loads(out.read_text())["cases"]) == 2
    monkeypatch.undo()
    refused = CliRunner().invoke(app, ["bench", "cpu", "--layers", "nothing"])
    assert isinstance(refused.exception, InputError | SystemExit)
