"""The scenario's training once more, in FP16 on the accelerator: `train.on`.

Initial weights, batches and learning rates are those of the training in PyTorch. On the RTL every
program is run by the machine too: memory and cycles must be the same, or the run fails.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from algos.data import Dataset
from algos.loop import batches, learning_rate_factor, step_count
from algos.sparsified import Sparsified
from cosparse.spec import InputError, Phase, RunError, UnsupportedError
from cosparse.spec.dtypes import Array
from hwsim.compile.weights import Sgd
from hwsim.config import AcceleratorConfig
from hwsim.cosim import find_toolchain
from hwsim.cosim.session import Session
from hwsim.machine import Memory
from hwsim.program import Program
from hwsim.timing import cycles
from hwsim.training import (
    Affine,
    Batch,
    Executed,
    Executor,
    Network,
    Trainer,
    TrainingPrograms,
    compile_training,
    machine_executor,
)

from .network import SAMPLES
from .network import Network as ScenarioNetwork
from .progress import Reporter
from .scenario import Scenario
from .trainings import prepare, recipe_of

LOSS_SCALE = 2.0**10


def train_on_accelerator(
    scenario: Scenario, network: ScenarioNetwork, reporter: Reporter
) -> dict[str, Any]:
    """What the accelerator learned: `machine` with every seed, `rtl` with the first.

    Raises UnsupportedError for a network that is more than Linear and ReLU layers, MissingToolError
    for the RTL without its tools, RunError where RTL and machine differ.
    """
    spec, config = scenario.train, scenario.accelerator_config()
    programs = _programs(scenario, network, config)
    runs, compared = [], None
    if "machine" in spec.on:
        reporter.stage(f"training {network.name} on the machine, {config.name}")
        executor = machine_executor(config)
        runs = [
            _run(scenario, network, programs, executor, s, "machine", reporter) for s in spec.seeds
        ]
    if "rtl" in spec.on:
        reporter.stage(f"training {network.name} on the RTL, {config.name}")
        seed, start = spec.seeds[0], time.monotonic()
        with Session(config, programs.size_bytes, optimise="-O3") as session:
            executor = Compared(session, config)
            runs.append(_run(scenario, network, programs, executor, seed, "rtl", reporter))
        compared = executor.document(time.monotonic() - start)
    return {
        "accelerator": config.name,
        "programs": {
            name: {"instructions": len(program), "cycles": cycles(program, config)}
            for name, program in (("forward", programs.forward), ("step", programs.step))
        },
        "runs": runs,
        "rtl": compared,
    }


def check_on_accelerator(scenario: Scenario, network: ScenarioNetwork) -> None:
    """Refuse early what `train_on_accelerator` would refuse after the trainings in PyTorch."""
    _programs(scenario, network, scenario.accelerator_config())
    if "rtl" in scenario.train.on:
        find_toolchain()


@dataclass
class Compared:
    """An executor: the RTL, held to the machine and to the timing model."""

    session: Session
    config: AcceleratorConfig
    predicted: dict[bytes, int] = field(default_factory=dict)
    bytes_compared: int = 0

    def __call__(self, program: Program, memory: Memory) -> Executed:
        done = self.session(program, memory)
        expected = machine_executor(self.config)(program, memory)
        differing = int((done.memory.image != expected.memory.image).sum())
        if differing or done.nonfinite != expected.nonfinite:
            raise RunError(f"{program.name} on RTL: {differing} bytes differ from the machine's")
        wanted = self._cycles(program)
        if done.rtl.cycles != wanted:
            raise RunError(f"{program.name} on RTL: {wanted} cycles predicted, {done.rtl.cycles}")
        self.bytes_compared += len(memory.image)
        return done

    def document(self, seconds: float) -> dict[str, Any]:
        """What was compared. seconds: wall time, build included where there was one."""
        counted = self.session.cycles
        return {
            "programs": len(counted),
            "cycles": sum(counted),
            "bytes_compared": self.bytes_compared,
            "seconds": seconds,
        }

    def _cycles(self, program: Program) -> int:
        key = program.to_bytes()
        if key not in self.predicted:
            self.predicted[key] = cycles(program, self.config)
        return self.predicted[key]


def network_of(sparsified: Sparsified, sample: Tensor, batch: int) -> Network:
    """The layers of a model that is Linear and ReLU layers in a row, proven on `sample`.

    Raises UnsupportedError for any other model.
    """
    called = _leaves(sparsified.model, sample)
    names = {id(module): name for name, module in sparsified.model.named_modules()}
    layers = []
    for module, following in zip(called, [*called[1:], None], strict=True):
        if isinstance(module, nn.Linear):
            relu = isinstance(following, nn.ReLU)
            layers.append(_layer(sparsified, names[id(module)], module, batch, relu))
    return Network(tuple(layers))


def _leaves(model: nn.Module, sample: Tensor) -> list[nn.Module]:
    """The modules without parts in the order in which they are called."""
    called: list[nn.Module] = []
    leaves = [module for module in model.modules() if not any(module.children())]
    handles = [m.register_forward_hook(lambda module, *_: called.append(module)) for m in leaves]
    with torch.no_grad():
        wanted = model(sample)
    for handle in handles:
        handle.remove()
    got = sample.flatten(1)
    others = [m for m in called if not isinstance(m, nn.Linear | nn.ReLU)]
    if not others:
        with torch.no_grad():
            for module in called:
                got = module(got)
    if others or not torch.equal(got, wanted):
        found = ", ".join(dict.fromkeys(type(module).__name__ for module in others)) or "other work"
        raise UnsupportedError(
            f"train.on: the accelerator trains networks of Linear and ReLU layers, got {found}"
        )
    return called


def _layer(sparsified: Sparsified, name: str, module: nn.Linear, batch: int, relu: bool) -> Affine:
    plan = sparsified.layers[f"{name}.weight"]
    ff, bp = (plan.weight_pattern(phase) for phase in (Phase.FF, Phase.BP))
    shape = (module.out_features, module.in_features)
    return Affine(name, shape, batch, ff, bp, bias=module.bias is not None, relu=relu)


def _programs(
    scenario: Scenario, network: ScenarioNetwork, config: AcceleratorConfig
) -> TrainingPrograms:
    spec = scenario.train
    with torch.random.fork_rng(devices=()):
        sparsified = prepare(scenario, network, spec.method, spec.seeds[0])
    sample = torch.rand(network.sample(SAMPLES).shape, generator=torch.Generator().manual_seed(0))
    optimizer = Sgd(spec.lr, spec.momentum, spec.weight_decay, 1 / LOSS_SCALE)
    return compile_training(network_of(sparsified, sample, spec.batch), config, optimizer)


def _run(
    scenario: Scenario,
    network: ScenarioNetwork,
    programs: TrainingPrograms,
    executor: Executor,
    seed: int,
    name: str,
    reporter: Reporter,
) -> dict[str, Any]:
    """One training; `losses` of every step."""
    data = _dataset(scenario, network)
    steps, start = step_count(recipe_of(scenario), data), time.process_time()
    with torch.random.fork_rng(devices=()):
        sparsified = prepare(scenario, network, scenario.train.method, seed)
    parameters = {key: value.detach().numpy() for key, value in sparsified.model.named_parameters()}
    trainer = Trainer(programs, parameters, executor)
    records = []
    with reporter.task(f"{name}, seed {seed}", steps) as task:
        for record in trainer.run(_batches(scenario, data, steps, seed), _rates(scenario, steps)):
            records.append(record)
            task.update(len(records), f"loss {record.loss:.3f}")
        accuracy = trainer.accuracy(_halves(data.x_test), data.y_test)
    reporter.stage(f"{name:8} seed {seed}: accuracy {accuracy:.2f}")
    return {
        "executor": name,
        "seed": seed,
        "accuracy": accuracy,
        "losses": [record.loss for record in records],
        "undone": sum(record.undone for record in records),
        "seconds": time.process_time() - start,
    }


def _dataset(scenario: Scenario, network: ScenarioNetwork) -> Dataset:
    data = network.data
    if data is None or data.task != "classification" or len(data.x_train) < scenario.train.batch:
        raise InputError("train.on: expected classification data of at least one batch")
    return data


def _rates(scenario: Scenario, steps: int) -> Iterator[float]:
    spec = scenario.train
    for step in range(steps):
        yield spec.lr * learning_rate_factor(spec.schedule, step, steps)


def _batches(scenario: Scenario, data: Dataset, steps: int, seed: int) -> Iterator[Batch]:
    """Those of PyTorch, and one more, of which only FF is run."""
    for x, y in batches(data, scenario.train.batch, steps + 1, seed, 0):
        yield Batch(_halves(x.numpy()), y.numpy())


def _halves(x: Array) -> Array:
    return x.reshape(len(x), -1).astype(np.float16)
