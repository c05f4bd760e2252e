"""A configuration as the integers that the timing kernels read."""

from dataclasses import fields
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .config import AcceleratorConfig


class Vector(Protocol):
    """What a kernel sees of a one-dimensional int64 array: integers."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


CONFIG_FIELDS: tuple[str, ...] = tuple(
    item.name for item in fields(AcceleratorConfig) if item.name != "name"
)
CONFIG_POSITION: dict[str, int] = {name: position for position, name in enumerate(CONFIG_FIELDS)}
"""Where a configuration field stands in the vector."""


def config_vector(config: AcceleratorConfig) -> npt.NDArray[np.int64]:
    """Every integer field, in the order of CONFIG_FIELDS: (len(CONFIG_FIELDS),) int64."""
    return np.array([getattr(config, name) for name in CONFIG_FIELDS], np.int64)
