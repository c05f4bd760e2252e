"""Files of other tools through the flow: one table of suffixes, a whole step, the command's words."""

import json
import sys
from dataclasses import replace

import pytest

from cosparse import cli
from cosparse.flow.imported import READERS, ImportOptions, read_steps
from cosparse.flow.simulation import simulate_workload
from cosparse.spec import NM, VNM, InputError, Phase, Vector
from hwsim.imports import read_scale_sim

TOPOLOGY = """\
Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,
stem,10,10,3,3,3,32,1,
conv,10,10,3,3,32,64,1,
classes,1,1,1,1,64,10,1,
"""


@pytest.fixture(scope="module")
def topology(tmp_path_factory):
    path = tmp_path_factory.mktemp("imported") / "net.csv"
    path.write_text(TOPOLOGY)
    return path


def extra(workload):
    return {(v.phase, v.name): v for v in workload.vectors}


def test_a_derived_step_updates_every_weight_and_packs_every_copy(topology):
    steps = read_steps(topology, ImportOptions(training=True, pattern=NM(2, 8)))
    assert list(steps) == ["net.csv", "dense"]
    sparse, dense = map(extra, steps.values())
    weights = {"stem.weight": 3 * 32 * 9, "conv.weight": 32 * 64 * 9, "classes.weight": 640}
    updates = {(Phase.UPDATE, name): elements for name, elements in weights.items()}
    assert {key: vector.elements for key, vector in dense.items()} == updates
    packed = {key for key in sparse if key[0] is Phase.PRUNE}
    assert packed == {(Phase.PRUNE, "conv.weight.FF"), (Phase.PRUNE, "conv.weight.BP")}
    # FP16 weights in, 2 of 8 values of 2.5 bytes out; 64 and 32 lanes need no padding.
    moved = weights["conv.weight"] * 2 + weights["conv.weight"] // 4 * 5 // 2
    assert {sparse[key].bytes for key in packed} == {moved}


def test_a_pattern_without_packed_copies_still_runs(topology):
    steps = read_steps(topology, ImportOptions(training=True, pattern=VNM(4, 2, 8)))
    assert steps["net.csv"].issued_macs() < steps["dense"].issued_macs()
    assert Phase.PRUNE not in {op.phase for op in steps["net.csv"].ops if isinstance(op, Vector)}


def test_ff_alone_has_no_update(topology):
    (step,) = read_steps(topology, ImportOptions()).values()
    assert {op.phase for op in step.ops} == {Phase.FF}


def test_a_workload_of_ours_takes_no_options(topology, tmp_path):
    path = tmp_path / "own.json"
    read_scale_sim(topology).save(path)
    assert list(read_steps(path, ImportOptions())) == ["own"]
    for options in (ImportOptions(training=True), ImportOptions(pattern=NM(2, 8))):
        with pytest.raises(InputError, match=r"files of other tools \(\.csv, \.onnx\)"):
            read_steps(path, options)


def test_the_section_carries_where_the_step_is_from(topology):
    section = simulate_workload(topology, None, ImportOptions(training=True))
    assert section["imported"]["derived"] == ["BP", "WU"]
    assert section["imported"]["file"] == str(topology)
    assert json.loads(json.dumps(section)) == section


def test_suffixes_in_any_case(topology, tmp_path):
    assert set(READERS) == {".json", ".csv", ".onnx"}
    upper = tmp_path / "NET.CSV"
    upper.write_text(TOPOLOGY)
    (first,), (second,) = (read_steps(p, ImportOptions()).values() for p in (topology, upper))
    assert first == replace(second, provenance=first.provenance)


def simulate(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cosparse", "simulate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


def test_the_command(topology, monkeypatch, capsys):
    arguments = topology, "--training", "--pattern", "2:8", "--accelerator", "sat-4x4"
    code, out, err = simulate(monkeypatch, capsys, *arguments)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "net.csv on sat-4x4, matrix products:"
    assert lines[1] == f"FF read from {topology}; BP, WU derived"
    assert lines[2:4] == ["dense: stem.weight: stem", "dense: classes.weight: classifier"]
    assert lines[-2].startswith("net.csv ") and lines[-1].startswith("dense ")


def test_an_unknown_pattern(topology, monkeypatch, capsys):
    code, out, err = simulate(monkeypatch, capsys, topology, "--pattern", "2;8")
    assert (code, out) == (2, "")
    assert "unknown pattern '2;8', did you mean '2:8'" in err
