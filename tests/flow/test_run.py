"""Whole runs: what they write, what they reuse, and how they end on bad input."""

import hashlib
import json
import os
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import cosparse as cs
from cosparse.flow import run as run_module
from cosparse.flow import trainings
from cosparse.flow.store import SECTIONS, read_results
from cosparse.spec import (
    DataError,
    InputError,
    RunError,
    ScenarioError,
    ShapeError,
    TrustError,
    UnsupportedError,
)

NO_TRAINING = {"epochs": 0, "steps": None}
TRAININGS = [f"{method}-seed{seed}" for method in ("bdwp", "dense") for seed in (0, 1)]

OWN_MODEL = """
from pathlib import Path
from torch import nn
from beside import WIDTH

Path(__file__).with_name("executed").touch()

def build(width=WIDTH):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

def attention():
    return Attention()

def grouped():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3, groups=2), nn.Conv2d(32, 32, 3, groups=32),
        nn.Flatten(), nn.Linear(128, 10))

def fails_to_build():
    raise LookupError("no such width")

def number():
    return 3

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(8, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.leave = nn.Linear(32, 10)

    def forward(self, x):
        x = self.enter(x.flatten(1, 2))
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.leave(x.mean(1))

class Bypassing(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.side, self.leave = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = self.enter(x.flatten(1))
        return self.leave(nn.functional.linear(x, self.side.weight, self.side.bias))

class Failing(nn.Module):
    def __init__(self, after=0):
        super().__init__()
        self.after, self.calls = after, 0
        self.enter, self.leave = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise ValueError("my own trouble\\nand its second line")
        return self.leave(self.enter(x.flatten(1)))
"""


@pytest.fixture
def own(tmp_path, monkeypatch, tiny):
    """Scenario of a model of the user's, in a folder that holds its code."""
    (tmp_path / "own_model.py").write_text(OWN_MODEL)
    (tmp_path / "beside.py").write_text("WIDTH = 32\n")
    monkeypatch.chdir(tmp_path)

    def build(function, train=None, options=None, **keys):
        model = {"name": f"own_model:{function}", "options": options or {}}
        return tiny(train, model=model, data="digits", **keys)

    yield build
    for name in ("own_model", "beside"):
        sys.modules.pop(name, None)


@pytest.fixture
def counted(monkeypatch):
    """Every training that is really done, as (method, seed)."""
    done = []

    def spy(sparsified, data, recipe, seed, **options):
        done.append((sparsified.method.name, seed))
        return original(sparsified, data, recipe, seed, **options)

    original = trainings.train
    monkeypatch.setattr(trainings, "train", spy)
    return done


def npz(path, **arrays):
    np.savez(path, **arrays)
    return {"file": str(path)}


def images(samples=40, shape=(1, 8, 8), classes=10):
    random = np.random.default_rng(0)
    return {"x": random.random((samples, *shape)), "y": random.integers(0, classes, samples)}


# --- what a run writes


def test_the_folder_of_a_run(finished):
    names = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*.*")}
    expected = {"results.json", "timeline.json", "report.html", "report.md"}
    expected |= {f"workload-{method}.json" for method in ("bdwp", "dense")}
    expected |= {
        f"trainings/{name}{end}" for name in TRAININGS for end in (".json", ".safetensors")
    }
    assert names == expected


def test_results_json_is_the_document(finished):
    written = json.loads(finished.folder.joinpath("results.json").read_text())
    assert written == json.loads(json.dumps(finished.document))
    assert set(written) == {"schema", *SECTIONS}
    assert written["schema"] == 4
    assert read_results(finished.folder) == written


def test_results_hold_what_is_needed_to_run_again(finished):
    document = finished.document
    again = cs.load_scenario(document["scenario"])
    assert again.content_hash() == document["scenario_hash"]
    assert document["scenario"]["train"]["seeds"] == [0, 1]
    assert document["provenance"]["versions"]["torch"] == torch.__version__
    assert document["data"]["train"] + document["data"]["test"] == 1797


def test_training_rows_are_the_kept_records(finished):
    folder = finished.folder / "trainings"
    records = {name: json.loads((folder / f"{name}.json").read_text()) for name in TRAININGS}
    runs = {
        f"{run['method']}-seed{run['seed']}": run for run in finished.document["training"]["runs"]
    }
    assert runs == {name: record["result"] for name, record in records.items()}


def test_storage_lists_the_copies_that_a_product_reads(finished):
    """The MLP's input needs no gradient: fc1 has no BP product and so no BP copy.

    An FF copy of (out, in) at 2:8 holds, for every group of 8 inputs and every output (a multiple
    of 32 here), 2 values of 16 bits and 2 indices of 4 bits.
    """
    rows = {(row["layer"], row["phase"]): row for row in finished.document["storage"]}
    assert set(rows) == {("fc1.weight", "FF"), ("fc2.weight", "FF"), ("fc2.weight", "BP")}
    assert rows["fc1.weight", "FF"]["packed_bits"] == 256 * 64 // 8 * 2 * (16 + 4)
    assert rows["fc2.weight", "BP"]["packed_bits"] == 256 * 256 // 8 * 2 * (16 + 4)
    assert rows["fc2.weight", "BP"]["dense_bits"] == 256 * 256 * 16


def test_measured_totals_are_sums_of_the_rows(finished):
    measured = finished.document["measured"]
    best = [row["dense"]["value"] for row in measured["layers"]]
    sparse = [(row["sparse"] or row["dense"])["value"] for row in measured["layers"]]
    assert measured["dense_s"] == pytest.approx(sum(best))
    assert measured["sparse_s"] == pytest.approx(sum(sparse))
    assert measured["dispatched_s"] == pytest.approx(sum(map(min, best, sparse)))
    for row in measured["layers"]:
        assert row["dense"]["value"] == min(row["dense_all"].values())
        assert (row["sparse"] is None) == (row["pattern"] is None)


def test_the_simulated_section_is_the_same_to_the_byte(tiny, tmp_path, finished):
    """Also for other weights: it is a function of shapes, patterns and configuration."""
    simulated = [
        json.dumps(cs.run(tiny(train), out=tmp_path / name).document["simulated"])
        for name, train in {"a": {}, "b": {}, "longer": {"steps": 5, "lr": 0.5}}.items()
    ]
    assert simulated == [json.dumps(finished.document["simulated"])] * 3


def test_a_run_leaves_the_callers_random_state_alone(tiny, tmp_path):
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    cs.run(tiny(), out=tmp_path)
    assert torch.rand(1).equal(expected)


# --- what a run reuses


def test_a_second_run_trains_nothing(finished, counted):
    before = {p: p.stat().st_mtime_ns for p in finished.folder.joinpath("trainings").iterdir()}
    again = cs.run(finished.document["scenario"], out=finished.folder)
    assert counted == []
    assert again.document["training"] == finished.document["training"]
    assert {
        p: p.stat().st_mtime_ns for p in finished.folder.joinpath("trainings").iterdir()
    } == before


DAMAGE = {
    "no record": (".json", None),
    "no weights": (".safetensors", None),
    "half a record": (".json", lambda record: record[:100]),
    "a list": (".json", lambda _: b"[]"),
    "part of the weights": (".safetensors", lambda weights: weights[:-8]),
    "another version": (".json", lambda record: record.replace(b'"numpy": "', b'"numpy": "0.')),
}


@pytest.mark.parametrize(("suffix", "change"), DAMAGE.values(), ids=DAMAGE)
def test_only_the_lost_training_is_repeated(tiny, tmp_path, counted, suffix, change):
    scenario = tiny({"seeds": [0, 1], "steps": 1})
    first = cs.run(scenario, out=tmp_path)
    weights = tmp_path / "trainings" / "dense-seed1.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    counted.clear()
    path = weights.with_suffix(suffix)
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    second = cs.run(scenario, out=tmp_path)
    assert counted == [("dense", 1)]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == before
    accuracy = [run.document["training"]["accuracy"] for run in (first, second)]
    assert accuracy[0] == accuracy[1]


def test_a_killed_run_resumes_where_it_was(tiny, tmp_path, monkeypatch, counted):
    scenario = tiny({"seeds": [0, 1], "steps": 1})
    counting = trainings.train

    def killed(sparsified, data, recipe, seed, **options):
        if seed == 1:
            raise KeyboardInterrupt
        return counting(sparsified, data, recipe, seed, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trainings, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            cs.run(scenario, out=tmp_path)
    cs.run(scenario, out=tmp_path)
    assert counted == [("bdwp", 0), ("dense", 0), ("bdwp", 1), ("dense", 1)]


def test_another_recipe_in_the_same_folder_is_trained(tiny, tmp_path, counted):
    cs.run(tiny({"steps": 1}), out=tmp_path)
    counted.clear()
    cs.run(tiny({"steps": 1, "seeds": [0, 1]}), out=tmp_path)
    assert counted == [("bdwp", 1), ("dense", 1)]
    counted.clear()
    cs.run(tiny({"steps": 1, "lr": 0.01}), out=tmp_path)
    assert counted == [("bdwp", 0), ("dense", 0)]


def test_another_accelerator_needs_no_other_training(tiny, tmp_path, counted):
    cs.run(tiny({"steps": 1}), out=tmp_path)
    counted.clear()
    scenario = tiny({"steps": 1}, accelerator="sat-4x4", batch=8, phases=["FF"], name="other")
    cs.run(scenario, out=tmp_path)
    assert counted == []


def test_a_failing_backend_keeps_trainings_and_the_last_result(
    tiny, tmp_path, monkeypatch, counted
):
    scenario = tiny(backends=["cpu", "simulator"], phases=["FF"])
    cs.run(scenario, out=tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    counted.clear()

    def fails(*_):
        raise RunError("the worker died")

    monkeypatch.setattr(run_module, "measure_cpu", fails)
    with pytest.raises(RunError, match="worker died"):
        cs.run(scenario, out=tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before
    assert counted == []


# --- kinds of scenario


@pytest.mark.parametrize("method", ["dense", "sr-ste", "sdgp", "sdwp"])
def test_every_method_goes_through_the_flow(tiny, tmp_path, method):
    scenario = tiny({"method": method}, model="digits-cnn", backends=["cpu", "simulator"])
    document = cs.run(scenario, out=tmp_path).document
    sparse = {row["phase"] for row in document["measured"]["layers"] if row["sparse"]}
    expected = {"dense": set(), "sr-ste": {"FF"}, "sdgp": set(), "sdwp": {"BP"}}
    assert sparse == expected[method]
    assert set(document["simulated"]["methods"]) == {method, "dense"}
    steps = document["simulated"]["methods"]
    assert (steps[method]["issued_macs"] < steps["dense"]["issued_macs"]) == (method != "dense")
    assert {row["phase"] for row in document["storage"]} == expected[method]


def test_sdgp_says_that_its_gradient_has_no_cpu_kernel(tiny, tmp_path):
    scenario = tiny({"method": "sdgp"} | NO_TRAINING, backends=["cpu"], phases=["BP"])
    document = cs.run(scenario, out=tmp_path).document
    missing = {row["what"]: row["why"] for row in document["not_measured"]}
    assert "no CPU kernel" in missing["BP of sdgp on the CPU"]
    assert document["simulated"] is None and "accelerator" in missing


def test_comparing_without_dense_still_simulates_dense(tiny, tmp_path):
    document = cs.run(tiny({"compare": ["sdwp"]}), out=tmp_path).document
    assert [row["method"] for row in document["training"]["accuracy"]] == ["bdwp", "sdwp"]
    assert all(row["difference"] is None for row in document["training"]["accuracy"])
    assert set(document["simulated"]["methods"]) == {"bdwp", "sdwp", "dense"}


def test_forward_alone(tiny, tmp_path):
    document = cs.run(tiny(phases=["FF"], backends=["cpu", "simulator"]), out=tmp_path).document
    for step in document["simulated"]["methods"].values():
        assert {row["phase"] for row in step["layers"]} == {"FF"}
    assert {row["phase"] for row in document["measured"]["layers"]} == {"FF"}
    assert {row["phase"] for row in document["storage"]} == {"FF"}


def test_nothing_is_trained_with_epochs_0(tiny, tmp_path, counted):
    results = cs.run(tiny(NO_TRAINING, backends=["cpu"], phases=["FF"]), out=tmp_path)
    assert counted == [] and results.document["training"] is None
    assert results.document["simulated"] is None
    assert "accuracy" in {row["what"] for row in results.document["not_measured"]}
    assert not list((tmp_path / "trainings").iterdir())


def test_a_language_model(tiny, tmp_path):
    scenario = tiny({"batch": 2, "steps": 1}, model="bytes-lm", batch=1)
    document = cs.run(scenario, out=tmp_path).document
    row = document["training"]["accuracy"][0]
    assert row["metric_name"] == "bits per byte"
    assert 0 < row["mean"] < 9  # guessing among 256 bytes costs 8


def test_divergence_is_recorded_and_the_run_goes_on(tiny, tmp_path):
    scenario = tiny({"lr": 1e9, "steps": 6}, backends=["cpu", "simulator"], phases=["FF"])
    results = cs.run(scenario, out=tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    runs = results.document["training"]["runs"]
    assert [run["metric"] for run in runs] == [None, None]
    assert all(run["steps"] < 6 for run in runs)
    assert "initial weights" in str(results.document["not_measured"])
    assert "diverged" in results.summary()[0]
    assert "diverged" in (tmp_path / "report.md").read_text()


def test_data_smaller_than_a_batch(tiny, tmp_path):
    data = npz(tmp_path / "small.npz", **images(10))
    scenario = tiny({"steps": None, "epochs": 3, "batch": 64}, data=data)
    runs = cs.run(scenario, out=tmp_path / "out").document["training"]["runs"]
    assert [run["steps"] for run in runs] == [3, 3]


# --- checkpoints


def test_a_checkpoint_of_ours_is_enough(tiny, tmp_path):
    options = {"hidden": 32}
    cs.run(tiny(model={"name": "digits-mlp", "options": options}), out=tmp_path / "first")
    weights = tmp_path / "first" / "trainings" / "bdwp-seed0.safetensors"
    model = {"checkpoint": str(weights)}
    document = cs.run(tiny(NO_TRAINING, model=model), out=tmp_path / "second").document
    assert document["model"] == "digits-mlp"
    assert document["layers"][0]["shape"] == [32, 64]


@pytest.fixture(scope="module")
def weights(finished):
    return finished.folder / "trainings" / "bdwp-seed0.safetensors"


def _nan(state):
    state["fc1.weight"][3, 5] = float("nan")


def _renamed(state):
    state["fc1.wieght"] = state.pop("fc1.weight")


def _reshaped(state):
    state["fc2.bias"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, "tensor 'fc1.weight' holds 1 values that are NaN or infinite"),
        (_renamed, "missing 'fc1.weight', did you mean 'fc1.wieght'"),
        (_reshaped, r"'fc2.bias': expected shape \(256,\), got \(7,\)"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_bad_checkpoint_is_one_error(tiny, tmp_path, weights, change, message, suffix):
    state = load_file(weights)
    change(state)
    path = tmp_path / f"changed{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    model = {"name": "digits-mlp", "checkpoint": str(path)}
    with pytest.raises(DataError, match=message) as caught:
        cs.run(tiny(model=model), out=tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_code_inside_a_checkpoint_is_not_executed(tiny, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"fc1.weight": Evil()}, tmp_path / "evil.pt")
    model = {"name": "digits-mlp", "checkpoint": str(tmp_path / "evil.pt")}
    with pytest.raises(DataError, match="expected tensors by name"):
        cs.run(tiny(model=model), out=tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_a_truncated_checkpoint(tiny, tmp_path, weights):
    path = tmp_path / "half.safetensors"
    path.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"half\.safetensors: cannot read"):
        cs.run(tiny(model={"checkpoint": str(path)}), out=tmp_path / "out")


def test_a_checkpoint_may_not_name_code_by_itself(own, tiny, tmp_path):
    cs.run(own("build"), out="first", trust=True)
    path = "first/trainings/bdwp-seed0.safetensors"
    with pytest.raises(DataError, match="add `name: own_model:build`"):
        cs.run(tiny(NO_TRAINING, model={"checkpoint": path}), trust=True)
    model = {"name": "own_model:build", "checkpoint": path}
    cs.run(tiny(NO_TRAINING, model=model, data="digits"), out="second", trust=True)


# --- code of the user's


def test_code_runs_only_with_trust(own, tmp_path):
    with pytest.raises(TrustError, match="--trust"):
        cs.run(own("build"), out="out")
    assert not (tmp_path / "executed").exists()
    assert "own_model" not in sys.modules
    document = cs.run(own("build", options={"width": 48}), out="out", trust=True).document
    assert (tmp_path / "executed").exists()
    assert document["layers"][0]["shape"] == [48, 64]


@pytest.mark.parametrize(
    ("function", "sparse"),
    [
        ("attention", {"attention.in_proj_weight", "attention.out_proj.weight"}),
        ("grouped", {"1.weight"}),
    ],
)
def test_attention_and_grouped_convolutions(own, function, sparse):
    document = cs.run(own(function, backends=["cpu", "simulator"]), out="out", trust=True).document
    rows = {row["layer"] for row in document["storage"]}
    assert sparse <= rows
    assert "2.weight" not in rows  # depthwise


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("Bypassing", RunError, "not called in train mode: side"),
        ("Failing", RunError, r"'own_model:Failing' raised ValueError: my own trouble \(.*:\d+\)$"),
        ("fails_to_build", RunError, r"raised LookupError: no such width \(.*own_model.py:\d+\)"),
        ("number", InputError, "expected a torch.nn.Module, got int"),
        ("biuld", InputError, "no function 'biuld', did you mean 'build'"),
    ],
)
def test_a_failing_model_is_one_error(own, function, error, message):
    with pytest.raises(error, match=message):
        cs.run(own(function), out="out", trust=True)


def test_a_failure_in_training_names_the_line(own, tmp_path):
    scenario = own("Failing", options={"after": 3})
    with pytest.raises(RunError, match="my own trouble"):
        cs.run(scenario, out="out", trust=True)


def test_options_that_the_function_lacks(own):
    with pytest.raises(InputError, match="unexpected keyword argument 'wdith'"):
        cs.run(own("build", options={"wdith": 3}), out="out", trust=True)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("def build(:", InputError, r"broken.py:1"),
        ("import absent_package", RunError, "No module named 'absent_package'"),
    ],
)
def test_a_module_that_cannot_be_imported(tiny, tmp_path, monkeypatch, text, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(error, match=message):
        cs.run(tiny(model="broken:build", data="digits"), out="out", trust=True)
    assert "broken" not in sys.modules


def test_our_own_bugs_keep_their_traceback(own, monkeypatch):
    def bug(*_):
        return {}["a bug of ours"]

    monkeypatch.setattr(run_module, "_begin", bug)
    with pytest.raises(KeyError, match="a bug of ours"):
        cs.run(own("build"), out="out", trust=True)


# --- data of the user's


def test_data_of_ones_own(tiny, tmp_path):
    data = npz(tmp_path / "own.npz", **images())
    document = cs.run(tiny(data=data), out=tmp_path / "out").document
    assert (document["data"]["train"], document["data"]["test"]) == (32, 8)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            images(shape=(1, 5, 8)),
            ShapeError,
            r"'digits-mlp' does not take inputs of shape \(1, 5, 8\)",
        ),
        (
            images(classes=10) | {"y": np.arange(40) % 15},
            ShapeError,
            "each of the 15 classes.*got 10",
        ),
        (images() | {"x": np.full((40, 1, 8, 8), np.nan)}, DataError, "NaN or infinite"),
        ({"x_train": np.zeros((4, 64))}, DataError, "got x_train"),
    ],
    ids=["shape", "classes", "nan", "missing"],
)
def test_data_that_does_not_fit(tiny, tmp_path, counted, arrays, error, message):
    with pytest.raises(error, match=message):
        cs.run(tiny(data=npz(tmp_path / "bad.npz", **arrays)), out=tmp_path / "out")
    assert counted == []


# --- input that is refused before anything is computed


@pytest.mark.parametrize(
    ("train", "keys", "error", "message"),
    [
        ({"pattern": "2:32"}, {}, ScenarioError, "group_max"),
        ({"method": "bwdp"}, {}, ScenarioError, "did you mean 'bdwp'"),
        (
            {"pattern": "2:16", "method": "sdwp"},
            {"model": {"name": "digits-mlp", "options": {"hidden": 12}}},
            UnsupportedError,
            "prunes no layer.*fc2.weight: grouped axis has 12 < M = 16",
        ),
        ({"exclude": ["fc9"]}, {}, UnsupportedError, "matches 'fc9', did you mean 'fc"),
        ({}, {"data": {"file": "absent.npz"}}, ScenarioError, "no such file"),
        (
            {},
            {"model": {"name": "digits-mlp", "options": {"hiden": 3}}},
            UnsupportedError,
            "hidden",
        ),
        (
            {},
            {"model": {"name": "digits-mlp", "options": {"hidden": "x"}}},
            InputError,
            "hidden='x'",
        ),
        (
            {},
            {"model": {"name": "digits-mlp", "options": {"num_classes": 3}}},
            ShapeError,
            "3 outputs",
        ),
    ],
)
def test_bad_input_is_one_error(tiny, tmp_path, counted, train, keys, error, message):
    with pytest.raises(error, match=message) as caught:
        cs.run(tiny(train, **keys), out=tmp_path / "out")
    assert caught.value.exit_code == 2
    assert counted == []


@pytest.mark.parametrize("blocked", ["", "trainings"])
def test_a_folder_that_cannot_be_written(tiny, tmp_path, blocked):
    """A file stands where the folder should: refused for every user, root included."""
    out = tmp_path / "out"
    if blocked:
        out.mkdir()
    (out / blocked if blocked else out).write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write results to.*--out"):
        cs.run(tiny(), out=out)


def test_what_capture_refuses_costs_no_training(own, tmp_path, counted):
    code = "class Branching(Failing):\n    def forward(self, x):\n        "
    code += "x = self.enter(x.flatten(1))\n        return self.leave(x + 1 if x.sum() > 0 else x)\n"
    with (tmp_path / "own_model.py").open("a") as file:
        file.write(code)
    with pytest.raises(UnsupportedError, match="depends on the values"):
        cs.run(own("Branching"), out="out", trust=True)
    assert counted == []


# --- the report of a run


class _Loads(HTMLParser):
    """Collects addresses that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (tag == "link" and name == "href"):
                self.found.append(value)


def test_the_report_loads_nothing(finished):
    text = finished.report_path.read_text()
    parser = _Loads()
    parser.feed(text)
    assert parser.found == []
    assert "@import" not in text.partition("<script>")[0]
    assert "Plotly" in text


def test_the_summary_has_at_most_five_lines_with_the_report(finished):
    assert 1 <= len(finished.summary()) <= 4
    assert all("\n" not in line for line in finished.summary())
