"""All training runs of a scenario: methods x seeds, each kept on disk as soon as it is finished.

A run that is already in the folder is not repeated, as long as its record names the same recipe,
model, data and versions, and its weights are those that the record was written for.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from algos.loop import Recipe, TrainingResult, step_count, train
from algos.sparsified import Sparsified, sparsify
from cosparse.spec import CorruptFileError, InputError

from .checkpoint import load_into, read_checkpoint, write_checkpoint
from .network import SAMPLES, Network
from .progress import Reporter
from .provenance import versions
from .scenario import Scenario
from .store import RunFolder, read_json, write_json

_RELEVANT = ("cosparse", "torch", "numpy", "python", "scikit-learn")


def recipe_of(scenario: Scenario) -> Recipe:
    """The scenario's `train` section as the training loop reads it."""
    spec = scenario.train
    return Recipe(
        epochs=spec.max_epochs,
        steps=spec.steps,
        batch=spec.batch,
        optimizer=spec.optimizer,
        lr=spec.lr,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        schedule=spec.schedule,
        decay=spec.decay,
    )


def prepare(scenario: Scenario, network: Network, method: str, seed: int) -> Sparsified:
    """A fresh model of this seed, sparsified and proven to call every replaced module."""
    spec, sample = scenario.train, network.sample(SAMPLES)
    sparsified = sparsify(
        network.build(seed),
        spec.row(method),
        spec.pattern,
        include=spec.include,
        exclude=spec.exclude,
        select_dtype=spec.select_dtype,
        sample=sample,
    )
    sparsified.verify(sample)
    return sparsified


def train_all(
    scenario: Scenario, network: Network, folder: RunFolder, reporter: Reporter
) -> list[TrainingResult]:
    """Train every method with every seed; finished ones are read from the folder.

    Raises InputError when the scenario trains but has no data.
    """
    if network.data is None:
        raise InputError(
            f"scenario '{scenario.name}' trains '{network.name}' but has no data; "
            "give `data:`, or `epochs: 0` to use the weights as they are"
        )
    origin = _origin(scenario)
    results = []
    with torch_threads(scenario.threads):
        for seed in scenario.train.seeds:
            for method in scenario.train.methods:
                finished = _finished(folder, method, seed, origin)
                results.append(
                    finished
                    or _train_one(scenario, network, folder, method, seed, origin, reporter)
                )
    return results


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """A fixed count: accuracy then repeats on any machine, and small networks do not spin.

    torch's default, one a core, makes the threads of a small network wait for each other: on busy
    cores its training takes twenty times as long.
    """
    found = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(found)


def usable_seed(results: Sequence[TrainingResult], method: str) -> int | None:
    """The first seed whose run of `method` ended with finite weights, if there is one."""
    return next((r.seed for r in results if r.method == method and r.metric is not None), None)


def backend_model(
    scenario: Scenario, network: Network, folder: RunFolder, trained_seed: int | None
) -> Sparsified:
    """The model whose weights the backends run.

    Trained with `trained_seed`; None: with the weights that training starts from.
    """
    method, seeds = scenario.train.method, scenario.train.seeds
    sparsified = prepare(scenario, network, method, seeds[0])
    if trained_seed is not None:
        path = folder.training_path(method, trained_seed, ".safetensors")
        load_into(sparsified.model, read_checkpoint(path).state, str(path))
    sparsified.model.eval()
    return sparsified


def _train_one(
    scenario: Scenario,
    network: Network,
    folder: RunFolder,
    method: str,
    seed: int,
    origin: dict[str, Any],
    reporter: Reporter,
) -> TrainingResult:
    assert network.data is not None
    with torch.random.fork_rng(devices=()):
        sparsified = prepare(scenario, network, method, seed)
        with reporter.task(f"{method}, seed {seed}", _steps(scenario, network)) as task:
            result = train(
                sparsified,
                network.data,
                recipe_of(scenario),
                seed,
                context=network.context,
                progress=lambda step, _, loss: task.update(step, f"loss {loss:.3f}"),
            )
    _keep(sparsified, network, folder, result, origin)
    metric = "diverged" if result.metric is None else f"{result.metric:.2f}"
    reporter.stage(
        f"{method:8} seed {seed}: {result.metric_name} {metric} ({result.seconds:.1f} CPU s)"
    )
    if result.stopped is not None:
        reporter.stage(f"{method:8} seed {seed} stopped: {result.stopped}")
    return result


def _keep(
    sparsified: Sparsified,
    network: Network,
    folder: RunFolder,
    result: TrainingResult,
    origin: dict[str, Any],
) -> None:
    """Weights first: a record proves that they are there."""
    path = folder.training_path(result.method, result.seed, ".safetensors")
    write_checkpoint(path, sparsified.model, network.name, network.options)
    weights = hashlib.sha256(path.read_bytes()).hexdigest()
    record = {"origin": origin, "weights_sha256": weights, "result": asdict(result)}
    write_json(path.with_suffix(".json"), record)


def _steps(scenario: Scenario, network: Network) -> int:
    assert network.data is not None
    return step_count(recipe_of(scenario), network.data)


def _finished(
    folder: RunFolder, method: str, seed: int, origin: dict[str, Any]
) -> TrainingResult | None:
    """The kept result, or None where it is missing, damaged or of another origin."""
    path = folder.training_path(method, seed, ".json")
    weights = path.with_suffix(".safetensors")
    if not (path.is_file() and weights.is_file()):
        return None
    try:
        record: dict[str, Any] = read_json(path)
        same_weights = record["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
        if record["origin"] != origin or not same_weights:
            return None
        return TrainingResult(**record["result"])
    except (CorruptFileError, InputError, OSError, KeyError, TypeError):
        return None  # a damaged record is trained again


def _origin(scenario: Scenario) -> dict[str, Any]:
    """Everything that decides a training run beside its method and seed."""
    found = versions()
    return {
        "training_hash": scenario.training_hash(),
        "versions": {name: found[name] for name in _RELEVANT},
    }
