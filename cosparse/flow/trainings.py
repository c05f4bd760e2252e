"""All training runs of a scenario: methods x seeds, each kept on disk as soon as it is finished.

A run that is already in the folder is not repeated: the folder's name holds the scenario's hash, and
the record holds the version that wrote it.
"""

from dataclasses import asdict
from typing import Any

from algos.loop import Recipe, TrainingResult, step_count, train
from algos.sparsified import Sparsified, sparsify
from cosparse.spec import CorruptFileError, InputError

from .network import Network, load_state, read_state, write_state
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
    spec = scenario.train
    sparsified = sparsify(
        network.build(seed),
        method,
        spec.pattern,
        include=spec.include,
        exclude=spec.exclude,
        select_dtype=spec.select_dtype,
    )
    sparsified.verify(network.sample(2))
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
    results = []
    for seed in scenario.train.seeds:
        for method in scenario.train.methods:
            finished = _finished(folder, method, seed)
            results.append(
                finished or _train_one(scenario, network, folder, method, seed, reporter)
            )
    return results


def trained_model(
    scenario: Scenario, network: Network, folder: RunFolder, method: str, seed: int
) -> Sparsified:
    """The model whose weights the backends run: trained if the scenario trains, else as built."""
    sparsified = prepare(scenario, network, method, seed)
    path = folder.training_path(method, seed, ".safetensors")
    if scenario.train.trains:
        state, _ = read_state(path)
        load_state(sparsified.model, state, str(path))
    sparsified.model.eval()
    return sparsified


def _train_one(
    scenario: Scenario,
    network: Network,
    folder: RunFolder,
    method: str,
    seed: int,
    reporter: Reporter,
) -> TrainingResult:
    assert network.data is not None
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
    write_state(folder.training_path(method, seed, ".safetensors"), sparsified.model, network.name)
    record = {"versions": _relevant_versions(), "result": asdict(result)}
    write_json(folder.training_path(method, seed, ".json"), record)
    metric = "diverged" if result.metric is None else f"{result.metric:.2f}"
    reporter.stage(
        f"{method:8} seed {seed}: {result.metric_name} {metric} ({result.seconds:.1f} CPU s)"
    )
    return result


def _steps(scenario: Scenario, network: Network) -> int:
    assert network.data is not None
    return step_count(recipe_of(scenario), network.data)


def _finished(folder: RunFolder, method: str, seed: int) -> TrainingResult | None:
    path = folder.training_path(method, seed, ".json")
    if not (path.exists() and path.with_suffix(".safetensors").exists()):
        return None
    try:
        record: dict[str, Any] = read_json(path)
        if record["versions"] != _relevant_versions():
            return None
        return TrainingResult(**record["result"])
    except (CorruptFileError, KeyError, TypeError):
        return None  # a damaged record is trained again


def _relevant_versions() -> dict[str, str]:
    found = versions()
    return {name: found[name] for name in _RELEVANT}
