"""The traced product: it takes the cycles it was priced at, and its trace is whole."""

import json

import pytest

from cosparse.flow import timeline
from cosparse.flow.store import read_results
from cosparse.spec import Workload
from hwsim import AcceleratorConfig


@pytest.fixture
def document(finished):
    return read_results(finished.folder)


def test_it_is_the_longest_product_at_its_priced_cycles(document):
    layers = document["simulated"]["methods"]["bdwp"]["layers"]
    cycles = {f"{row['name']}:{row['phase']}": row["cycles"] for row in layers if row["array"]}
    traced = document["timeline"]
    assert traced["cycles"] == cycles[traced["product"]] == max(cycles.values())


def test_every_cycle_of_every_unit_is_accounted_for(document):
    traced = document["timeline"]
    assert {sum(unit.values()) for unit in traced["units"].values()} == {traced["cycles"]}


def test_the_excerpt_is_the_start_of_the_trace_beside_the_report(document, finished):
    traced = document["timeline"]
    file = json.loads((finished.folder / traced["file"]).read_text())
    names = {
        event["tid"]: event["args"]["name"] for event in file["traceEvents"] if event["ph"] == "M"
    }
    spans = {
        (names[event["tid"]], event["ts"], event["ts"] + event["dur"])
        for event in file["traceEvents"]
        if event["ph"] == "X"
    }
    assert 0 < len(traced["spans"]) <= timeline.EXCERPT_SPANS
    assert {(s["unit"], s["start"], s["end"]) for s in traced["spans"]} <= spans
    assert file["otherData"]["cycles"] == traced["cycles"]


def test_programs_that_are_too_long_are_not_traced(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(timeline, "MAX_INSTRUCTIONS", 1)
    workload = Workload.from_json(json.loads((finished.folder / "workload-bdwp.json").read_text()))
    assert timeline.trace_step(workload, AcceleratorConfig.preset("sat-8x8"), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
