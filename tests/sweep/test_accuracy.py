"""Accuracy as an objective: each method and pattern is trained once, whatever arrays are beside it."""

import pytest

import cosparse as cs
from cosparse.flow.sweep.store import Store
from cosparse.spec import ScenarioError

TRAIN = {"method": "bdwp", "pattern": "2:8", "steps": 3, "batch": 16, "seeds": [0, 1]}


def codesign(scenario, **sweep):
    axes = {
        "train.method": ["dense", "bdwp"],
        "train.pattern": {"values": ["2:8", "2:4"], "when": "method != 'dense'"},
        "accelerator.interleave": [2, 4],
    }
    made = scenario(axes=axes, set={}, objectives=["maximise accuracy", "energy_j"], **sweep)
    return made | {"train": TRAIN}


def trainings(path):
    with Store.open(path) as store:
        return list(
            store.rows("SELECT training, method, seed, metric FROM accuracy ORDER BY 1, 2, 3")
        )


def test_each_recipe_is_trained_once_with_every_seed(scenario, tmp_path):
    found = cs.sweep(codesign(scenario), out=tmp_path, processes=1)
    assert found.points == 6
    trained = trainings(found.path)
    assert len(trained) == 3 * 2  # dense, 2:8 and 2:4, two seeds each
    rows = list(found.rows("method", "pattern", "interleave", "accuracy"))
    means = {}
    for row in rows:
        means.setdefault((row["method"], row["pattern"]), set()).add(row["accuracy"])
    assert all(len(values) == 1 for values in means.values()) and len(means) == 3
    by_run = {}
    for training, method, _, metric in trained:
        by_run.setdefault((training, method), []).append(metric)
    assert sorted(v for (v,) in means.values()) == sorted(sum(m) / 2 for m in by_run.values())
    assert found.best()[0]["accuracy"] == max(row["accuracy"] for row in rows)
    assert [table[0][0] for table in found.tables()] == ["most accuracy", "least energy_j"]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = cs.sweep(codesign(scenario), out=tmp_path, processes=1)
    assert (again.evaluated, trainings(again.path)) == (0, trained)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_the_mean_is_over_the_seeds_of_the_scenario(scenario, tmp_path):
    """Other seeds of the same store take no part."""
    cs.sweep(codesign(scenario), out=tmp_path, processes=1)
    one = codesign(scenario) | {"train": TRAIN | {"seeds": [1]}}
    found = cs.sweep(one, out=tmp_path, processes=1)
    alone = {(method, metric) for _, method, seed, metric in trainings(found.path) if seed == 1}
    rows = {(row["method"], row["accuracy"]) for row in found.rows("method", "accuracy")}
    assert (found.evaluated, rows) == (0, alone)
    more = cs.sweep(codesign(scenario), out=tmp_path, processes=1)
    assert {row["accuracy"] for row in more.rows("accuracy")}.isdisjoint(m for _, m in alone)


def test_a_seed_that_diverged_leaves_no_mean(scenario, tmp_path, monkeypatch):
    add = Store.add_accuracy

    def diverging(store, training, method, seed, name, metric):
        lost = method == "bdwp" and seed == 1
        add(store, training, method, seed, name, None if lost else metric)

    monkeypatch.setattr(Store, "add_accuracy", diverging)
    found = cs.sweep(codesign(scenario), out=tmp_path, processes=1)
    for row in found.rows("method", "accuracy", "diverged_seeds"):
        assert (row["accuracy"] is None) == (row["method"] == "bdwp")
        assert row["diverged_seeds"] == (1 if row["method"] == "bdwp" else 0)
    assert {row["method"] for row in found.best("maximise accuracy")} == {"dense"}
    _, report = found.report(tmp_path / "pages")
    assert report.read_text().count("| 2, of which 1 diverged |") == 2


def test_language_is_measured_in_bits(scenario, tmp_path):
    """The fewer the better."""
    made = codesign(scenario) | {"model": "bytes-lm", "batch": 2}
    made["train"] = TRAIN | {"optimizer": "adamw", "lr": 1e-3, "batch": 2, "seeds": [0]}
    made["sweep"] = {"axes": {"train.steps": [1, 20]}, "objectives": ["maximise accuracy"]}
    with pytest.raises(ScenarioError, match=r"expected 'bits_per_byte', .* got 'accuracy'"):
        cs.sweep(made, out=tmp_path, processes=1)
    made["sweep"]["objectives"] = ["bits_per_byte"]
    found = cs.sweep(made, out=tmp_path, processes=1)
    longer, shorter = found.best(count=2)
    assert (longer["steps"], shorter["steps"]) == (20, 1)
    assert longer["bits_per_byte"] < shorter["bits_per_byte"] and longer["accuracy"] is None


def test_a_search_may_look_for_accuracy(scenario, tmp_path):
    sampler = {"kind": "nsga2", "points": 4, "batch": 4}
    found = cs.sweep(codesign(scenario, sampler=sampler), out=tmp_path, processes=1)
    assert found.points == 4 and found.best()[0]["accuracy"] is not None


def test_a_search_goes_on_where_a_training_diverges(scenario, tmp_path, monkeypatch):
    add = Store.add_accuracy

    def diverging(store, training, method, seed, name, metric):
        add(store, training, method, seed, name, None if method == "dense" else metric)

    monkeypatch.setattr(Store, "add_accuracy", diverging)
    sampler = {"kind": "nsga2", "points": 6, "batch": 4}
    found = cs.sweep(codesign(scenario, sampler=sampler), out=tmp_path, processes=1)
    assert found.points == 6 and {row["method"] for row in found.best()} == {"bdwp"}
