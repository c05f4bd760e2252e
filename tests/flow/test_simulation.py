"""cs.simulate and the simulated section: every number is that of hwsim, none is lost on the way."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import nn

import cosparse as cs
from algos.models import build
from cosparse.flow.simulation import simulate_steps, simulate_workload
from cosparse.spec import (
    ConfigError,
    Gemm,
    InputError,
    Operand,
    Phase,
    UnsupportedError,
    Vector,
    Workload,
    parse_pattern,
)
from cosparse.spec.errors import MissingToolError
from hwsim import AcceleratorConfig, price, total


def workload(pattern="2:8", phases=(Phase.FF, Phase.BP)):
    sparse = Operand("w", parse_pattern(pattern))
    gemms = [
        Gemm(f"fc{i}", phase, 64, 64, 64, Operand("x"), sparse) for i, phase in enumerate(phases)
    ]
    return Workload((*gemms, Vector("relu", Phase.FF, "relu", 4096, 16384)))


@pytest.fixture(scope="module")
def step():
    return simulate_steps({"m": workload()}, AcceleratorConfig.preset("sat-8x8"))["methods"]["m"]


def test_totals_are_sums_of_the_rows(step):
    assert step["cycles"] == sum(row["cycles"] for row in step["layers"])
    by_phase = step["cycles_by_phase"]
    assert step["cycles"] == sum(sum(kinds.values()) for kinds in by_phase.values())
    assert by_phase["FF"]["modelled"] == sum(
        row["cycles"] for row in step["layers"] if row["kind"] == "modelled"
    )
    assert step["milliseconds"] == pytest.approx(step["cycles"] / 200e6 * 1e3)


def test_rows_are_the_timings_of_hwsim(step):
    timings = price(workload(), AcceleratorConfig.preset("sat-8x8"))
    assert [(row["name"], row["cycles"], row["dataflow"]) for row in step["layers"]] == [
        (timing.name, timing.cycles, timing.dataflow) for timing in timings
    ]


def test_every_product_has_one_winner_and_it_is_the_cheapest(step):
    assert sum(sum(wins.values()) for wins in step["dataflow_wins"].values()) == 2
    for row in step["layers"]:
        costs = {flow: c for flow, c in row["candidates"].items() if isinstance(c, int)}
        if costs:
            assert row["cycles"] == min(costs.values()) == costs[row["dataflow"]]


def test_issued_macs(step):
    assert (step["macs"], step["issued_macs"]) == (2 * 64**3, 2 * 64**3 // 4)


def test_a_workload_and_its_file_agree(tmp_path, step):
    workload().save(tmp_path / "m.json")
    assert simulate_workload(tmp_path / "m.json", None)["methods"]["m"] == step


@pytest.mark.parametrize("accelerator", ["sat-8x8", {"preset": "sat-8x8"}])
def test_ways_to_name_an_accelerator(accelerator):
    expected = cs.simulate(workload(), accelerator=AcceleratorConfig.preset("sat-8x8"))
    assert cs.simulate(workload(), accelerator=accelerator) == expected


def test_a_model_is_captured_lowered_and_left_as_it_is():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sample = torch.zeros(32, 64)
    sparse, dense = (cs.simulate(model, method=m, sample=sample) for m in ("bdwp", "dense"))
    assert type(model[1]) is nn.Linear
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in before.items())
    issued = {(t.name, t.phase): t.issued_macs for t in sparse if t.macs}
    macs = {(t.name, t.phase): t.issued_macs for t in dense if t.macs}
    for key, count in macs.items():
        pruned = key in {("0", Phase.FF), ("1", Phase.FF), ("1", Phase.BP)}
        assert issued[key] == (count // 4 if pruned else count)


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (workload("2:32"), {}, UnsupportedError, "32"),
        (workload(), {"accelerator": "sat-9x9"}, ConfigError, "sat-8x8"),
        (workload(), {"accelerator": {"rows": 0}}, ConfigError, "rows"),
        (nn.Linear(3, 3), {}, InputError, "sample"),
        ("resnet51", {}, UnsupportedError, "did you mean 'resnet50'"),
        ("resnet50", {"method": "bdwp 2:8", "pattern": "2:4"}, InputError, "one pattern"),
        (3, {"sample": 3}, InputError, "expected a Workload, .*got int"),
        (nn.Linear(3, 3), {"sample": torch.zeros(1, 3), "method": "x"}, UnsupportedError, "bdwp"),
    ],
)
def test_bad_input(target, options, error, message):
    with pytest.raises(error, match=message):
        cs.simulate(target, **options)


def test_a_shipped_model_by_name_is_its_module_on_the_same_batch():
    sample = torch.zeros(16, 64)
    by_name = cs.simulate("digits-mlp", "bdwp 2:8", "sat-4x4", batch=16)
    by_hand = cs.simulate(build("digits-mlp"), "bdwp", "sat-4x4", pattern="2:8", sample=sample)
    assert by_name.timings == by_hand.timings
    assert by_name.dense == cs.simulate("digits-mlp", "dense", "sat-4x4", batch=16).timings


def test_a_simulation_says_what_its_timings_say():
    found = cs.simulate("digits-mlp", "bdwp 2:8", batch=16)
    assert found.cycles == sum(timing.cycles for timing in found) == total(found.timings)
    assert found.speedup == total(found.dense) / found.cycles > 1
    assert found.milliseconds == pytest.approx(found.cycles / 200e3)
    lines = repr(found).splitlines()
    assert lines[0].startswith("digits-mlp, bdwp 2:8 on sat-8x8: ")
    assert f"{found.cycles:,} cycles" in lines[0] and f"{found.speedup:.2f}x" in lines[0]
    longest = max((t for t in found if t.dataflow), key=lambda timing: timing.cycles)
    assert lines[2].split()[:2] == [longest.name, longest.phase.value]
    assert repr(found) in repr([found])


def test_a_notebook_shows_every_product_and_runs_no_name():
    found = cs.simulate("digits-mlp", "bdwp 2:8", batch=16)
    hostile = replace(found, what="<script>", timings=(replace(found[0], name="<img src=x>"),))
    page = hostile._repr_html_()
    assert "<script>" not in page and "<img" not in page and "&lt;img src=x&gt;" in page
    assert found._repr_html_().count("<tr>") == 1 + sum(bool(t.dataflow) for t in found)


def test_to_pandas_has_one_row_an_operation_or_says_what_to_install():
    found = cs.simulate("digits-mlp", "bdwp 2:8", batch=16)
    if find_spec("pandas") is None:
        with pytest.raises(MissingToolError, match="pip install pandas"):
            found.to_pandas()
    else:
        table = found.to_pandas()
        assert table["cycles"].sum() == found.cycles and len(table) == len(found)
