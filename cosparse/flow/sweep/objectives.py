"""What a sweep looks for: expressions over a point's figures, to be minimised or maximised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cosparse.spec.errors import InputError
from hwsim.config_vector import CONFIG_FIELDS

from .expressions import Expression, parse
from .figures import FIGURE_NAMES, METRICS

NAMES = (*FIGURE_NAMES, *CONFIG_FIELDS, "batch", *METRICS)
"""What an objective may read."""
_DIRECTIONS = ("minimise", "maximise")


@dataclass(frozen=True)
class Objective:
    """text: as the scenario has it, such as `energy_j * milliseconds` or `maximise accuracy`."""

    text: str
    expression: Expression
    maximised: bool

    @property
    def metrics(self) -> frozenset[str]:
        """Those of METRICS that it reads."""
        return self.expression.names & METRICS.keys()

    def cost(self, columns: dict[str, Any]) -> Any:
        """The smaller the better: the value, negated where it is maximised."""
        value = self.expression(columns)
        return -value if self.maximised else value


def parse_objective(text: str) -> Objective:
    """Raises InputError."""
    first, _, rest = text.strip().partition(" ")
    directed = first in _DIRECTIONS and bool(rest.strip())
    expression = parse(rest if directed else text, NAMES)
    if not expression.names:
        raise InputError(f"'{text.strip()}': expected a figure to look for, such as milliseconds")
    return Objective(text.strip(), expression, maximised=directed and first == "maximise")


def columns_of(objectives: Sequence[Objective]) -> list[str]:
    """The names that some objective reads, in the order of NAMES."""
    read = {name for one in objectives for name in one.expression.names}
    return [name for name in NAMES if name in read]
