"""Accuracies of a sweep: every method, pattern and recipe that its points name is trained once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosparse.spec import InputError

from ..network import resolve_network
from ..progress import Reporter
from ..scenario import Scenario
from ..store import RunFolder, writable_folder
from ..trainings import train_all
from .figures import METRIC_OF
from .store import Store
from .variants import variant_scenario


@dataclass(frozen=True)
class Trainer:
    """Fills the table `accuracy` of a store; finished trainings in `folder` are reused."""

    scenario: Scenario
    store: Store
    folder: Path
    reporter: Reporter
    trust: bool
    metrics: frozenset[str]
    """Those that the sweep's objectives read."""

    def train(self, settings: Mapping[str, Any]) -> None:
        """What these settings of the sweep need and the store does not have.

        Raises InputError without data, and for data that are measured by another metric.
        """
        scenario = variant_scenario(self.scenario, settings)
        training, method = scenario.training_hash(), scenario.train.method
        known = {seed for (seed,) in self.store.rows(
            "SELECT seed FROM accuracy WHERE training = ? AND method = ?", training, method
        )}  # fmt: skip
        if known >= set(scenario.train.seeds):
            return
        path = writable_folder(self.folder / f"training-{training[:8]}")
        writable_folder(path / "trainings")
        network = resolve_network(scenario, trust=self.trust)
        other = self.metrics - {METRIC_OF[network.task]}
        if other:
            raise InputError(
                f"sweep.objectives: expected '{METRIC_OF[network.task]}', which '{network.name}' is "
                f"measured by, got '{min(other)}'"
            )
        with network.blamed():
            for result in train_all(scenario, network, RunFolder(path), self.reporter):
                self.store.add_accuracy(
                    training, method, result.seed, result.metric_name, result.metric
                )
