"""A point as text: the keys of a scenario that make it, and a line to read."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import yaml

from hwsim.config import PRESETS, AcceleratorConfig
from hwsim.config_vector import CONFIG_FIELDS

from ...sweep.axes import OPTION_PATHS
from ...sweep.space import FLOWS
from ...sweep.variants import path_keys, value_at
from .points import SweepPoints


def scenario_keys(points: SweepPoints, row: int) -> dict[str, Any]:
    """What turns the sweep's scenario into this point's."""
    variant = points.variants[int(points.variant[row])]
    keys: dict[str, Any] = {}
    for prefix in OPTION_PATHS:
        if any(path.startswith(prefix) for path in variant.settings):
            _put(keys, *_given(points.definition, prefix))
    for path in sorted(variant.settings, key=lambda path: len(path_keys(path))):
        _put(keys, path_keys(path), variant.settings[path])
    keys["accelerator"] = _accelerator(points.config(row))
    if "dataflow" in points.definition["sweep"]["axes"]:
        keys["dataflow"] = FLOWS[int(points.flow[row])]
    return keys


def _given(definition: Mapping[str, Any], prefix: str) -> tuple[list[str], Any]:
    """Where the sweep's own options stand, a model's with its name, and what they are."""
    path = ["model"] if prefix.startswith("model.") else path_keys(prefix.rstrip("."))
    return path, deepcopy(value_at(definition, ".".join(path)))


def scenario_text(points: SweepPoints, row: int) -> str:
    """The same as YAML, to be copied."""
    keys = scenario_keys(points, row)
    flow = keys.pop("dataflow", None)
    note = f"# dataflow {flow}: an axis of the sweep, not a key of a scenario\n" if flow else ""
    return f"# point {points.number[row]} of {points.name}\n{note}{yaml.safe_dump(keys, sort_keys=False)}"


def axis_line(points: SweepPoints, row: int) -> str:
    """The point's place on every axis."""
    return ", ".join(f"{name} {values[row]}" for name, values in points.axes.items())


def _accelerator(config: AcceleratorConfig) -> dict[str, Any]:
    """The preset and what differs from it; without a preset every field."""
    own = {name: getattr(config, name) for name in CONFIG_FIELDS}
    if config.name not in PRESETS:
        return own
    base = AcceleratorConfig.preset(config.name)
    differs = {name: value for name, value in own.items() if value != getattr(base, name)}
    return {"preset": config.name, **differs}


def _put(keys: dict[str, Any], path: list[str], value: Any) -> None:
    """Write a value at a path; a text that stands on the way there is the name of what has keys."""
    for part in path[:-1]:
        held = keys.setdefault(part, {})
        if not isinstance(held, dict):
            keys[part] = {"name": held}
        keys = keys[part]
    keys[path[-1]] = value
