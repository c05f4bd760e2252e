"""`train.on`: the scenario's training once more on the accelerator's machine, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import algos
import cosparse as cs
from cosparse.flow import on_accelerator
from cosparse.flow.on_accelerator import Compared, network_of
from cosparse.spec import NM, RunError, ScenarioError, UnsupportedError
from hwsim import AcceleratorConfig, machine
from hwsim.machine import Memory
from hwsim.program import Program

MLP = {"name": "digits-mlp", "options": {"hidden": 16, "layers": 1}}
ON_MACHINE = {"on": ["machine"], "schedule": "constant", "compare": [], "include": ["classifier"]}


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    scenario = tiny(ON_MACHINE | {"steps": 8, "seeds": [3, 4]}, model=MLP)
    return cs.run(scenario, out=tmp_path_factory.mktemp("trained"))


def test_it_is_the_training_of_pytorch(trained):
    document = trained.document
    own, torch_runs = document["on_accelerator"]["runs"], document["training"]["runs"]
    assert [(run["executor"], run["seed"]) for run in own] == [("machine", 3), ("machine", 4)]
    for run, other in zip(own, torch_runs, strict=True):
        assert run["undone"] == 0
        losses = [point["loss"] for point in other["history"]]
        assert len(losses) == 8
        np.testing.assert_allclose(run["losses"], losses, rtol=0.02)


def test_the_report_shows_both(trained):
    report = (trained.folder / "report.md").read_text()
    assert "Training on the accelerator" in report
    assert "trained in FP16 on the machine of sat-8x8 (2 seeds)" in report
    assert "`train: {on: [rtl]}`" in report
    html = trained.report_path.read_text()
    assert "PyTorch, FP32" in html


def test_without_it_nothing_is_said(finished):
    assert finished.document["on_accelerator"] is None
    assert "Training on the accelerator" not in (finished.folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("train", "keys", "message"),
    [
        ({"optimizer": "adam"}, {}, "expected 'sgd' to train on the accelerator"),
        ({"method": "sdgp"}, {}, "packs a weight of its own"),
        ({"method": "sr-ste"}, {}, "no decay of pruned weights"),
        ({"select_dtype": "float32"}, {}, "expected 'float16'"),
        ({"on": ["rtl"]}, {"accelerator": "sat-32x32"}, "one AXI port"),
        ({"on": ["board"]}, {}, "machine, rtl"),
        ({}, {"backends": ["cpu"]}, "backend 'simulator'"),
    ],
)
def test_the_scenario_is_refused(tiny, train, keys, message):
    from cosparse.flow.scenario import load_scenario

    with pytest.raises(ScenarioError, match=message):
        load_scenario(tiny(ON_MACHINE | train, **{"model": MLP, **keys}))


def test_other_networks_are_refused_before_any_training(tiny, tmp_path):
    with pytest.raises(UnsupportedError, match="Linear and ReLU layers, got Conv2d, BatchNorm2d"):
        cs.run(tiny(ON_MACHINE, model="digits-cnn"), out=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


class Residual(nn.Module):
    """Calls only Linear and ReLU, and adds."""

    def __init__(self):
        super().__init__()
        self.fc, self.relu, self.classifier = nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)

    def forward(self, x):
        return self.classifier(x + self.relu(self.fc(x)))


def test_a_network_that_does_more_between_its_layers_is_refused():
    sparsified = algos.sparsify(Residual(), "bdwp", "2:8")
    with pytest.raises(UnsupportedError, match="got other work"):
        network_of(sparsified, torch.rand(2, 16), 8)


def test_layers_have_the_patterns_of_the_plan():
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4, bias=False))
    network = network_of(algos.sparsify(model, "bdwp", "2:8"), torch.rand(2, 16), 8)
    first, last = network.layers
    assert (first.name, first.ff, first.relu, first.bias) == ("0", NM(2, 8), True, True)
    assert (last.name, str(last.bp), last.relu, last.bias) == ("2", "dense", False, False)


class Wrong:
    """A session whose RTL gives another byte, or takes another cycle."""

    def __init__(self, byte: int, cycles: int) -> None:
        self.byte, self.more, self.cycles = byte, cycles, []

    def __call__(self, program, memory):
        from types import SimpleNamespace

        image = memory.image.copy()
        image[0] ^= self.byte
        counted = on_accelerator.cycles(program, CONFIG) + self.more
        rtl = SimpleNamespace(cycles=counted)
        return SimpleNamespace(memory=Memory(image), nonfinite=False, rtl=rtl)


CONFIG = AcceleratorConfig.preset("sat-8x8")


@pytest.mark.parametrize(
    ("byte", "cycles", "message"), [(1, 0, "1 bytes differ"), (0, 1, "cycles predicted")]
)
def test_an_rtl_that_differs_ends_the_run(byte, cycles, message):
    executor = Compared(Wrong(byte, cycles), CONFIG)
    with pytest.raises(RunError, match=message):
        executor(Program.assemble([]), machine.Memory.build(64))
    Compared(Wrong(0, 0), CONFIG)(Program.assemble([]), machine.Memory.build(64))
