"""Measurements: one number, what it is a number of, and how it was obtained."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from .errors import InputError


class Kind(StrEnum):
    """How a number was obtained. The five are never mixed in one column."""

    MEASURED = "measured"
    COUNTED = "counted"
    SIMULATED = "simulated"
    MODELLED = "modelled"
    PUBLISHED = "published"


@dataclass(frozen=True)
class Spread:
    """Dispersion of repeated measurements, in the measurement's unit."""

    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class Measurement:
    """One value of one operation on one backend.

    op: the Gemm's or Vector's name, or "step"; phase: FF, BP, WU, ... or "all"; metric: what was
    measured ("time", "cycles", "energy", "storage", "accuracy"); provenance: baseline, machine,
    configuration: what is needed to obtain it again.
    """

    op: str
    phase: str
    backend: str
    metric: str
    kind: Kind
    value: float
    unit: str
    spread: Spread | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises InputError for an unknown kind or field."""
        try:
            spread = data.get("spread")
            return cls(
                **{
                    **data,
                    "kind": Kind(data["kind"]),
                    "spread": None if spread is None else Spread(**spread),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a measurement: {error}") from error
