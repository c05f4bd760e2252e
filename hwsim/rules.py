"""What a configuration may be: one row a field, one row a rule between fields.

Messages and docs/microarchitecture.md are both made from these rows. The functions of CROSS_RULES are
elementwise: a configuration whose fields are arrays gives an array.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cosparse.spec.errors import unknown_name

from .constants import ACCUMULATOR_BYTES, ADDRESS_BITS, INDEX_BITS, PACKED_LANES, VALUE_BYTES

MAX_INTERLEAVED_ROWS = 2
"""Largest Ir: activation rows that one PE works on in turn."""

_AXI_BOUNDARY_BYTES = 4096
_PACKED_ENTRY_BITS = 8 * VALUE_BYTES + INDEX_BITS


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration; `field` is None when it is not one field's."""

    field: str | None
    message: str

    def __str__(self) -> str:
        return self.message if self.field is None else f"{self.field}: {self.message}"


@dataclass(frozen=True)
class FieldRule:
    """One integer field: what it is, its unit, its range (ends included)."""

    description: str
    unit: str
    low: int
    high: int
    power_of_two: bool = False

    @property
    def expected(self) -> str:
        """The rule in words."""
        kind = "a power of two" if self.power_of_two else "an integer"
        return f"{kind} from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Whether `value` obeys the rule; True and 4.0 are not integers."""
        if type(value) is not int or not self.low <= value <= self.high:
            return False
        return not self.power_of_two or value & (value - 1) == 0


FIELDS: dict[str, FieldRule] = {
    "rows": FieldRule("array rows R; a word of ACT is a * R FP16", "PEs", 2, 128, True),
    "cols": FieldRule("array columns C, and accumulator banks", "PEs", 2, 128, True),
    "group_max": FieldRule("largest M; activations a PE selects from", "values", 2, 16, True),
    "n_max": FieldRule("largest N; weights a PE holds of one group", "values", 1, 16, True),
    "mul_latency": FieldRule("FP16 multiplier latency Lm", "cycles", 1, 4),
    "add_latency": FieldRule("FP32 adder latency L", "cycles", 1, 4),
    "interleave": FieldRule("accumulators of a PE, the limit of Ic * Ir", "outputs", 1, 16),
    "act_values_per_row_cycle": FieldRule(
        "activations a the feeder gives one row in a cycle", "values", 1, 16, True
    ),
    "activation_kib": FieldRule("activation scratchpad, both halves", "KiB", 1, 65536),
    "weight_kib": FieldRule("weight scratchpad, both halves", "KiB", 1, 65536),
    "accumulator_kib": FieldRule("accumulator scratchpad, both halves", "KiB", 1, 65536),
    "axi_bytes": FieldRule("data width of one AXI port", "bytes", 4, 128, True),
    "axi_ports": FieldRule("AXI ports; the RTL has one", "ports", 1, 16),
    "dram_bytes_per_cycle": FieldRule("bandwidth that the DRAM sustains", "bytes", 1, 2048),
    "dram_latency_cycles": FieldRule("request to first data beat", "cycles", 1, 10000),
    "burst_beats": FieldRule("beats of one AXI burst", "beats", 1, 256, True),
    "outstanding": FieldRule("bursts in flight at most", "bursts", 1, 256),
    "sore_lanes": FieldRule("N:M selector lanes", "lanes", 1, PACKED_LANES, True),
    "wuve_lanes": FieldRule("vector lanes", "lanes", 1, 1024, True),
    "clock_mhz": FieldRule("clock, an assumption", "MHz", 1, 2000),
}


@dataclass(frozen=True)
class CrossRule:
    """`got(config) <= limit(config)`; blamed on `field`, with the rule as text."""

    field: str
    rule: str
    got: Callable[[Any], Any]
    limit: Callable[[Any], Any]


def half_bytes(kib: Any) -> Any:
    """Bytes of one half of a double-buffered scratchpad of `kib` KiB."""
    return kib * 1024 // 2


def activation_word_bytes(config: Any) -> Any:
    """What the feeder reads in a cycle: a * R FP16."""
    return config.act_values_per_row_cycle * config.rows * VALUE_BYTES


def weight_word_bytes(config: Any) -> Any:
    """C FP16 and their indices."""
    return config.cols * _PACKED_ENTRY_BITS // 8


def accumulator_word_bytes(config: Any) -> Any:
    """C FP32, one a bank."""
    return config.cols * ACCUMULATOR_BYTES


def _words(kib: Any, word_bytes: Any) -> Any:
    """Words of both halves."""
    return 2 * (half_bytes(kib) // word_bytes)


CROSS_RULES: tuple[CrossRule, ...] = (
    CrossRule("n_max", "n_max <= group_max", lambda c: c.n_max, lambda c: c.group_max),
    CrossRule(
        "act_values_per_row_cycle",
        "act_values_per_row_cycle <= group_max",
        lambda c: c.act_values_per_row_cycle,
        lambda c: c.group_max,
    ),
    CrossRule(
        "dram_bytes_per_cycle",
        "dram_bytes_per_cycle <= axi_ports * axi_bytes",
        lambda c: c.dram_bytes_per_cycle,
        lambda c: c.axi_ports * c.axi_bytes,
    ),
    CrossRule(
        "burst_beats",
        "burst_beats * axi_bytes <= 4096 (AXI's address boundary)",
        lambda c: c.burst_beats * c.axi_bytes,
        lambda _: _AXI_BOUNDARY_BYTES,
    ),
    CrossRule(
        "activation_kib",
        f"{MAX_INTERLEAVED_ROWS} * rows * group_max FP16 activations fit one half (bytes)",
        lambda c: MAX_INTERLEAVED_ROWS * c.rows * c.group_max * VALUE_BYTES,
        lambda c: half_bytes(c.activation_kib),
    ),
    CrossRule(
        "weight_kib",
        "group_max * interleave * cols packed weights fit one half (bytes)",
        lambda c: c.group_max * c.interleave * c.cols * _PACKED_ENTRY_BITS // 8,
        lambda c: half_bytes(c.weight_kib),
    ),
    CrossRule(
        "accumulator_kib",
        "rows * cols * interleave FP32 accumulators fit one half (bytes)",
        lambda c: c.rows * c.cols * c.interleave * ACCUMULATOR_BYTES,
        lambda c: half_bytes(c.accumulator_kib),
    ),
    CrossRule(
        "activation_kib",
        f"words of both halves have a {ADDRESS_BITS}-bit address",
        lambda c: _words(c.activation_kib, activation_word_bytes(c)),
        lambda _: 1 << ADDRESS_BITS,
    ),
    CrossRule(
        "weight_kib",
        f"words of both halves have a {ADDRESS_BITS}-bit address",
        lambda c: _words(c.weight_kib, weight_word_bytes(c)),
        lambda _: 1 << ADDRESS_BITS,
    ),
    CrossRule(
        "accumulator_kib",
        f"words of both halves have a {ADDRESS_BITS}-bit address",
        lambda c: _words(c.accumulator_kib, accumulator_word_bytes(c)),
        lambda _: 1 << ADDRESS_BITS,
    ),
    CrossRule(
        "sore_lanes",
        "sore_lanes <= cols (SORE writes one weight word)",
        lambda c: c.sore_lanes,
        lambda c: c.cols,
    ),
    CrossRule(
        "sore_lanes",
        "sore_lanes <= act_values_per_row_cycle * rows (SORE reads one activation word)",
        lambda c: c.sore_lanes,
        lambda c: c.act_values_per_row_cycle * c.rows,
    ),
    CrossRule(
        "wuve_lanes",
        "wuve_lanes <= cols (WUVE works on one accumulator word)",
        lambda c: c.wuve_lanes,
        lambda c: c.cols,
    ),
    CrossRule(
        "wuve_lanes",
        "wuve_lanes <= act_values_per_row_cycle * rows (WUVE writes one activation word)",
        lambda c: c.wuve_lanes,
        lambda c: c.act_values_per_row_cycle * c.rows,
    ),
)


def check_names(mapping: Mapping[str, object], required: bool) -> list[Problem]:
    """Unknown fields, and where `required` the missing ones."""
    known = [*FIELDS, "name"]
    problems = [
        Problem(str(key), unknown_name("accelerator field", key, known))
        for key in mapping
        if key not in known
    ]
    if required:
        problems += [
            Problem(name, f"missing; expected {rule.expected} ({rule.description})")
            for name, rule in FIELDS.items()
            if name not in mapping
        ]
    return problems


def check_values(mapping: Mapping[str, object]) -> list[Problem]:
    """Wrong types and values out of range, among the fields that are present."""
    problems = [
        Problem(name, f"expected {rule.expected}, got {mapping[name]!r} ({rule.description})")
        for name, rule in FIELDS.items()
        if name in mapping and not rule.accepts(mapping[name])
    ]
    name = mapping.get("name", "")
    if not isinstance(name, str):
        problems.append(Problem("name", f"expected text, got {name!r}"))
    return problems


def check_relations(config: object) -> list[Problem]:
    """Broken rules between fields. `config` has every field as an attribute, each in its range."""
    return [
        Problem(
            row.field, f"expected {row.rule}: at most {row.limit(config)}, got {row.got(config)}"
        )
        for row in CROSS_RULES
        if row.got(config) > row.limit(config)
    ]
