"""Accuracies of a sweep: every method, pattern and recipe that its axes name is trained once."""

from pathlib import Path

from ..network import resolve_network
from ..progress import Reporter
from ..store import RunFolder, writable_folder
from ..trainings import train_all
from .definition import Definition
from .space import Space
from .store import Store
from .variants import variant_scenario


def train_missing(
    definition: Definition, store: Store, folder: Path, reporter: Reporter, *, trust: bool
) -> None:
    """Into the store's table `accuracy`; finished trainings in `folder` are reused."""
    for settings in _all_settings(definition.space):
        scenario = variant_scenario(definition.scenario, settings)
        training, method = scenario.training_hash(), scenario.train.method
        known = {seed for (seed,) in store.rows(
            "SELECT seed FROM accuracy WHERE training = ? AND method = ?", training, method
        )}  # fmt: skip
        if known >= set(scenario.train.seeds):
            continue
        path = writable_folder(folder / f"training-{training[:8]}")
        writable_folder(path / "trainings")
        network = resolve_network(scenario, trust=trust)
        with network.blamed():
            for result in train_all(scenario, network, RunFolder(path), reporter):
                store.add_accuracy(training, method, result.seed, result.metric_name, result.metric)


def _all_settings(space: Space) -> list[dict[str, object]]:
    """Of every legal point of the grid."""
    for codes in space.grid():
        space.resolve(codes)
    return list(space.variants)
