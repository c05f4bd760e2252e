"""The report of a sweep: its numbers by other ways, its configurations run again, its page in a browser."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import cosparse as cs
from cosparse.cli import app
from cosparse.flow.analysis import LIMITS, limits_of
from cosparse.flow.lower import lower_all
from cosparse.flow.network import resolve_network
from cosparse.flow.report.sweep import SECTIONS, read_points, write_points, write_sweep_report
from cosparse.flow.report.sweep.configuration import scenario_text
from cosparse.flow.report.sweep.fastest import fastest, priced
from cosparse.flow.scenario import load_scenario
from cosparse.flow.sweep.executors import InProcess
from cosparse.flow.sweep.run import plan
from cosparse.flow.sweep.store import Store
from cosparse.spec import InputError
from hwsim import price, total
from tests.flow.test_browser import CHROMIUM, HOSTILE, visit


@pytest.fixture(scope="module")
def points(complete):
    return read_points(complete.path, complete.sweep)


@pytest.fixture(scope="module")
def pages(complete, tmp_path_factory):
    return complete.report(tmp_path_factory.mktemp("pages"))


def test_the_axes_are_those_of_the_scenario(points, complete):
    rows = list(complete.rows("rows", "pattern", "interleave", "activation_kib"))
    for name in ("rows", "pattern", "interleave", "activation_kib"):
        assert points.axes[name] == [row[name] for row in rows]
    assert len(points) == complete.points - complete.refused


def test_the_limits_of_every_point_are_those_of_its_operations(points):
    """Of summed figures in the store against the operations of the step, one by one."""
    for row in range(len(points)):
        _, config, timings = priced(points, row)
        expected = limits_of(timings, config.rows * config.cols)
        for name in LIMITS:
            assert points.limits[name][row] == pytest.approx(expected[name], abs=1e-6)


def test_the_front_is_what_no_point_beats(points):
    costs = points.costs
    front = {tuple(costs[row]) for row in points.front}
    beaten = [any((other <= own).all() and (other < own).any() for other in costs) for own in costs]
    assert front == {
        tuple(own) for own, is_beaten in zip(costs, beaten, strict=True) if not is_beaten
    }
    times = [costs[row, 0] for row in points.front]
    assert times == sorted(times)


def test_a_copied_configuration_gives_the_point_again(points, scenario):
    for row in (0, len(points) // 2, len(points) - 1):
        own = scenario()
        copied = yaml.safe_load(scenario_text(points, row))
        del own["sweep"]
        own["train"] |= copied.get("train", {})
        own["accelerator"] = copied["accelerator"]
        checked = load_scenario(own)
        workloads, _ = lower_all(checked, resolve_network(checked, trust=False))
        again = price(workloads["bdwp"], checked.accelerator_config())
        assert total(again) == points.columns["cycles"][row]


def test_the_fastest_point_of_a_model(points):
    assert fastest(points, "digits-mlp") == int(np.argmin(points.columns["milliseconds"]))


def test_every_section_that_applies_is_there(pages):
    titles = re.findall(r"^## (.*)$", pages[1].read_text(), re.M)
    assert len(titles) == len(SECTIONS) - 1  # nothing was trained
    assert pages[0].stat().st_size < 8e6


def test_the_command_writes_it_again(complete, pages, tmp_path):
    done = CliRunner().invoke(app, ["report", str(complete.path.parent), "--out", str(tmp_path)])
    assert done.exit_code == 0
    assert (tmp_path / "report.md").read_text() == pages[1].read_text()


def test_arrays_of_equal_shape_are_told_apart(scenario, tmp_path):
    arrays = ["sat-8x8", {"preset": "sat-8x8", "mul_latency": 1, "add_latency": 1},
              {"preset": "sat-8x8", "mul_latency": 1}, {"preset": "sat-8x8", "rows": 4}]  # fmt: skip
    axes = {
        "accelerator": {"values": arrays, "when": "batch > 8"},
        "accelerator.interleave": [1, 4],
        "batch": [8, 16],
    }
    found = cs.sweep(scenario(axes=axes, set={}), out=tmp_path, processes=1)
    read = read_points(found.path, found.sweep)
    labels = ["sat-8x8", "8x8 (add_latency 1)", "8x8 (add_latency 4)", "4x8"]
    expected = {16: labels, 8: ["sat-8x8"]}
    for batch, label, adds, rows in zip(
        read.of_variant("batch"),
        read.axes["accelerator"],
        read.columns["add_latency"],
        read.columns["rows"],
        strict=True,
    ):
        assert label in expected[batch]
        assert adds == (1 if "latency 1" in label else 4) and rows == (4 if "4x8" in label else 8)
    assert set(read.axes["accelerator"]) == set(labels)


def test_a_folder_without_points_is_refused(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code != 0 and "results.json" in str(done.exception)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_opens_without_a_console_message(pages, tmp_path):
    console, dom = visit(pages[0], profile=tmp_path)
    figures = pages[0].read_text().count('class="plot"')
    assert console == []
    assert figures >= 5 and len(re.findall(r'class="plot[^"]*js-plotly-plot"', dom)) == figures


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_click_shows_the_configuration(pages, points, tmp_path):
    """The page with a script at its end that clicks, as Plotly tells of it, on a point of the front."""
    text = scenario_text(points, int(points.front[0]))
    click = (
        "<script>const chart = document.querySelector('.pick').parentElement.querySelector('.plot');"
        "const front = chart.data[1]; chart.emit('plotly_click', {points: [{customdata:"
        " front.customdata[0]}]});</script></body>"
    )
    page = tmp_path / "clicked.html"
    page.write_text(pages[0].read_text().replace("</body>", click))
    _, dom = visit(page, profile=tmp_path / "profile")
    assert text.strip() in dom


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_hostile_names_are_inert(points, tmp_path):
    variants = {
        key: replace(one, model=HOSTILE, settings={"train.pattern": HOSTILE + one.pattern})
        for key, one in points.variants.items()
    }
    page, _ = write_points(replace(points, name=HOSTILE * 50, variants=variants), tmp_path)
    console, dom = visit(page, profile=tmp_path / "profile")
    assert console == [] and "<img src" not in dom
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
    assert title.startswith("&lt;/title") and "owned" in title


def test_the_report_is_of_the_sweep_that_ran_last_and_says_where_it_was_cut_short(
    scenario, tmp_path, monkeypatch
):
    """A plan is no run; a sweep that is begun again is the last one, and complete when it ends."""
    first, other = scenario(), scenario(axes={"accelerator.interleave": [1, 2]}, set={})
    made = [cs.sweep(one, out=tmp_path, processes=1) for one in (first, other)]
    plan(scenario(axes={"accelerator.interleave": [4]}, set={}), out=tmp_path)
    path = made[0].path
    assert (len(read_points(path)), read_points(path).complete) == (2, True)
    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "run", cut_short)
        with pytest.raises(KeyboardInterrupt):
            cs.sweep(scenario(axes={"accelerator.rows": [4, 8]}), out=tmp_path, processes=1)
    points = read_points(path)
    assert not points.complete and len(points) < 2
    cs.sweep(first, out=tmp_path, processes=1)
    assert (len(read_points(path)), read_points(path).complete) == (24, True)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "join", cut_short)
        with pytest.raises(KeyboardInterrupt):
            cs.sweep(first, out=tmp_path, processes=1)
    assert "This sweep is not complete" in write_sweep_report(path)[1].read_text()


def cut_short(*arguments):
    raise KeyboardInterrupt


def test_a_copied_configuration_names_its_model(scenario, tmp_path):
    made = scenario(
        axes={"model.options.layers": [2, 3], "model": ["digits-mlp"], "accelerator.rows": [8]},
        set={},
    )
    found = read_points(cs.sweep(made, out=tmp_path, processes=1).path)
    cycles = found.columns["cycles"]
    assert cycles[0] < cycles[1]
    for row, layers in enumerate((2, 3)):
        copied = yaml.safe_load(scenario_text(found, row))
        assert (copied["model"]["name"], copied["model"]["options"]) == (
            "digits-mlp",
            {"layers": layers},
        )
        own = made | copied
        del own["sweep"]
        checked = load_scenario(own | {"train": made["train"]})
        workloads, _ = lower_all(checked, resolve_network(checked, trust=False))
        assert total(price(workloads["bdwp"], checked.accelerator_config())) == cycles[row]


def test_the_path_of_a_missing_store_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_points(Path(tmp_path) / "sweep.sqlite")
