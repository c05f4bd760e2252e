"""`cosparse sweep` as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from cosparse.cli import app


@pytest.fixture
def file(scenario, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(scenario(objectives=["milliseconds", "milliseconds * lut"])))
    return path


def cosparse(*arguments):
    found = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_plan_then_run_then_json(file, tmp_path):
    out = ("--out", tmp_path / "out", "--processes", 1)
    planned = cosparse(file, "--plan", *out)
    assert "32 combinations, sampler grid: 24 points, 0 of them in the store" in planned
    assert "2 workloads, 6 groups that share exact times" in planned
    text = cosparse(file, *out, "--best", 2, "--export", tmp_path / "points.csv")
    assert "24 evaluated" in text and "8 left out: inactive axis" in text
    assert "least milliseconds " in text and "least milliseconds * lut " in text
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 25
    found = json.loads(cosparse(file, *out, "--json"))
    assert (found["points"], found["evaluated"], found["reused"]) == (24, 0, 24)
    assert len(found["best"]["milliseconds"]) == 5
    assert json.loads(cosparse(file, "--plan", "--json", *out))["known"] == 24


def test_a_mistake_is_told_with_its_place(scenario, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(scenario(constraints=["luts < 3"])))
    found = CliRunner().invoke(app, ["sweep", str(path)])
    assert "unknown name 'luts', did you mean 'lut'" in str(found.exception)
    assert "mine.yaml:1:" in str(found.exception)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("points.xlsx", "expected a file ending in .csv or .parquet"),
        ("missing/points.csv", "expected a file in a folder that exists"),
    ],
)
def test_an_export_that_cannot_be_written_is_told_first(file, tmp_path, name, words):
    out = tmp_path / "out"
    arguments = ["sweep", str(file), "--out", str(out), "--export", str(tmp_path / name)]
    found = CliRunner().invoke(app, arguments)
    assert words in str(found.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"axes": {"train.pattern": ["2:32"]}}, "none of the 1 points can run, so there is no"),
        ({"constraints": ["rows > 8"]}, "the rules leave no point, so there is no report"),
    ],
)
def test_a_sweep_that_finds_nothing_fails(scenario, tmp_path, sweep, words):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(scenario(**sweep)))
    found = CliRunner().invoke(
        app, ["sweep", str(path), "--out", str(tmp_path), "--processes", "1"]
    )
    assert found.exit_code == 1 and words in found.stderr


def test_options_of_a_comparison_need_one(tmp_path):
    found = CliRunner().invoke(app, ["report", str(tmp_path), "--fail-above", "2%"])
    assert "go with --compare and two runs" in str(found.exception)


def test_an_export_into_a_folder_that_cannot_be_written(file, tmp_path, unwritable):
    unwritable(tmp_path / "mine")
    out = tmp_path / "out"
    arguments = [
        "sweep",
        str(file),
        "--out",
        str(out),
        "--export",
        str(tmp_path / "mine" / "a.csv"),
    ]
    found = CliRunner().invoke(app, arguments)
    assert "expected a folder that can be written" in str(found.exception)
    assert not out.exists()
