"""FPGA resources of a configuration, from synthesised arrays and a formula for the memories.

    LUT, FF, DSP = R * C * (a + b * M)      BRAM36 = sum of 2 * max(half / 4 KiB, port / 8 B), rounded up

The PE repeats R * C times and nothing else is in the synthesised arrays, so there is no constant.
M sets the depth of a PE's activation group and the width of its index; b is fitted only where the
table has more than one M. What surrounds the array (feeder, SORE, WUVE, DMA) is not in the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from math import ceil
from pathlib import Path
from typing import Any, Self

import numpy as np

from cosparse.spec.errors import InputError, unknown_name

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES, INDEX_BITS, VALUE_BYTES
from .tables import check_keys, read_table

AREA_SCHEMA = 1

FITTED = ("lut", "ff", "dsp")
RESOURCES = (*FITTED, "bram36")

BRAM36_BYTES = 4096
BRAM36_PORT_BYTES = 8
"""A RAMB36 as simple dual port, 512 x 64, without its parity bits."""

EXTRAPOLATION = 0.3
"""Added to the range beyond the largest synthesised array, or at an M that none has: our choice."""


@dataclass(frozen=True)
class SynthesisedArray:
    """One row of the table."""

    rows: int
    cols: int
    group_max: int
    add_latency: int
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
    """Resources of a configuration: the array and its scratchpads.

    extrapolated: larger than every synthesised array, or with an M that none has.
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
    table = AreaTable.default() if table is None else table
    extrapolated = _is_extrapolated(config, table.arrays)
    fitted = {}
    for name in FITTED:
        model = fit(table.arrays, name)
        slack = model.residual + (EXTRAPOLATION if extrapolated else 0.0)
        fitted[name] = _amount(model.at(config.rows * config.cols, config.group_max), slack)
    blocks = bram36(config)
    return Area(
        **fitted,
        bram36=Amount(blocks, blocks, blocks),
        extrapolated=extrapolated,
        label=f"{table.label}, extrapolated" if extrapolated else table.label,
    )


@dataclass(frozen=True)
class Fit:
    """Resource = pes * (base + per_m * M); residual: its largest relative error on the table."""

    base: float
    per_m: float
    residual: float

    def at(self, pes: int, m: int) -> float:
        return pes * (self.base + self.per_m * m)


def fit(arrays: Sequence[SynthesisedArray], resource: str) -> Fit:
    """Least squares over the arrays; without a slope in M where all have the same M."""
    pes = np.array([array.pes for array in arrays], np.float64)
    groups = np.array([array.group_max for array in arrays], np.float64)
    counts = np.array([getattr(array, resource) for array in arrays], np.float64)
    one_m = len(set(groups)) == 1
    columns = pes[:, None] if one_m else np.stack([pes, pes * groups], axis=1)
    solution = np.linalg.lstsq(columns, counts, rcond=None)[0]
    residual = np.abs(columns @ solution - counts) / np.maximum(counts, 1)
    return Fit(float(solution[0]), 0.0 if one_m else float(solution[1]), float(residual.max()))


def bram36(config: AcceleratorConfig) -> int:
    """Block RAMs of the three scratchpads: each half needs the capacity and its port's width."""
    pads = (
        (config.activation_half_bytes, config.act_values_per_row_cycle * config.rows * VALUE_BYTES),
        (config.weight_half_bytes, config.cols * (VALUE_BYTES + INDEX_BITS / 8)),
        (config.accumulator_half_bytes, config.cols * ACCUMULATOR_BYTES),
    )
    return sum(
        2 * max(ceil(half / BRAM36_BYTES), ceil(port / BRAM36_PORT_BYTES)) for half, port in pads
    )


def _is_extrapolated(config: AcceleratorConfig, arrays: Sequence[SynthesisedArray]) -> bool:
    largest = max(array.pes for array in arrays)
    known = {array.group_max for array in arrays}
    return config.rows * config.cols > largest or config.group_max not in known


def _amount(value: float, slack: float) -> Amount:
    return Amount(*(round(value * factor) for factor in (1.0, max(0.0, 1 - slack), 1 + slack)))


def _integers(where: str, row: Any, names: Sequence[str]) -> dict[str, int]:
    check_keys(where, row, names)
    for name in names:
        if type(row[name]) is not int or row[name] < 0:
            raise InputError(f"{where}.{name}: expected an integer >= 0, got {row[name]!r}")
    return dict(row)
