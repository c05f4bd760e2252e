"""Files of a run: replaced in one step, refused when damaged."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cosparse.flow import store
from cosparse.spec import CorruptFileError, InputError, RunError, SchemaVersionError


def test_json_has_sorted_keys_and_no_nan(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text() == '{\n "a": [\n  1.5,\n  null\n ],\n "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"b": 1, "a": [1.5, None]}


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    store.write_text(path, "old")

    def half_a_write():
        with store.replacing(path) as partial:
            partial.write_text("half of the n")
            raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        half_a_write()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_what_is_not_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CorruptFileError, match="not JSON"):
        store.read_json(path)


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ([], CorruptFileError, "other JSON"),
        ({"a": 1}, CorruptFileError, "other JSON"),
        ({"schema": 99}, SchemaVersionError, "schema 99, this release reads 4; run the scenario"),
        ({"schema": 4, "scenario": {}}, CorruptFileError, "provenance"),
    ],
)
def test_results_that_cannot_be_read(tmp_path, document, error, message):
    store.write_json(tmp_path / "results.json", document)
    with pytest.raises(error, match=message):
        store.read_results(tmp_path)


def test_results_with_a_section_of_another_type(tmp_path, finished):
    store.write_json(tmp_path / "results.json", finished.document | {"training": 3, "layers": None})
    with pytest.raises(CorruptFileError, match="damaged in the results: training, layers"):
        store.read_results(tmp_path / "results.json")


def test_no_results(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*results\.json"):
        store.read_results(tmp_path)


def test_the_default_folder_holds_name_and_hash(tiny, tmp_path, monkeypatch):
    from cosparse.flow.scenario import load_scenario

    monkeypatch.chdir(tmp_path)
    scenario = load_scenario(tiny(name="mine"))
    folder = store.open_folder(scenario, None)
    assert str(folder.path) == f"results/mine-{scenario.content_hash()[:8]}"
    assert folder.training_path("bdwp", 3, ".json").parent.is_dir()


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """Whole files only, whoever is last."""
    path = tmp_path / "a.json"

    def write(value):
        for _ in range(200):
            store.write_json(path, [value] * 1000)
            assert len(set(store.read_json(path))) == 1

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, value) for value in (1, 2)]:
            done.result()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
