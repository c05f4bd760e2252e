"""The axis `accelerator` of a sweep: which of its values a point has, and what to call each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwsim import AcceleratorConfig
from hwsim.config_vector import CONFIG_FIELDS, config_vector

from ...sweep.axes import ACCELERATOR, configuration, differing_fields, expand, short_name


def accelerator_labels(values: Sequence[Any]) -> list[str]:
    """A preset's name, or rows x cols; those that are alike also by the fields in which they differ."""
    configs = [configuration(value) for value in values]
    labels = [
        value if isinstance(value, str) else f"{config.rows}x{config.cols}"
        for value, config in zip(values, configs, strict=True)
    ]
    often = Counter(labels)
    alike = {
        label: [config for config, own in zip(configs, labels, strict=True) if own == label]
        for label in often
    }
    return [
        label if often[label] == 1 else f"{label} ({_difference(config, alike[label])})"
        for label, config in zip(labels, configs, strict=True)
    ]


def _difference(config: AcceleratorConfig, among: Sequence[AcceleratorConfig]) -> str:
    fields = differing_fields(among)
    return ", ".join(f"{name} {getattr(config, name)}" for name in fields)


def accelerators_of(
    definition: Mapping[str, Any], columns: Mapping[str, Any], count: int
) -> list[str]:
    """The label of each of `count` points, known again by the fields that no other axis and no `set` writes.

    A point with none of the values, where a condition switches the axis off, has the scenario's own array.
    """
    sweep = definition["sweep"]
    values = expand(sweep["axes"][ACCELERATOR])
    written = {short_name(path) for path in (*sweep["axes"], *sweep.get("set", {}))}
    own = [place for place, name in enumerate(CONFIG_FIELDS) if name not in written]
    table = np.stack([np.asarray(columns[CONFIG_FIELDS[place]]) for place in own], axis=1)
    different, places = np.unique(table.astype(np.int64), axis=0, return_inverse=True)
    known: dict[tuple[int, ...], str] = {}
    for label, value in zip(accelerator_labels(values), values, strict=True):
        known.setdefault(tuple(config_vector(configuration(value))[own].tolist()), label)
    base = str(definition["accelerator"]["name"])
    labels = [known.get(tuple(row), base) for row in different.tolist()]
    return [labels[place] for place in places.reshape(count).tolist()]
