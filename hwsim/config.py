"""The accelerator's configuration: presets, checked overrides, or every field given by the user.

One field is one parameter of the RTL. `rules.FIELDS` describes each of them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any, Self

from cosparse.spec.errors import ConfigError, unknown_name

from .rules import (
    Problem,
    accumulator_word_bytes,
    activation_word_bytes,
    check_names,
    check_relations,
    check_values,
    half_bytes,
    weight_word_bytes,
)


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """One accelerator. Raises ConfigError, naming every broken rule, when it cannot be built."""

    name: str = "custom"
    rows: int
    cols: int
    group_max: int
    n_max: int
    mul_latency: int
    add_latency: int
    interleave: int
    act_values_per_row_cycle: int
    activation_kib: int
    weight_kib: int
    accumulator_kib: int
    axi_bytes: int
    axi_ports: int
    dram_bytes_per_cycle: int
    dram_latency_cycles: int
    burst_beats: int
    outstanding: int
    sore_lanes: int
    wuve_lanes: int
    clock_mhz: int

    def __post_init__(self) -> None:
        _refuse(check_values(vars(self)) or check_relations(self))

    @classmethod
    def preset(cls, name: str, /, **overrides: Any) -> Self:
        """A row of PRESETS with some fields replaced. Raises ConfigError."""
        return cls.from_mapping({"preset": name, **overrides})

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Either {"preset": name, field: value, ...} or every field. Raises ConfigError."""
        _refuse(check_mapping(mapping))
        return cls(**_merged(mapping))

    def to_mapping(self) -> dict[str, Any]:
        """Every field; `from_mapping` reads it back."""
        return asdict(self)

    @property
    def simulation_only(self) -> bool:
        """The RTL has one AXI port: more of them exist only in simulation."""
        return self.axi_ports > 1

    @property
    def activation_half_bytes(self) -> int:
        return int(half_bytes(self.activation_kib))

    @property
    def weight_half_bytes(self) -> int:
        return int(half_bytes(self.weight_kib))

    @property
    def accumulator_half_bytes(self) -> int:
        return int(half_bytes(self.accumulator_kib))

    @property
    def activation_lanes(self) -> int:
        """FP16 of an activation word: a * R channels of one token."""
        return self.act_values_per_row_cycle * self.rows

    @property
    def activation_half_words(self) -> int:
        return int(self.activation_half_bytes // activation_word_bytes(self))

    @property
    def weight_half_words(self) -> int:
        return int(self.weight_half_bytes // weight_word_bytes(self))

    @property
    def accumulator_half_words(self) -> int:
        return int(self.accumulator_half_bytes // accumulator_word_bytes(self))

    @property
    def chunk(self) -> int:
        """Q: channels (WU: tokens) that the feeder brings while the array works on the chunk before."""
        return max(self.group_max, self.activation_lanes)

    @property
    def burst_bytes(self) -> int:
        return self.burst_beats * self.axi_bytes

    def seconds(self, cycles: int) -> float:
        """Time of `cycles` at the assumed clock."""
        return cycles / (self.clock_mhz * 1e6)


PRESETS: dict[str, dict[str, int]] = {
    "sat-4x4": {
        "rows": 4,
        "cols": 4,
        "group_max": 8,
        "n_max": 8,
        "mul_latency": 2,
        "add_latency": 3,
        "interleave": 4,
        "act_values_per_row_cycle": 1,
        "activation_kib": 16,
        "weight_kib": 16,
        "accumulator_kib": 16,
        "axi_bytes": 8,
        "axi_ports": 1,
        "dram_bytes_per_cycle": 8,
        "dram_latency_cycles": 20,
        "burst_beats": 16,
        "outstanding": 4,
        "sore_lanes": 4,
        "wuve_lanes": 4,
        "clock_mhz": 200,
    },
    "sat-8x8": {
        "rows": 8,
        "cols": 8,
        "group_max": 16,
        "n_max": 16,
        "mul_latency": 2,
        "add_latency": 4,
        "interleave": 4,
        "act_values_per_row_cycle": 2,
        "activation_kib": 64,
        "weight_kib": 64,
        "accumulator_kib": 64,
        "axi_bytes": 16,
        "axi_ports": 1,
        "dram_bytes_per_cycle": 16,
        "dram_latency_cycles": 30,
        "burst_beats": 16,
        "outstanding": 8,
        "sore_lanes": 8,
        "wuve_lanes": 8,
        "clock_mhz": 200,
    },
    "sat-32x32": {
        "rows": 32,
        "cols": 32,
        "group_max": 16,
        "n_max": 16,
        "mul_latency": 3,
        "add_latency": 4,
        "interleave": 8,
        "act_values_per_row_cycle": 2,
        "activation_kib": 1024,
        "weight_kib": 1024,
        "accumulator_kib": 512,
        "axi_bytes": 64,
        "axi_ports": 4,
        "dram_bytes_per_cycle": 256,
        "dram_latency_cycles": 60,
        "burst_beats": 16,
        "outstanding": 16,
        "sore_lanes": 32,
        "wuve_lanes": 32,
        "clock_mhz": 200,
    },
}
"""Our choices; SAT publishes neither buffer sizes nor latencies. sat-32x32 is simulation-only."""


def check_mapping(mapping: Any) -> list[Problem]:
    """Everything that is wrong with a configuration as a scenario gives it; empty when it is sound.

    Rules between fields are checked once every field is sound by itself.
    """
    if not isinstance(mapping, Mapping):
        return [Problem(None, f"expected a mapping of accelerator fields, got {mapping!r}")]
    preset = mapping.get("preset")
    if "preset" in mapping and (not isinstance(preset, str) or preset not in PRESETS):
        return [Problem("preset", unknown_name("accelerator preset", preset, PRESETS))]
    own = {key: value for key, value in mapping.items() if key != "preset"}
    problems = check_names(own, required="preset" not in mapping) + check_values(own)
    return problems or check_relations(SimpleNamespace(**_merged(mapping)))


def _merged(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's fields overlaid with the given ones; the name tells what was replaced."""
    own = {key: value for key, value in mapping.items() if key != "preset"}
    if "preset" not in mapping:
        return own
    replaced = ", ".join(f"{key}={own[key]}" for key in sorted(own) if key != "name")
    name = f"{mapping['preset']} ({replaced})" if replaced else mapping["preset"]
    return {"name": name, **PRESETS[mapping["preset"]], **own}


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError("\n".join(f"accelerator: {problem}" for problem in problems))
