"""One operator that ran during the captured step."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from torch import Tensor


class Pass(Enum):
    """What the step is doing while an operator runs."""

    FORWARD = auto()
    BACKWARD = auto()
    RECOMPUTATION = auto()


@dataclass(frozen=True)
class Event:
    """One operator that ran and costs something."""

    base: str
    """ATen name without overload and in-place underscore."""
    during: Pass
    path: str
    """Module that it belongs to, as `named_modules` calls it."""
    scope: str
    """The same, with a name for the model itself."""
    node: int
    """Sequence number of its autograd node: created in forward, running in backward."""
    args: tuple[Any, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
