"""Two runs compared: what counts as worse, what is noise, what is refused."""

import json
from copy import deepcopy
from math import inf

import pytest
from scipy import stats
from typer.testing import CliRunner

import cosparse as cs
from cosparse.cli import app
from cosparse.flow.comparison import Change, compare
from cosparse.flow.report.comparison import comparison_sections, verdict
from cosparse.flow.run_comparison import compare_runs, percent
from cosparse.flow.store import read_results
from cosparse.spec import CosparseError, InputError


@pytest.fixture
def before(finished):
    return deepcopy(read_results(finished.folder))


@pytest.fixture
def after(before):
    return deepcopy(before)


def change(comparison, name):
    return next(found for found in comparison.changes if found.name == name)


def test_a_run_equals_itself(before):
    comparison = compare(before, before)
    assert {c.worse for c in comparison.changes} == {0.0}
    assert not (comparison.lost or comparison.gained or comparison.scenario or comparison.layers)
    assert comparison.regressions(0.0) == []


def test_more_cycles_are_a_regression_above_the_limit(before, after):
    step = after["simulated"]["methods"]["bdwp"]
    step["cycles"] = round(step["cycles"] * 1.03)
    comparison = compare(before, after)
    worse = change(comparison, "cycles of a bdwp step")
    assert worse.worse == pytest.approx(0.03, rel=1e-2)
    assert [c.name for c in comparison.regressions(0.02)] == [worse.name]
    assert comparison.regressions(0.04) == []
    assert compare(after, before).regressions(0.0) == []


def test_the_changed_layer_is_named(before, after):
    row = next(r for r in after["simulated"]["methods"]["dense"]["layers"] if r["array"])
    row["cycles"] += 7
    assert compare(before, after).layers == (
        ("dense", row["name"], row["phase"], row["cycles"] - 7, row["cycles"]),
    )


def set_accuracies(document, values):
    document["training"]["runs"] = [
        {"method": "bdwp", "metric_name": "accuracy", "metric": value, "seed": seed}
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize("loss", [[1.0, 1.2, 0.8, 1.1, 0.9], [1.0, -2.0, 3.0, 0.5, -1.0]])
def test_an_accuracy_is_worse_where_a_paired_t_test_says_so(before, after, loss):
    first = [95.0, 96.5, 94.0, 97.0, 95.5]
    second = [value - part for value, part in zip(first, loss, strict=True)]
    set_accuracies(before, first)
    set_accuracies(after, second)
    resolved = change(compare(before, after), "accuracy of bdwp").resolved
    assert resolved == (stats.ttest_rel(first, second).pvalue < 0.05)


def test_a_seed_that_diverges_is_a_regression(before, after):
    set_accuracies(before, [95.0, 96.0, 97.0])
    set_accuracies(after, [95.0, None, 97.0])
    found = compare(before, after)
    assert [c.name for c in found.regressions(0.5)] == ["diverged seeds of bdwp"]
    assert not compare(after, before).regressions(0)
    assert all("diverged" not in c.name for c in compare(before, before).changes)


def test_without_two_common_seeds_nothing_excuses_a_collapse(before, after):
    """No noise was measured: the difference counts, and `--fail-above` says what is allowed."""
    set_accuracies(before, [95.0, 96.0, 97.0])
    set_accuracies(after, [10.0])
    assert change(compare(before, after), "accuracy of bdwp").resolved
    assert [c.name for c in compare(before, after).regressions(0.02)] == ["accuracy of bdwp"]


CPU = "speedup of the sparse products on CPU kernels over dense"


def test_a_measured_speed_is_judged_where_ranges_part(before, after):
    for row in before["measured"]["layers"] + after["measured"]["layers"]:
        for side in ("sparse", "dense"):
            if row[side] is not None:
                row[side] |= {"value": 1.0, "spread": {"low": 0.9, "high": 1.1, "samples": 5}}
    for row in after["measured"]["layers"]:
        if row["sparse"] is not None:
            row["sparse"] |= {"value": 1.15, "spread": {"low": 1.0, "high": 1.3, "samples": 5}}
    assert not change(compare(before, after), CPU).resolved
    for row in after["measured"]["layers"]:
        if row["sparse"] is not None:
            row["sparse"] |= {"value": 2.0, "spread": {"low": 1.9, "high": 2.1, "samples": 5}}
    worse = change(compare(before, after), CPU)
    assert worse.resolved and worse.worse == 0.5


def test_other_data_are_refused_without_force(before, after):
    after["data"]["sha256"] = "0" * 64
    with pytest.raises(InputError, match=r"different data .* --force"):
        compare(before, after)
    assert compare(before, after, force=True).changes


def test_runs_without_a_common_quantity_are_refused(before, after):
    parts = {"training": None, "measured": None, "simulated": None, "storage": [], "rtl": None}
    with pytest.raises(InputError, match="no quantity in common"):
        compare(before | parts, after)


def test_what_only_one_run_has_is_said(before, after):
    after["simulated"]["methods"]["sdgp"] = after["simulated"]["methods"].pop("bdwp")
    comparison = compare(before, after)
    assert "cycles of a bdwp step" in comparison.lost
    assert "cycles of a sdgp step" in comparison.gained


def test_scenarios_that_differ_are_listed_by_key(before, after):
    after["scenario"]["accelerator"]["add_latency"] = 3
    assert compare(before, after).scenario == (("accelerator.add_latency", "4", "3"),)


@pytest.mark.parametrize(
    ("first", "second", "lower", "worse"),
    [(100, 102, True, 0.02), (100, 98, False, 0.02), (100, 102, False, -0.02), (0, 0, True, 0.0),
     (0, 3, True, inf)],
)  # fmt: skip
def test_worse_is_a_part_of_the_first_value(first, second, lower, worse):
    assert Change("x", "counted", first, second, lower).worse == worse


def test_verdicts():
    worse = Change("x", "counted", 100, 105, True)
    assert verdict(worse, 0.0) == "REGRESSION"
    assert verdict(worse, 0.05) == "worse, allowed"
    assert verdict(Change("x", "measured", 100, 105, True, resolved=False), 0.0) == "within noise"
    assert verdict(Change("x", "counted", 100, 95, True), 0.0) == "better"
    assert verdict(Change("x", "counted", 100, 100, True), 0.0) == "equal"


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("2", 0.02), ("0.5 %", 0.005)])
def test_percentages(text, value):
    assert percent(text) == value


@pytest.mark.parametrize("text", ["two", "-1%", "nan", "inf", ""])
def test_no_percentages(text):
    with pytest.raises(InputError, match="--fail-above: expected a percentage"):
        percent(text)


def test_the_command_holds_a_design(finished, tiny, tmp_path):
    slower = tiny(
        {"seeds": [0, 1]},
        backends=["cpu", "simulator"],
        accelerator={"preset": "sat-8x8", "act_values_per_row_cycle": 1},
    )
    other = cs.run(slower, out=tmp_path / "b")
    a, b = str(finished.folder), str(other.folder)
    page = tmp_path / "page"
    runner = CliRunner()
    found = runner.invoke(app, ["report", "--compare", a, b, "--out", str(page)])
    assert found.exit_code == 1 and "REGRESSION" in found.output
    assert "act_values_per_row_cycle" in (page / "comparison.md").read_text()
    assert (page / "comparison.html").read_text().count("<section") >= 2
    assert runner.invoke(app, ["report", "--compare", a, b, "--fail-above", "1000%"]).exit_code == 0
    plain = runner.invoke(app, ["report", "--compare", a, b, "--json"])
    assert "cycles of a bdwp step" in json.loads(plain.output)["regressions"]


def test_two_runs_are_needed(finished):
    with pytest.raises(InputError, match="expected two runs"):
        compare_runs([finished.folder], 0.0)
    found = CliRunner().invoke(app, ["report", str(finished.folder), str(finished.folder)])
    assert isinstance(found.exception, InputError)


def test_a_damaged_run_is_one_clean_error(before, tmp_path):
    del before["simulated"]["methods"]["bdwp"]["cycles"]
    (tmp_path / "results.json").write_text(json.dumps(before))
    with pytest.raises(CosparseError, match="damaged"):
        compare_runs([tmp_path, tmp_path], 0.0)


def test_a_page_of_hostile_names_is_inert(before, after):
    from cosparse.flow.report.blocks import Heading
    from cosparse.flow.report.html import render_html

    after["scenario"]["name"] = before["scenario"]["description"] = "<script>alert(1)</script>"
    sections = comparison_sections(compare(before, after), 0.0)
    assert "<script>alert" not in render_html(Heading("<script>alert", "", "", ""), sections)
