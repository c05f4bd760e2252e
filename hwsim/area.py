"""FPGA resources of a configuration: STCE fitted to synthesised ones, memories by formula.

    LUT = memories of R * C elements + fit      FF, DSP = fit
    fit = R * C * (a + b * M + c * L + d * A) + e * R + f * C + g      (L: AddLatency, A: activations a row)
    BRAM36 = half of the RAMB18 of the scratchpads (hwsim/scratchpads.py)

The table (hwsim/area.yaml) holds complete STCEs: elements, row edges, feeder, sequencer. SORE, WUVE,
DMA, front ends and the multiplexers of the scratchpads are not in the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from math import ceil
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cosparse.spec.errors import InputError, unknown_name

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES, INDEX_BITS
from .scratchpads import scratchpads
from .tables import check_keys, read_table

AREA_SCHEMA = 1

FITTED = ("lut", "ff", "dsp")
RESOURCES = (*FITTED, "bram36")

WIDE_BITS = 17
"""A value in an element: FP16 without subnormal numbers (rtl/fp16_to_fp17.sv)."""

EXTRAPOLATION = 0.3
"""Added to the range beyond the largest synthesised array, or with elements that none has: our choice."""

ELEMENT = ("group_max", "mul_latency", "add_latency", "interleave", "act_values_per_row_cycle")
"""What an element depends on, beside the size of the array."""


@dataclass(frozen=True)
class SynthesisedArray:
    """One row of the table."""

    rows: int
    cols: int
    group_max: int
    n_max: int
    mul_latency: int
    add_latency: int
    interleave: int
    act_values_per_row_cycle: int
    lut: int
    ff: int
    dsp: int

    @property
    def pes(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class AreaTable:
    """Synthesised arrays, what produced them, and the resources of devices."""

    label: str
    tool: str
    arrays: tuple[SynthesisedArray, ...]
    devices: dict[str, dict[str, int]]

    @classmethod
    def default(cls) -> Self:
        """The table that ships with the package."""
        with as_file(files("hwsim") / "area.yaml") as path:
            return cls.from_file(path)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a table. Raises InputError, naming file and key."""
        data = read_table(Path(path), AREA_SCHEMA, ("label", "tool", "arrays", "devices"))
        if not isinstance(data["arrays"], list) or not data["arrays"]:
            raise InputError(f"{path}: arrays: expected a list of rows, got {data['arrays']!r}")
        if not isinstance(data["devices"], dict):
            raise InputError(f"{path}: devices: expected a mapping, got {data['devices']!r}")
        names = tuple(SynthesisedArray.__dataclass_fields__)
        arrays = [
            _integers(f"{path}: arrays[{index}]", row, names)
            for index, row in enumerate(data["arrays"])
        ]
        devices = {
            name: _integers(f"{path}: devices.{name}", row, RESOURCES)
            for name, row in data["devices"].items()
        }
        rows = tuple(SynthesisedArray(**row) for row in arrays)
        return cls(data["label"], data["tool"], rows, devices)

    def device(self, name: str) -> dict[str, int]:
        """Resource -> how much of it the device has. Raises InputError."""
        if name not in self.devices:
            raise InputError(unknown_name("device", name, self.devices))
        return self.devices[name]


@dataclass(frozen=True)
class Amount:
    """An estimated count with its range."""

    value: int
    low: int
    high: int


@dataclass(frozen=True)
class Area:
    """Resources of a configuration: STCE and the scratchpads.

    extrapolated: larger than every synthesised array, or with elements that none has.
    """

    lut: Amount
    ff: Amount
    dsp: Amount
    bram36: Amount
    extrapolated: bool
    label: str

    def share_of(self, device: dict[str, int]) -> dict[str, float]:
        """Resource -> estimated value over what the device has; above 1 it does not fit."""
        return {name: getattr(self, name).value / device[name] for name in RESOURCES}


def estimate_area(config: AcceleratorConfig, table: AreaTable | None = None) -> Area:
    """Resources of `config`, by the shipped table unless another is given."""
    return AreaModel(AreaTable.default() if table is None else table).estimate(config)


class Array(Protocol):
    """What the fit knows of an array: a row of the table, or a configuration."""

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def group_max(self) -> int: ...
    @property
    def n_max(self) -> int: ...
    @property
    def add_latency(self) -> int: ...
    @property
    def interleave(self) -> int: ...
    @property
    def act_values_per_row_cycle(self) -> int: ...


@dataclass(frozen=True)
class Fit:
    """One resource; weights: of _features; residual: its largest relative error on the table."""

    resource: str
    weights: tuple[float, ...]
    residual: float

    def at(self, array: Array) -> float:
        terms = zip(self.weights, _features(array), strict=True)
        return sum(w * term for w, term in terms) + _known(array, self.resource)


class AreaModel:
    """A table with its fits, for many configurations."""

    def __init__(self, table: AreaTable) -> None:
        self._table = table
        self._fits = {name: fit(table.arrays, name) for name in FITTED}

    def estimate(self, config: AcceleratorConfig) -> Area:
        """Resources of `config`."""
        extrapolated = _is_extrapolated(config, self._table.arrays)
        more = EXTRAPOLATION if extrapolated else 0.0
        fitted = {
            name: _amount(model.at(config), model.residual + more)
            for name, model in self._fits.items()
        }
        blocks, label = bram36(config), self._table.label
        return Area(
            **fitted,
            bram36=Amount(blocks, blocks, blocks),
            extrapolated=extrapolated,
            label=f"{label}, extrapolated" if extrapolated else label,
        )


def fit(arrays: Sequence[SynthesisedArray], resource: str) -> Fit:
    """Least squares of the relative error. A term that the rows before do not determine is left out."""
    features = np.array([_features(array) for array in arrays], np.float64)
    known = np.array([_known(array, resource) for array in arrays], np.float64)
    counts = np.array([getattr(array, resource) for array in arrays], np.float64)
    scale = 1 / np.maximum(counts, 1)
    columns = features * scale[:, None]
    used = _independent(columns)
    weights = np.zeros(features.shape[1])
    weights[used] = np.linalg.lstsq(columns[:, used], (counts - known) * scale, rcond=None)[0]
    residual = np.abs(features @ weights + known - counts) * scale
    return Fit(resource, tuple(weights.tolist()), float(residual.max()))


def element_memory_luts(array: Array) -> int:
    """LUTs of an element's memories: activation groups, weights and indices, three of sums."""
    lanes = array.act_values_per_row_cycle
    chunk = max(array.group_max, lanes * array.rows)
    twice = 2 if array.interleave > 1 else 1
    slots = max(2, _power(array.interleave))
    groups = lanes * _memory_luts(2 * _power(twice * chunk // lanes), WIDE_BITS)
    pairs = _memory_luts(2 * max(2, _power(array.n_max)) * slots, WIDE_BITS + INDEX_BITS)
    sums = 2 * _memory_luts(slots, 8 * ACCUMULATOR_BYTES) + _memory_luts(
        2 * slots, 8 * ACCUMULATOR_BYTES
    )
    return groups + pairs + sums


def _memory_luts(words: int, bits: int) -> int:
    """RAM32M16 gives 14 bits of 32 words, RAM64M8 7 bits of 64; both are a slice of 8 LUTs."""
    return 8 * ceil(bits / 14) if words <= 32 else 8 * ceil(bits / 7) * ceil(words / 64)


def _power(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _features(array: Array) -> tuple[int, ...]:
    pes = array.rows * array.cols
    return (
        pes,
        pes * array.group_max,
        pes * array.add_latency,
        pes * array.act_values_per_row_cycle,
        array.rows,
        array.cols,
        1,
    )


def _known(array: Array, resource: str) -> int:
    """The part of a resource that needs no fit."""
    return array.rows * array.cols * element_memory_luts(array) if resource == "lut" else 0


def _independent(columns: NDArray[np.float64]) -> list[int]:
    """Columns that no combination of those before gives."""
    used: list[int] = []
    for column in range(columns.shape[1]):
        if np.linalg.matrix_rank(columns[:, [*used, column]]) > len(used):
            used.append(column)
    return used


def bram36(config: AcceleratorConfig) -> int:
    """Block RAMs of the scratchpads."""
    return ceil(sum(pad.copies * pad.bram18 for pad in scratchpads(config).values()) / 2)


def _is_extrapolated(config: AcceleratorConfig, arrays: Sequence[SynthesisedArray]) -> bool:
    largest = max(array.pes for array in arrays)
    known = all(getattr(config, name) in {getattr(a, name) for a in arrays} for name in ELEMENT)
    return config.rows * config.cols > largest or not known


def _amount(value: float, slack: float) -> Amount:
    return Amount(*(round(value * factor) for factor in (1.0, max(0.0, 1 - slack), 1 + slack)))


def _integers(where: str, row: Any, names: Sequence[str]) -> dict[str, int]:
    check_keys(where, row, names)
    for name in names:
        if type(row[name]) is not int or row[name] < 0:
            raise InputError(f"{where}.{name}: expected an integer >= 0, got {row[name]!r}")
    return dict(row)
