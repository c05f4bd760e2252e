"""The accuracy study: statistics by hand, records through kills, plans, shards, one small run of it all."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from algos.data import Dataset
from cosparse.flow.accuracy import cells, runs, table, tasks
from cosparse.flow.accuracy.cells import Cell, Grid, Run
from cosparse.flow.accuracy.command import run_missing
from cosparse.flow.accuracy.pages import contrast_lines, lines_of, write_study
from cosparse.flow.accuracy.planning import Plan, plan_study, summary
from cosparse.flow.accuracy.records import Record, append, read_records
from cosparse.flow.accuracy.statistics import HOLDS, NOT_RESOLVED, loss_of, summarise
from cosparse.flow.progress import Reporter
from cosparse.flow.trainings import torch_threads
from cosparse.spec import CorruptFileError, InputError, UnsupportedError

# --- statistics


def test_bounds_by_hand():
    """Losses 1, 2, 3: mean 2, deviation 1, t(0.95, 2) = 2.919986."""
    loss = summarise([1.0, 2.0, 3.0])
    half = 2.9199855803537 / math.sqrt(3)
    assert (loss.pairs, loss.mean, loss.deviation) == (3, 2.0, 1.0)
    assert loss.upper == pytest.approx(2 + half) and loss.lower == pytest.approx(2 - half)
    assert loss.verdict(3.7) == HOLDS and loss.verdict(3.6) == NOT_RESOLVED
    assert loss.significant and not summarise([-1.0, 1.0, 3.0]).significant


def test_losses_are_paired_by_seed():
    dense = {0: 98.0, 1: 97.0, 2: 96.0}
    loss = loss_of("accuracy", {2: 95.0, 0: 98.0, 7: 1.0}, dense)
    assert (loss.pairs, loss.mean) == (2, 0.5)
    bits = loss_of("bits per byte", {0: 2.02, 1: 2.04}, {0: 2.0, 1: 2.0})
    assert bits.mean == pytest.approx(1.5)


def test_a_diverged_run_never_holds():
    loss = loss_of("accuracy", {0: 98.0, 1: 98.0, 2: None}, {0: 98.0, 1: 98.0, 2: 98.0})
    assert loss.diverged == 1 and loss.verdict(10) == NOT_RESOLVED
    assert summarise([0.0]).verdict(10) == NOT_RESOLVED
    assert summarise([]).mean is None


def test_the_upper_bound_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = [summarise(list(random.normal(0.5, 1.0, 6))).upper >= 0.5 for _ in range(2000)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


# --- records


def record(key="a", **changes):
    base = Record(
        key, "digits-cnn", "bdwp", "2:8", "equal epochs", 0, "accuracy", 97.0, 10, 0.5, 1.0
    )
    return replace(base, **changes)


def test_records_survive_a_kill_at_any_byte(tmp_path):
    file = tmp_path / "runs.jsonl"
    append(file, record("a"))
    append(file, record("b"))
    whole, first = file.read_bytes(), len(file.read_bytes().split(b"\n")[0]) + 1
    for length in range(first, len(whole), 23):
        file.write_bytes(whole[:length])
        known = set(read_records(tmp_path))
        assert {"a"} <= known <= {"a", "b"}
        append(file, record("c"))
        assert set(read_records(tmp_path)) in ({"a", "c"}, {"a", "b", "c"})


def test_a_damaged_line_is_told(tmp_path):
    file = tmp_path / "runs.jsonl"
    append(file, record("a"))
    file.write_text("not a record\n" + file.read_text())
    with pytest.raises(CorruptFileError, match=r"runs.jsonl:1: expected a record"):
        read_records(tmp_path)


# --- grids, plans, shards


def test_the_grids_are_what_the_study_promises():
    full = cells.find_grid("full")
    for task in ("digits-cnn", "digits-vit"):
        for method in ("bdwp", "sr-ste", "sdgp", "sdwp"):
            assert full.seeds[Cell(task, method, "2:8")] >= 30
        assert full.task(task).recipe.epochs == 60 and full.task(task).margin == 0.56
    language = full.task("byte-lm")
    assert language.recipe.steps >= 3000 and language.margin == 1.0
    assert min(n for cell, n in full.seeds.items() if cell.task == "byte-lm") >= 5
    keys = [full.key(run) for run in full.runs()]
    assert len(set(keys)) == len(keys) == sum(full.seeds.values())
    assert cells.find_grid("short").task("digits-cnn").recipe.epochs == 20
    with pytest.raises(UnsupportedError, match="did you mean 'short'"):
        cells.find_grid("shrt")
    with pytest.raises(UnsupportedError, match="unknown task"):
        tasks.find_task("imagenet")


def test_shards_hold_two_hours_and_every_run_once():
    grid = cells.find_grid("short")
    every = tuple(grid.runs())
    plan = Plan(grid, every, tuple(1500.0 + 100 * n for n in range(len(every))), frozenset())
    assert [run for shard in plan.shards for run in shard] == list(every)
    seconds = dict(zip(every, plan.seconds, strict=True))
    assert all(sum(seconds[run] for run in shard) <= 7200 for shard in plan.shards)
    done = replace(plan, done=frozenset({grid.key(every[0])}))
    assert done.shards == plan.shards
    facts = done.to_json()
    assert facts["done"] == 1
    assert facts["core_hours"] - facts["core_hours_left"] == pytest.approx(1500 / 3600)
    with pytest.raises(InputError, match=f"expected 1 to {len(plan.shards)}, got 99"):
        plan.shard(99)


# --- all of it, on data made up


@pytest.fixture
def tiny(monkeypatch):
    """A grid of one task on 64 random images: eight runs of a fraction of a second."""
    random = np.random.default_rng(0)
    images = random.random((64, 1, 8, 8)).astype(np.float32)
    labels = random.integers(0, 10, 64)
    data = Dataset("digits", "classification", images, labels, images, labels, 10)
    monkeypatch.setattr(runs, "_data", lambda _: data)
    runs.relative_cost.cache_clear()
    recipe = replace(tasks.TASKS["digits-cnn"].recipe, epochs=12, batch=16)
    task = replace(tasks.TASKS["digits-cnn"], recipe=recipe)
    monkeypatch.setitem(tasks.TASKS, "digits-cnn", task)
    names = [("dense", "dense"), ("bdwp", "2:8"), ("pgf", "1:16"), ("sr-ste", "1:16")]
    seeds = {Cell("digits-cnn", method, pattern): 2 for method, pattern in names}
    with torch_threads(1):
        yield Grid("tiny", "a test", seeds)
    runs.relative_cost.cache_clear()


class Told(Reporter):
    def __init__(self):
        self.lines = []

    def stage(self, text):
        self.lines.append(text)


def test_a_study_is_planned_run_and_told(tiny, tmp_path):
    told = Told()
    plan = plan_study(tiny, tmp_path, {}, told)
    assert (tmp_path / "calibration.json").is_file()
    assert plan.to_json()["runs"] == 8 and "8 runs, 0 done" in summary(plan)[1]
    run_missing(plan, tmp_path, None, told)
    records = read_records(tmp_path)
    assert len(records) == 8 == len(told.lines)
    run_missing(plan, tmp_path, None, told)
    assert len(told.lines) == 8  # nothing is run twice

    rows = {row.label: row for row in table.rows_of(tiny, records)}
    assert set(rows) == {"dense", "bdwp 2:8", "pgf 1:16", "sr-ste 1:16", "one-shot 2:8 (control)"}
    assert rows["dense"].cost == 1.0 and 0.5 < rows["bdwp 2:8"].cost < 1
    assert rows["pgf 1:16"].cost > rows["sr-ste 1:16"].cost  # dense until its decay is done
    assert rows["one-shot 2:8 (control)"].loss.pairs == 2
    assert all(0 <= w["flips"] <= 1 for w in rows["bdwp 2:8"].windows)
    html, markdown = write_study(tiny, records, tmp_path)
    text = markdown.read_text()
    assert (
        "8 of 8 runs are there" in text and "others" in text and "pgf over sr-ste at 1:16" in text
    )
    assert html.stat().st_size > 1000
    assert len(lines_of(tiny, records)) == 6 and len(contrast_lines(tiny, records)) == 1


def test_what_was_not_run_is_said(tiny, tmp_path):
    rows = table.rows_of(tiny, {})
    assert {row.verdict for row in rows} == {"baseline", "not run"}
    assert {row.done for row in rows} == {0}
    write_study(tiny, {}, tmp_path)
    text = (tmp_path / "study.md").read_text()
    assert "0 of 8 runs are there" in text and "| not run |" in text


def test_a_run_repeats_and_goes_on_to_the_same_figures(tiny, tmp_path, monkeypatch):
    run = Run(Cell("digits-cnn", "bdwp", "2:8"), 1)
    expected = runs.run_one(tiny, run, tmp_path / "first", Reporter())

    class Killed(Reporter):
        def task(self, text, total):
            from contextlib import nullcontext

            class Bar:
                def update(self, done, note=""):
                    if done == 30:
                        raise KeyboardInterrupt

            return nullcontext(Bar())

    with pytest.raises(KeyboardInterrupt):
        runs.run_one(tiny, run, tmp_path / "second", Killed())
    assert list((tmp_path / "second").glob("*.pt"))
    found = runs.run_one(tiny, run, tmp_path / "second", Reporter())
    assert (found.metric, found.steps) == (expected.metric, expected.steps)
    assert not list((tmp_path / "second").glob("*.pt"))


def test_equal_flops_train_longer(tiny):
    task = tiny.task("digits-cnn")
    cell = Cell("digits-cnn", "random", "2:8", cells.FLOPS)
    cost = runs.relative_cost(task, cell)
    recipe = runs.recipe_of(task, cell, cost)
    assert recipe.steps == round(12 * 4 / cost) > 48
    assert runs.recipe_of(task, replace(cell, budget=cells.EPOCHS), cost) == task.recipe


def test_every_cell_of_the_full_grid_can_be_built():
    grid = cells.find_grid("full")
    for cell in grid.seeds:
        if cell.task != "byte-lm" or cell.pattern in ("dense", "2:8"):
            sparsified = runs.model_of(grid.task(cell.task), cell, 0)
            assert sparsified.replaced or cell.method == "dense"


def test_records_are_json(tiny):
    assert json.loads(json.dumps(table.rows_of(tiny, {})[0].to_json()))["seeds_done"] == 0


KEPT = Path(__file__).parents[2] / "benchmarks" / "results" / "study-full"
DOCS = Path(__file__).parents[2] / "docs" / "accuracy.md"


def test_kept_runs_are_runs_of_the_grid():
    grid, kept = cells.find_grid("full"), read_records(KEPT)
    assert kept and kept.keys() <= {grid.key(run) for run in grid.runs()}


def test_the_table_of_the_docs_is_what_the_kept_runs_give():
    grid, kept = cells.find_grid("full"), read_records(KEPT)
    text = DOCS.read_text()
    rows = re.findall(
        r"^\| (digits-\w+|byte-lm) \| (.*) \|$", text.partition("## Measured")[2], re.M
    )
    given = {(task, *row.split(" | ")) for task, row in rows}
    assert len(given) > 8 and given <= {line[:8] for line in lines_of(grid, kept)}
    listed = re.findall(r"^- (digits-\w+: .* over .*)$", text, re.M)
    assert listed and set(listed) <= set(contrast_lines(grid, kept))


def test_the_headline_by_numpy_and_scipy():
    """BDWP 2:8 on digits-cnn from the kept runs' own numbers."""
    kept = read_records(KEPT).values()
    metrics = {
        method: {one.seed: one.metric for one in kept if (one.task, one.method, one.pattern) == key}
        for method, key in {
            "dense": ("digits-cnn", "dense", "dense"), "bdwp": ("digits-cnn", "bdwp", "2:8")
        }.items()
    }  # fmt: skip
    losses = np.array([metrics["dense"][seed] - metrics["bdwp"][seed] for seed in range(30)])
    upper = stats.t.interval(0.9, 29, losses.mean(), stats.sem(losses))[1]
    assert upper <= 0.56
    row = next(
        line
        for line in lines_of(cells.find_grid("full"), read_records(KEPT))
        if line[1] == "bdwp 2:8"
    )
    assert row[5].endswith(f"{upper:+.2f}") and row[6] == "<= 0.56: holds"
