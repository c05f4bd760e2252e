"""The workloads of a sweep: the scenario with some keys replaced, lowered once and kept in the store."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from cosparse.spec import InputError, ScenarioError, TrustError, Workload

from ..scenario_messages import key_problems
from ..scenario_schema import Origin, Scenario
from .store import Store, Variant

_WITHOUT = ("sweep", "study", "rtl")
"""Keys that say nothing about one workload."""


class RefusedError(InputError):
    """Settings of which no workload can be made."""


def variant_scenario(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with the values at some paths replaced, a model before its options.

    Raises ScenarioError.
    """
    data: dict[str, Any] = json.loads(scenario.model_dump_json(by_alias=True))
    data = {key: value for key, value in data.items() if key not in _WITHOUT}
    data |= {"backends": ["simulator"]}
    data["train"] |= {"compare": [], "on": []}
    for path in sorted(settings, key=lambda path: len(path_keys(path))):
        _replace(data, path, deepcopy(settings[path]))
    try:
        return Scenario.model_validate(data, context=Origin(scenario.folder))
    except ValidationError as error:
        raise ScenarioError(problem.message for problem in key_problems(error)) from None


def path_keys(path: str) -> list[str]:
    """Of a scenario; an option's name may have dots."""
    return path.split(".", 2) if path.startswith("model.options.") else path.split(".")


def _replace(data: dict[str, Any], path: str, value: Any) -> None:
    *outer, key = path_keys(path)
    for part in outer:
        data = data.setdefault(part, {})
    data[key] = {"name": value} if path == "model" and isinstance(value, str) else value


def value_at(data: Mapping[str, Any], path: str) -> Any:
    """What a scenario's JSON holds at a path; None where it has no such key."""
    found: Any = data
    for part in path_keys(path):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class Variants:
    """Workloads by their settings, lowered when they are first asked for."""

    def __init__(self, scenario: Scenario, store: Store, *, trust: bool) -> None:
        self._scenario = scenario
        self._store = store
        self._trust = trust

    def of(self, settings: Mapping[str, Any]) -> Variant:
        """Read from the store, or lowered and kept there.

        Raises RefusedError where model, method and pattern do not fit, TrustError, RunError.
        """
        scenario = variant_scenario(self._scenario, settings)
        training = scenario.training_hash() if scenario.train.trains else None
        source = hashlib.sha256(f"{scenario.workload_hash()} {_lowering_version()}".encode())
        names = _names(scenario)
        labels = json.dumps([names, dict(settings), training], sort_keys=True)
        digest = hashlib.sha256(f"{source.hexdigest()} {labels}".encode()).hexdigest()
        found = self._store.variant(digest)
        if found is None:
            workload = self._lower(scenario)
            found = self._store.add_variant(
                digest, source.hexdigest(), names, settings, training, workload
            )
        return found

    def _lower(self, scenario: Scenario) -> Workload:
        from ..lower import lower_all
        from ..network import resolve_network

        try:
            network = resolve_network(scenario, trust=self._trust)
            with network.blamed():
                workloads, _ = lower_all(scenario, network)
        except TrustError:
            raise
        except InputError as error:
            raise RefusedError(str(error)) from error
        return workloads[scenario.train.method]


def _names(scenario: Scenario) -> tuple[str, str, str, int]:
    model = scenario.model.name or scenario.model.checkpoint or ""
    return model, scenario.train.method, scenario.train.pattern, scenario.timed_batch


@cache
def _lowering_version() -> str:
    """Of what makes a workload out of a model."""
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    folders = [files("algos")]
    while folders:
        for item in sorted(folders.pop().iterdir(), key=lambda item: item.name):
            if item.is_dir():
                folders.append(item)
            elif item.name.endswith(".py"):
                digest.update(item.name.encode() + item.read_bytes())
    return digest.hexdigest()
