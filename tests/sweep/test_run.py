"""Sweeps from scenario to store: figures, resuming, several processes, kills, interruptions."""

import csv
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import cosparse as cs
from cosparse.flow.report.sweep import write_sweep_report
from cosparse.flow.scenario import load_scenario
from cosparse.flow.sweep.run import plan
from cosparse.flow.sweep.store import Store
from cosparse.flow.sweep.variants import Variants
from cosparse.spec import CorruptFileError, InputError, RunError, SchemaVersionError
from hwsim import AcceleratorConfig, EnergyTable, EventCounts, estimate, estimate_area, price, total
from hwsim.config_vector import CONFIG_FIELDS
from hwsim.energy import EVENTS
from tests.sweep.contents import contents

KILLS, NIGHTLY_KILLS = 5, 100
MANY = {
    "accelerator.rows": [4, 8],
    "train.pattern": ["2:4", "2:8"],
    "accelerator.add_latency": {"range": [1, 4]},
    "accelerator.dram_bytes_per_cycle": {"range": [2, 16, 2]},
    "accelerator.interleave": [1, 2, 4],
    "accelerator.clock_mhz": [100, 200],
}
DRIVER = """
from cosparse.flow.sweep import chunks
chunks.MOST_GROUPS = 4
from cosparse.cli import main
main()
"""
# As DRIVER, but a moment passes after each chunk that was written: what happens then happens in its midst.
SLOW_DRIVER = (
    """
import time
from cosparse.flow.sweep import store
add = store.Store.add
store.Store.add = lambda *given: (add(*given), time.sleep(0.3))
"""
    + DRIVER
)


def check_alone(row, workload):
    """A row of the store against the public functions, one by one."""
    config = AcceleratorConfig(**{name: row[name] for name in CONFIG_FIELDS})
    timings = price(workload, config)
    cycles = total(timings)
    assert row["cycles"] == cycles
    phases = ("ff", "bp", "wu", "update", "prune")
    assert sum(row[f"{phase}_cycles"] for phase in phases) == cycles
    events = sum((timing.events for timing in timings), EventCounts())
    assert {name: row[name] for name in EVENTS} == {name: getattr(events, name) for name in EVENTS}
    energy = estimate(events, cycles, config, EnergyTable.default())
    assert row["energy_j"] == energy.value_j
    assert (row["energy_low_j"], row["energy_high_j"]) == (energy.low_j, energy.high_j)
    assert row["milliseconds"] == cycles / (config.clock_mhz * 1e3)
    area = estimate_area(config)
    assert (row["lut"], row["bram36"]) == (area.lut.value, area.bram36.value)


def test_every_point_is_what_it_is_alone(scenario, complete):
    assert (complete.points, complete.refused, complete.evaluated) == (24, 0, 24)
    with Store.open(complete.path) as store:
        lowered = Variants(load_scenario(scenario()), store, trust=False)
        workloads = {p: lowered.of({"train.pattern": p}).workload for p in ("2:4", "2:8")}
    rows = list(complete.rows())
    for row in rows:
        check_alone(row, workloads[row["pattern"]])
    assert len({row["cycles"] for row in rows}) > 12
    assert {row["dram_bytes_per_cycle"] for row in rows if row["rows"] == 4} == {16}


def test_what_is_there_is_not_computed_again(scenario, complete, tmp_path):
    folder = shutil.copytree(complete.path.parent, tmp_path / "copy")
    again = cs.sweep(scenario(), out=folder, processes=1)
    assert (again.evaluated, again.reused, again.points) == (0, 24, 24)
    assert contents(folder / "sweep.sqlite") == contents(complete.path)
    fewer = cs.sweep(scenario(constraints=["interleave > 1"]), out=folder, processes=1)
    assert (fewer.evaluated, fewer.reused, fewer.left_out["interleave > 1"]) == (0, 12, 12)
    assert plan(scenario(), out=folder).known == 24


def test_processes_give_the_same(scenario, complete, tmp_path):
    assert cs.sweep(scenario(), out=tmp_path, processes=2).evaluated == 24
    assert contents(tmp_path / "sweep.sqlite") == contents(complete.path)


def test_a_point_that_cannot_run_says_why(scenario, tmp_path):
    made = scenario(axes={"accelerator.group_max": [4, 16]}, set={"n_max": "group_max"})
    found = cs.sweep(made, out=tmp_path, processes=1)
    assert (found.points, found.refused) == (2, 1)
    refused, fits = found.rows("refused", "cycles")
    assert "M of 2:8 must divide group_max = 4" in refused["refused"] and refused["cycles"] is None
    assert fits["refused"] is None and fits["cycles"] > 0


def test_settings_that_do_not_fit_are_left_out_with_their_reason(scenario, tmp_path):
    axes = {"train.method": ["bdwp", "block"], "train.pattern": ["2:8", "block 4x4 @ 0.25"]}
    found = cs.sweep(scenario(axes=axes, set={}), out=tmp_path, processes=1)
    assert found.points == found.evaluated == 2
    assert found.left_out == {
        "method 'bdwp' takes N:M patterns such as '2:8', got 'block 4x4 @ 0.25'": 1,
        "method 'block' takes block patterns such as 'block 16x16 @ 0.25', got '2:8'": 1,
    }
    assert plan(scenario(axes=axes, set={}), out=tmp_path).left_out == found.left_out


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"model.options.depth": [1, 2]}, "unknown option of model 'digits-mlp' 'depth'"),
        ({"batch": [10**9]}, "expected samples that the memory of this machine holds"),
    ],
)
def test_settings_of_which_none_fits(scenario, tmp_path, axes, words):
    with pytest.raises(InputError, match=words):
        cs.sweep(scenario(axes=axes, set={}), out=tmp_path, processes=1)


OWN_AXES = {
    "model.options.hidden": [16, 32],
    "phases": {"values": [["FF"], ["FF", "BP", "WU"]], "when": "rows == 8"},
    "train.decay": [None, 0.001],
    "accelerator.rows": [4, 8],
}


def test_every_axis_is_a_column(scenario, tmp_path):
    made = scenario(axes=OWN_AXES, constraints=["decay != 0.001 or interleave > 0"])
    found = cs.sweep(made, out=tmp_path, processes=1)
    rows = list(found.rows("model.options.hidden", "phases", "decay", "rows"))
    whole, part = '["FF", "BP", "WU"]', '["FF"]'
    expected = {
        (hidden, phases, decay, rows)
        for hidden in (16, 32)
        for decay in (None, 0.001)
        for rows, phases in ((4, whole), (8, whole), (8, part))
    }
    assert {tuple(row.values()) for row in rows} == expected and len(rows) == len(expected)
    with (found.export(tmp_path / "all.csv")).open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [row["phases"] for row in read] == [row["phases"] for row in rows]
    table = pytest.importorskip("pyarrow.parquet").read_table(
        found.export(tmp_path / "all.parquet")
    )
    for name in ("model.options.hidden", "phases", "decay", "rows"):
        assert table[name].to_pylist() == [row[name] for row in rows]
    heading = found.tables()[0][0]
    assert heading[1:5] == ("model.options.hidden", "phases", "decay", "rows")
    with pytest.raises(InputError, match="unknown column 'hidden'"):
        list(found.rows("hidden"))


def test_no_value_of_an_axis_is_no_number(scenario, tmp_path):
    axes = {"train.decay": [None, 0.001], "accelerator.interleave": [1, 4]}
    made = scenario(axes=axes, set={}, constraints=["decay == 0.001"])
    assert [row["decay"] for row in cs.sweep(made, out=tmp_path, processes=1).rows()] == [0.001] * 2


def test_objectives_without_a_finite_value_are_told(scenario, tmp_path):
    made = scenario(
        axes={"accelerator.interleave": [1, 4]}, set={}, objectives=["log2(0 - cycles)"]
    )
    found = cs.sweep(made, out=tmp_path, processes=1)
    assert found.tables() == [[("least log2(0 - cycles)",), ("no point of 2 has a finite value",)]]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE variant SET settings = '{'",
        "UPDATE variant SET content = x'00'",
        "UPDATE sweep SET definition = '[]'",
        "DELETE FROM point WHERE id = 3",
        "UPDATE point SET cycles = NULL WHERE id = 3",
        "UPDATE point SET cycles = 'many' WHERE id = 3",
    ],
)
def test_a_damage_that_sqlite_does_not_see_is_told_by_the_report(complete, tmp_path, harm):
    path = Path(shutil.copy(complete.path, tmp_path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(harm)
    connection.commit()
    connection.close()
    with pytest.raises(CorruptFileError, match="damaged"):
        write_sweep_report(path, tmp_path, complete.sweep)


def test_a_store_is_read_in_a_folder_that_cannot_be_written(complete, tmp_path, unwritable):
    folder = shutil.copytree(complete.path.parent, tmp_path / "kept")
    found = replace(complete, path=folder / "sweep.sqlite")
    unwritable(folder)
    assert list(found.rows()) == list(complete.rows())
    assert [path.name for path in folder.glob("sweep.sqlite*")] == ["sweep.sqlite"]
    with Store.open(found.path, read=True) as store, pytest.raises(InputError, match="readonly"):
        store.begin(found.sweep)


def test_dataflows_and_workloads_are_axes(scenario, tmp_path):
    axes = {"dataflow": ["best", "OS", "WS"], "train.method": ["dense", "bdwp"], "batch": [8, 16]}
    rows = list(cs.sweep(scenario(axes=axes, set={}), out=tmp_path, processes=1).rows())
    assert len(rows) == 12
    cycles = {(r["method"], r["batch"], r["dataflow"]): r["cycles"] for r in rows}
    for method, batch in (("dense", 8), ("bdwp", 16)):
        best, *alone = (cycles[method, batch, flow] for flow in ("best", "OS", "WS"))
        assert best <= min(alone) and alone[0] != alone[1]
    assert all(row["ws_cycles"] == 0 for row in rows if row["dataflow"] == "OS")


def test_presets_and_fields_are_axes_together(scenario, tmp_path):
    axes = {"accelerator": ["sat-4x4", "sat-8x8"], "accelerator.interleave": [2, 4]}
    rows = cs.sweep(scenario(axes=axes, set={}), out=tmp_path, processes=1).rows()
    assert [(row["rows"], row["interleave"]) for row in rows] == [(4, 2), (4, 4), (8, 2), (8, 4)]


# --- files and what they print


def test_exports_hold_every_point(complete, tmp_path):
    import pyarrow.csv
    import pyarrow.parquet

    rows = list(complete.rows())
    parquet = pyarrow.parquet.read_table(complete.export(tmp_path / "points.parquet")).to_pylist()
    assert parquet == rows
    table = pyarrow.csv.read_csv(complete.export(tmp_path / "points.csv")).to_pylist()
    assert [row["cycles"] for row in table] == [row["cycles"] for row in rows]
    assert [row["energy_j"] for row in table] == [row["energy_j"] for row in rows]
    with pytest.raises(InputError, match=r"ending in \.csv or \.parquet, got 'points\.xlsx'"):
        complete.export(tmp_path / "points.xlsx")


def test_pandas_gets_every_point(complete):
    frame = complete.to_pandas()
    rows = list(complete.rows())
    assert list(frame.columns) == list(rows[0]) and len(frame) == len(rows) == 24
    assert frame["cycles"].tolist() == [row["cycles"] for row in rows]
    assert frame.groupby("pattern")["milliseconds"].min().to_dict() == {
        pattern: min(row["milliseconds"] for row in rows if row["pattern"] == pattern)
        for pattern in ("2:4", "2:8")
    }


def test_the_best_points(complete):
    rows = list(complete.rows())
    least = sorted(rows, key=lambda row: (row["milliseconds"] * row["lut"], row["number"]))
    assert complete.best("milliseconds * lut", 3) == least[:3]
    assert complete.best("maximise milliseconds", 1)[0]["milliseconds"] == max(
        row["milliseconds"] for row in rows
    )
    text = str(complete)
    assert "24 points" in text and "24 evaluated" in text and "a second" in text
    assert complete._repr_html_().count("<tr>") == 6
    with pytest.raises(InputError, match="unknown column 'time'"):
        list(complete.rows("time"))


# --- damaged and foreign stores


def damaged(path):
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)


def foreign(path):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()


def older(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()


def text(path):
    path.write_text("no database " * 100)


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (damaged, CorruptFileError, r"damaged .*; move it away \(mv .*\) and sweep again"),
        (text, CorruptFileError, r"damaged \(file is not a database\); move it away"),
        (foreign, CorruptFileError, "no store of sweeps; give another --out"),
        (older, SchemaVersionError, r"schema 3, got 0; move it away .* and sweep again"),
    ],
)
def test_a_bad_store_is_refused_with_a_way_out(scenario, complete, tmp_path, harm, error, words):
    path = tmp_path / "sweep.sqlite"
    path.write_bytes(complete.path.read_bytes())
    harm(path)
    with pytest.raises(error, match=words):
        cs.sweep(scenario(), out=tmp_path, processes=1)


def test_a_folder_that_cannot_be_made(scenario, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give another --out"):
        cs.sweep(scenario(), out=tmp_path / "file" / "folder", processes=1)


# --- kills


@pytest.fixture(scope="module")
def many(scenario, tmp_path_factory):
    """(file of a sweep of several hundred points, what its store holds when nothing disturbs it)."""
    folder = tmp_path_factory.mktemp("many")
    path = folder / "many.yaml"
    path.write_text(json.dumps(scenario(axes=MANY)))
    found = cs.sweep(str(path), out=folder / "whole", processes=1)
    assert found.points == found.evaluated == 2 * 2 * 4 * 8 * 3 * 2
    return path, found.path


def start(scenario_file, folder, processes=1, driver=DRIVER, **more):
    command = [sys.executable, "-c", driver, "sweep", str(scenario_file), "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [*command, "--processes", str(processes), "--best", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def count(path):
    """Points in a store that somebody writes to."""
    if not path.is_file():
        return 0
    connection = sqlite3.connect(path, timeout=30)
    try:
        return connection.execute("SELECT count(*) FROM point").fetchone()[0]
    except sqlite3.OperationalError:  # the tables are not there yet
        return 0
    finally:
        connection.close()


def kill_somewhere(process, path, rng, wanted):
    """Kill -9 after some points more than were there, at a random moment; whether it was in time."""
    before = count(path)
    while process.poll() is None and count(path) < before + wanted:
        time.sleep(0.005)
    time.sleep(rng.random() * 0.05)
    process.kill()
    return process.wait() == -signal.SIGKILL


def check_kills(many, folder, kills, seed):
    """Kills until `kills` came in time; a sweep that was over sooner is compared and begun afresh."""
    scenario_file, whole = many
    path, rng, killed = folder / "sweep.sqlite", random.Random(seed), 0
    for number in itertools.count():
        process = start(scenario_file, folder, processes=2 if number % 5 == 4 else 1)
        in_time = kill_somewhere(process, path, rng, rng.randint(1, 60))
        _, errors = process.communicate()
        killed += in_time
        if killed == kills:
            break
        if not in_time:
            assert process.returncode == 0, errors
            assert contents(path) == contents(whole)
            path.unlink()
    process = start(scenario_file, folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert contents(path) == contents(whole)
    return output


def test_a_killed_sweep_goes_on_where_it_was(many, tmp_path):
    output = check_kills(many, tmp_path, KILLS, seed=0)
    evaluated = int(output.splitlines()[1].split()[0].replace(",", ""))
    assert evaluated < 768  # the last run found what the others had finished


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(NIGHTLY_KILLS // 10))
def test_kills_at_a_hundred_moments(many, tmp_path, seed):
    check_kills(many, tmp_path, 10, seed)


def test_two_processes_write_at_once(many, tmp_path):
    scenario_file, whole = many
    both = [start(scenario_file, tmp_path) for _ in range(2)]
    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert contents(tmp_path / "sweep.sqlite") == contents(whole)


def _hear_interrupts():
    """In the background of a shell, Ctrl-C is ignored, and by all that is started there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_is_finished(many, tmp_path):
    process = start(
        many[0], tmp_path, 2, SLOW_DRIVER, start_new_session=True, preexec_fn=_hear_interrupts
    )
    path = tmp_path / "sweep.sqlite"
    while process.poll() is None and count(path) == 0:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "finished points are kept, the same command goes on" in errors
    assert "Traceback" not in errors
    assert count(path) > 0


def test_a_worker_that_dies_is_told(scenario, tmp_path, monkeypatch):
    from cosparse.flow.sweep import executors

    ask = executors._Worker.ask

    def die(self, chunk, workload):
        self._process.kill()
        return ask(self, chunk, workload)

    monkeypatch.setattr(executors._Worker, "ask", die)
    with pytest.raises(RunError, match="a worker process ended with code -9"):
        cs.sweep(scenario(), out=tmp_path, processes=2)


def test_the_order_of_the_axes_makes_another_sweep_of_the_same_points(complete, scenario):
    """Numbers are places in the grid, which the order decides."""
    own = scenario()
    axes = own["sweep"]["axes"]
    order = ("train.pattern", "accelerator.activation_kib", *axes)
    own["sweep"] = own["sweep"] | {"axes": {path: axes[path] for path in order}}
    turned = cs.sweep(own, out=complete.path.parent, processes=1)
    assert turned.sweep != complete.sweep
    assert (turned.evaluated, turned.points) == (0, complete.points)
    names = ("number", "rows", "pattern", "interleave", "activation_kib", "dram_bytes_per_cycle")
    ours, theirs = list(complete.rows(*names)), list(turned.rows(*names))
    assert ours != theirs
    unnumbered = [sorted([*row.values()][1:] for row in found) for found in (ours, theirs)]
    assert unnumbered[0] == unnumbered[1]


def test_another_version_of_the_models_takes_the_places_of_the_sweep(
    scenario, tmp_path, monkeypatch
):
    first = cs.sweep(scenario(), out=tmp_path, processes=1)
    monkeypatch.setattr("cosparse.flow.sweep.run.model_version", lambda: "another")
    second = cs.sweep(scenario(), out=tmp_path, processes=1)
    assert (second.sweep, second.evaluated) == (first.sweep, first.points)
    with Store.open(second.path) as store:
        query = "SELECT DISTINCT digest FROM result JOIN version ON version.id = result.version"
        assert list(store.rows(query)) == [("another",)]
    assert len(list(second.rows("cycles"))) == first.points
