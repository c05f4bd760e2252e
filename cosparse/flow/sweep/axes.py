"""The axes of a sweep: which field of the scenario takes which values, and when."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosparse.spec.errors import InputError, unknown_name
from hwsim.config import PRESETS, AcceleratorConfig
from hwsim.config_vector import CONFIG_FIELDS
from hwsim.rules import FIELDS

MAX_VALUES = 100_000
"""Of one axis."""
MAX_NUMBER = 2**53
"""At the end of a range: every whole number up to it is a float of its own."""

DATAFLOWS: dict[str, dict[str, Any]] = {
    "best": {},
    "OS": {"dataflows": ("OS",)},
    "WS": {"dataflows": ("WS",), "fallback": "OS"},
}
"""Values of the axis `dataflow` as options of `hwsim.price`; what WS cannot run falls back to OS."""

ACCELERATOR, DATAFLOW = "accelerator", "dataflow"
WORKLOAD_PATHS = ("model", "batch", "phases", "train.method", "train.pattern", "train.include",
                  "train.exclude", "train.select_dtype", "train.optimizer")  # fmt: skip
"""Paths that decide the workload, beside those of OPTION_PATHS."""
OPTION_PATHS = ("model.options.", "train.options.")
"""What paths of options begin with."""
TRAINING_PATHS = ("train.epochs", "train.steps", "train.batch", "train.lr", "train.momentum",
                  "train.weight_decay", "train.schedule", "train.decay")  # fmt: skip
"""Paths that decide the accuracy only."""
_PREFIXES = ("accelerator.", "train.")


@dataclass(frozen=True, eq=False)
class Axis:
    """path: key of the scenario, with dots. when: the condition under which it takes its values.

    Where the condition does not hold, the scenario's own value stands.
    """

    path: str
    values: tuple[Any, ...]
    when: str | None = None

    @property
    def name(self) -> str:
        """As expressions and columns call it: `rows` for `accelerator.rows`."""
        return short_name(self.path)

    @property
    def is_field(self) -> bool:
        """Whether it is one field of the accelerator."""
        return self.path.startswith(f"{ACCELERATOR}.")

    @property
    def decides_workload(self) -> bool:
        """Whether it is neither the accelerator nor the dataflow."""
        return self.path not in (ACCELERATOR, DATAFLOW) and not self.is_field


def short_name(path: str) -> str:
    """A path without its section, where that leaves no doubt."""
    for prefix in _PREFIXES:
        if path.startswith(prefix) and path != "train.batch":
            return path.removeprefix(prefix)
    return path


def check_path(path: str) -> None:
    """Raises InputError for a path that is no axis."""
    if any(path.startswith(prefix) and path != prefix for prefix in OPTION_PATHS):
        return
    valid = (ACCELERATOR, *(f"{ACCELERATOR}.{name}" for name in FIELDS), DATAFLOW,
             *WORKLOAD_PATHS, *TRAINING_PATHS)  # fmt: skip
    if path not in valid:
        raise InputError(unknown_name("axis", path, valid))


def expand(values: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of an axis as a scenario writes them. Raises InputError.

    A list; {range: [first, last, step]}, ends included, step 1 where it is left out; or {log:
    [first, last, factor]}, factor 2 where it is left out.
    """
    if not isinstance(values, Mapping):
        return _different(tuple(values))
    forms: dict[str, Callable[[Sequence[Any]], tuple[Any, ...]]] = {
        "values": tuple,
        "range": _range,
        "log": _log,
    }
    given = [key for key in values if key in forms]
    unknown = [key for key in values if key not in (*forms, "when")]
    if unknown:
        raise InputError(unknown_name("key", unknown[0], (*forms, "when")))
    if len(given) != 1:
        raise InputError(f"expected one of {', '.join(forms)}, got {' and '.join(given) or 'none'}")
    listed = values[given[0]]
    if not isinstance(listed, list | tuple) or not listed:
        raise InputError(f"{given[0]}: expected a list, got {listed!r}")
    return _different(forms[given[0]](listed))


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not 1 <= len(values) <= MAX_VALUES:
        raise InputError(f"expected 1 to {MAX_VALUES:,} values, got {len(values):,}")
    check_different(values)
    return values


def check_different(values: Sequence[Any]) -> None:
    """Raises InputError where a value stands twice."""
    seen = set[str]()
    for value in values:
        if repr(value) in seen:
            raise InputError(f"expected each value once, got {value!r} twice")
        seen.add(repr(value))


def _ends(name: str, listed: Sequence[Any], default: int) -> tuple[Any, Any, Any]:
    numbers = all(type(item) in (int, float) for item in listed)
    if not numbers or not 2 <= len(listed) <= 3:
        raise InputError(f"{name}: expected two or three numbers, got {list(listed)!r}")
    if any(abs(item) > MAX_NUMBER for item in listed):
        raise InputError(f"{name}: expected numbers up to {MAX_NUMBER:g}, got {list(listed)!r}")
    first, last, step = (*listed, default)[:3]
    if last < first:
        raise InputError(f"{name}: expected first <= last, got {first} and {last}")
    return first, last, step


def _most(name: str, steps: float) -> float:
    if steps >= MAX_VALUES:
        raise InputError(f"{name}: expected at most {MAX_VALUES:,} values, got {steps + 1:,.0f}")
    return steps


def _range(listed: Sequence[Any]) -> tuple[Any, ...]:
    first, last, step = _ends("range", listed, 1)
    if step <= 0:
        raise InputError(f"range: expected a step above 0, got {step}")
    count = int(_most("range", (last - first) / step + 1e-9)) + 1
    return tuple(first + position * step for position in range(count))


def _log(listed: Sequence[Any]) -> tuple[Any, ...]:
    first, last, factor = _ends("log", listed, 2)
    if first <= 0 or factor <= 1:
        raise InputError(f"log: expected first above 0 and a factor above 1, got {list(listed)!r}")
    _most("log", math.log(last / first) / math.log1p(factor - 1))
    found = [first]
    while found[-1] * factor <= last * (1 + 1e-12):
        found.append(found[-1] * factor)
    return tuple(found)


def check_values(path: str, values: Sequence[Any]) -> None:
    """Raises InputError for a value that the field cannot have; the workload's are checked elsewhere."""
    for value in values:
        if path == ACCELERATOR:
            configuration(value)
        elif path == DATAFLOW and not (isinstance(value, str) and value in DATAFLOWS):
            raise InputError(unknown_name("dataflow", str(value), DATAFLOWS))
        elif path.startswith(f"{ACCELERATOR}."):
            rule = FIELDS[path.removeprefix(f"{ACCELERATOR}.")]
            if not rule.accepts(value):
                raise InputError(f"expected {rule.expected}, got {value!r} ({rule.description})")


def configuration(value: Any) -> AcceleratorConfig:
    """A preset's name or a mapping, as a value of the axis `accelerator`. Raises InputError."""
    if isinstance(value, str):
        if value not in PRESETS:
            raise InputError(unknown_name("accelerator preset", value, PRESETS))
        return AcceleratorConfig.preset(value)
    return AcceleratorConfig.from_mapping(value)


def differing_fields(configs: Sequence[AcceleratorConfig]) -> list[str]:
    """The fields that are not the same in all."""
    return [name for name in CONFIG_FIELDS if len({getattr(one, name) for one in configs}) > 1]
