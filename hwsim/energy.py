"""Energy of a run: event counts times a table of pJ an event, and static power times time.

    E = sum over events of count * pJ  +  static W * cycles / clock

The range is that of every entry at its low or at its high end at once, so it is wide.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from importlib.resources import as_file, files
from operator import add
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import InputError

from .config import AcceleratorConfig
from .tables import Figure, check_keys, read_table

ENERGY_SCHEMA = 1

_JOULES_PER_PICOJOULE = 1e-12


@dataclass(frozen=True, kw_only=True)
class EventCounts:
    """How often each thing happened. Counts of two runs add with `+`. Raises InputError."""

    macs_fp16: int = 0
    """FP16 products, each accumulated in FP32."""
    idle_slots: int = 0
    """Cycles of a PE that bypass the adder."""
    lutram_reads: int = 0
    """Activations picked by an index."""
    activation_words_read_bytes: int = 0
    activation_bytes_written: int = 0
    weight_bytes_read: int = 0
    weight_bytes_written: int = 0
    accumulator_bytes_read: int = 0
    accumulator_bytes_written: int = 0
    dram_bytes_read: int = 0
    dram_bytes_written: int = 0
    instruction_bytes: int = 0
    sore_values: int = 0
    """Values that enter the N:M selectors."""
    wuve_elements: int = 0
    """Elements through the vector lanes."""

    def __post_init__(self) -> None:
        for name, count in vars(self).items():
            if type(count) is not int or count < 0:
                raise InputError(f"event counts: {name}: expected an integer >= 0, got {count!r}")

    def __add__(self, other: "EventCounts") -> "EventCounts":
        mine, more = vars(self), vars(other)
        return EventCounts(**{name: mine[name] + more[name] for name in mine})


EVENTS = tuple(field.name for field in fields(EventCounts))


@dataclass(frozen=True)
class EnergyTable:
    """pJ of every event, and the static power in W."""

    events: Mapping[str, Figure]
    static_power: Figure

    @classmethod
    def default(cls) -> Self:
        """The table that ships with the package."""
        with as_file(files("hwsim") / "energy.yaml") as path:
            return cls.from_file(path)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a table with exactly the events of EventCounts. Raises InputError, file and key."""
        data = read_table(Path(path), ENERGY_SCHEMA, ("events", "static_power"))
        check_keys(f"{path}: events", data["events"], EVENTS)
        events = {
            name: Figure.read(f"{path}: events.{name}", data["events"][name]) for name in EVENTS
        }
        return cls(events, Figure.read(f"{path}: static_power", data["static_power"]))


@dataclass(frozen=True)
class Energy:
    """Joules of a run with their range. value_j = sum(by_event_j) + static_j."""

    value_j: float
    low_j: float
    high_j: float
    by_event_j: dict[str, float]
    static_j: float
    seconds: float

    @property
    def mean_power_w(self) -> float:
        """Zero for a run of no cycles."""
        return self.value_j / self.seconds if self.seconds else 0.0


def estimate(
    counts: EventCounts, cycles: int, config: AcceleratorConfig, table: EnergyTable
) -> Energy:
    """Energy of `cycles` in which `counts` happened. Sums run in the order of EVENTS."""
    seconds = config.seconds(cycles)
    by_event = {
        name: count * table.events[name].value * _JOULES_PER_PICOJOULE
        for name, count in vars(counts).items()
    }
    static = table.static_power.value * seconds
    return Energy(
        value_j=_added(by_event.values()) + static,
        low_j=_bound(counts, seconds, table, "low"),
        high_j=_bound(counts, seconds, table, "high"),
        by_event_j=by_event,
        static_j=static,
        seconds=seconds,
    )


def _bound(counts: EventCounts, seconds: float, table: EnergyTable, end: str) -> float:
    """The sum with every figure at one end of its range, "low" or "high"."""
    picojoules: float = _added(
        count * getattr(table.events[name], end) for name, count in vars(counts).items()
    )
    watts: float = getattr(table.static_power, end)
    return picojoules * _JOULES_PER_PICOJOULE + watts * seconds


def estimate_many(
    events: npt.NDArray[np.int64],
    cycles: npt.NDArray[np.int64],
    clock_mhz: npt.NDArray[np.int64],
    table: EnergyTable,
) -> npt.NDArray[np.float64]:
    """(runs, 3) value_j, low_j and high_j as `estimate` gives them. events: (runs, EVENTS)."""
    seconds = cycles / (clock_mhz * 1e6)
    figures, power = [table.events[name] for name in EVENTS], table.static_power
    value = _added(
        events[:, position] * figure.value * _JOULES_PER_PICOJOULE
        for position, figure in enumerate(figures)
    )
    low = _added(events[:, position] * figure.low for position, figure in enumerate(figures))
    high = _added(events[:, position] * figure.high for position, figure in enumerate(figures))
    return np.stack(
        [
            value + power.value * seconds,
            low * _JOULES_PER_PICOJOULE + power.low * seconds,
            high * _JOULES_PER_PICOJOULE + power.high * seconds,
        ],
        axis=1,
    )


def _added(terms: Iterable[Any]) -> Any:
    """One term after the other: `sum` of floats rounds differently in newer Pythons."""
    return reduce(add, terms)
