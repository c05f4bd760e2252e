"""cs.simulate and the simulated section: every number is that of hwsim, none is lost on the way."""

import pytest
import torch
from torch import nn

import cosparse as cs
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
from hwsim import AcceleratorConfig, price


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
        (
            "resnet50",
            {"sample": 3},
            InputError,
            "expected a Workload, .*got str",
        ),
        (nn.Linear(3, 3), {"sample": torch.zeros(1, 3), "method": "x"}, UnsupportedError, "bdwp"),
    ],
)
def test_bad_input(target, options, error, message):
    with pytest.raises(error, match=message):
        cs.simulate(target, **options)
