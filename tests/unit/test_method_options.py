"""Options of methods: each reaches the training or the sizes that it names."""

import re
from pathlib import Path

import pytest

import cosparse as cs
from algos import METHODS, with_options
from algos.method_options import OPTIONS, options_of
from cosparse.flow.scenario import load_scenario
from cosparse.spec import InputError, ScenarioError, parse_pattern

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"


def stages(method, **options):
    row = with_options(METHODS[method], options)
    return row.schedule.timeline(parse_pattern("1:8"), steps=1000, epoch_steps=10).stages


def test_shares_of_a_schedule_are_of_the_steps():
    found = stages("pgf-stepwise", dense=0.1, final=0.3)
    assert (found[0].begin, found[0].end, found[-1].begin) == (0, 100, 700)
    assert stages("pgf-stepwise")[-1].begin == 800


def test_the_rate_of_a_mask_decay():
    found = stages("pgf-linear", rate=0.25)[1]
    assert [found.passed(found.begin + j) for j in range(5)] == [0.75, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize(
    ("method", "options", "entries"),
    [
        ("low-rank", {"ratio": 0.5}, 24 * (48 + 96)),
        ("block-shuffle", {"blocks": 2}, 48 * (48 + 96) // 2),
        ("dsformer", {"ratio": 1 / 3, "nonzeros": 5}, 16 * 48 + 96 * 5),
        ("sltrain", {"ratio": 0.25, "density": 0.1}, 12 * (48 + 96) + 460),
    ],
)
def test_sizes_of_factors(method, options, entries):
    """By hand, of a weight of 96 x 48."""
    row = with_options(METHODS[method], options)
    assert row.structure.entries((96, 48), parse_pattern("1:8")) == entries


def test_the_table_of_the_docs_is_that_of_the_methods():
    text = DOCS.read_text().partition("## Options\n")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.M))
    assert list(documented) == list(OPTIONS)
    for name, owners in documented.items():
        having = {key for key, row in METHODS.items() if name in options_of(row)}
        assert having == set(_named(owners, having)), name


def _named(text, having):
    """Methods that a cell of the table names: in full, by how they begin or end, or all that have one."""
    for key in METHODS:
        begins = any(key.startswith(start) for start in re.findall(r"`([\w-]+)\.\.\.`", text))
        ends = any(key.endswith(end) for end in re.findall(r"`\.\.\.([\w-]+)`", text))
        everywhere = "all factorised but" in text and key in having and f"`{key}`" not in text
        listed = f"`{key}`" in text and "all factorised but" not in text
        if (begins or ends or listed or everywhere) and (key in having or listed):
            yield key


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("bdwp", {"ratio": 0.5}, "unknown option of method 'bdwp' 'ratio'"),
        ("pgf-stepwise", {"rate": 0.5}, "unknown option .* 'rate' .*dense, final"),
        ("low-rank", {"ratio": 0}, "ratio: expected a share above 0, at most 1, got 0"),
        ("low-rank", {"ratio": True}, "ratio: expected a share"),
        ("low-rank", {"ratio": float("nan")}, "ratio: expected a share"),
        ("block-dense", {"blocks": 2.0}, "blocks: expected at least 1, got 2.0"),
        ("low-rank", {"initialisation": "zeros"}, "spectral or orthonormal, got 'zeros'"),
        ("low-rank-guided", {"saves_work": 1}, "saves_work: expected true or false, got 1"),
        ("pgf", {"dense": 0.9, "final": 0.5}, "shares dense >= 0 and final > 0 of at most 1"),
    ],
)
def test_what_a_method_does_not_have_is_refused(method, options, words):
    with pytest.raises(InputError, match=words):
        with_options(METHODS[method], options)


def scenario(**train):
    return {"schema": 1, "model": "digits-mlp", "train": {"epochs": 0, "pattern": "1:8"} | train}


def test_a_scenario_trains_with_its_options():
    own = {"method": "low-rank", "compare": ["block-dense"]}
    checked = load_scenario(scenario(**own, options={"ratio": 0.5}))
    assert checked.train.row("low-rank").structure.ratio == 0.5
    assert checked.train.row("block-dense") == METHODS["block-dense"]
    other = load_scenario(scenario(**own, options={"ratio": 0.25}))
    assert other.training_hash() != checked.training_hash()
    assert other.workload_hash() != checked.workload_hash()


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"method": "bdwp", "options": {"ratio": 1}}, r"train\.options\.ratio: unknown option"),
        ({"method": "pgf", "options": {"dense": 0.5, "final": 0.6}}, r"train\.options: schedule"),
    ],
)
def test_wrong_options_of_a_scenario_are_told_with_their_place(train, words):
    with pytest.raises(ScenarioError, match=words):
        load_scenario(scenario(**train))


def test_an_option_is_an_axis(tmp_path):
    own = scenario(method="low-rank", compare=[]) | {"name": "ranks", "backends": ["simulator"]}
    axes = {"train.options.ratio": [0.125, 0.25], "train.method": ["low-rank", "bdwp"]}
    found = cs.sweep(own | {"sweep": {"axes": axes}}, out=tmp_path, processes=1)
    assert found.points == 2 and sum(found.left_out.values()) == 2
    half, whole = found.rows("cycles")
    assert half["cycles"] < whole["cycles"]
    _, report = found.report(tmp_path / "pages")
    assert "options.ratio" in report.read_text()
