"""A training step as executors see it: GEMMs, vector work and tensors, in execution order.

    FF   Y  = X  W^T     m = tokens (or output pixels), k = inputs * taps,  n = outputs
    BP   dX = dY W       m = tokens (or input pixels),  k = outputs * taps, n = inputs
    WU   dW = X^T dY     m = inputs * taps,             k = tokens (or output pixels), n = outputs

m, k, n are per convolution group; a convolution's images lie in m (k for WU); `batch` counts
independent products (attention heads). `macs` is the dense count of multiply-accumulates over
batch and groups, and authoritative: a strided BP has FF's count, not m * k * n.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from .errors import CorruptFileError, InputError, PatternError, SchemaVersionError
from .patterns import NM, VNM, Dense, Pattern, parse_pattern

WORKLOAD_SCHEMA = 1


class Phase(StrEnum):
    """Phase of a training step."""

    FF = "FF"
    BP = "BP"
    WU = "WU"
    UPDATE = "UPDATE"
    PRUNE = "PRUNE"


GEMM_PHASES = (Phase.FF, Phase.BP, Phase.WU)


@dataclass(frozen=True)
class Operand:
    """One operand of a GEMM: the tensor's name, its pattern along k, its dtype."""

    tensor: str
    pattern: Pattern = Dense()
    dtype: str = "float16"


@dataclass(frozen=True)
class ConvGeometry:
    """Geometry of a two-dimensional convolution; pairs are (height, width)."""

    batch: int
    in_hw: tuple[int, int]
    out_hw: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Gemm:
    """One matrix product of the step. `lhs` is (m, k), `rhs` is (k, n); see the module's text."""

    name: str
    phase: Phase
    m: int
    k: int
    n: int
    lhs: Operand
    rhs: Operand
    batch: int = 1
    groups: int = 1
    conv: ConvGeometry | None = None
    macs: int = -1

    def __post_init__(self) -> None:
        if min(self.m, self.k, self.n, self.batch, self.groups) < 0:
            raise PatternError(f"GEMM '{self.name}': expected sizes >= 0, got {self.shape}")
        if self.macs < 0:
            object.__setattr__(self, "macs", self.batch * self.groups * self.m * self.k * self.n)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(batch, groups, m, k, n)."""
        return self.batch, self.groups, self.m, self.k, self.n

    @property
    def taps(self) -> int:
        """Kernel positions inside k: groups of a pattern do not cross them."""
        return self.conv.taps if self.conv is not None and self.phase != Phase.WU else 1

    @property
    def channels(self) -> int:
        """Length of the axis along which a pattern groups: k of one tap."""
        return self.k // self.taps if self.taps else 0

    @property
    def sparse_operand(self) -> Operand | None:
        """The operand that is not dense, if any."""
        sparse = [side for side in (self.lhs, self.rhs) if not isinstance(side.pattern, Dense)]
        return sparse[0] if sparse else None

    @property
    def issued_macs(self) -> int:
        """Multiply-accumulates after sparsity; an N:M tail is padded and counted as a whole group."""
        operand = self.sparse_operand
        if operand is None or self.channels == 0:
            return self.macs
        pattern = operand.pattern
        if isinstance(pattern, NM | VNM):
            issued = -(-self.channels // pattern.m) * pattern.n
            return self.macs * issued // self.channels
        return round(self.macs * pattern.density)


@dataclass(frozen=True)
class Vector:
    """Streaming work outside the GEMMs: `elements` results, `bytes` read and written in FP16."""

    name: str
    phase: Phase
    kind: str
    elements: int
    bytes: int


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that the workload names."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    """weight, activation or gradient."""


@dataclass(frozen=True)
class Workload:
    """One training step in execution order, the tensors it names, and where it came from."""

    ops: tuple[Gemm | Vector, ...]
    tensors: tuple[TensorInfo, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def gemms(self) -> tuple[Gemm, ...]:
        return tuple(op for op in self.ops if isinstance(op, Gemm))

    @property
    def vectors(self) -> tuple[Vector, ...]:
        return tuple(op for op in self.ops if isinstance(op, Vector))

    def macs(self, *phases: Phase) -> int:
        """Dense multiply-accumulates of the given phases (all three without arguments)."""
        return sum(gemm.macs for gemm in self.gemms if gemm.phase in (phases or GEMM_PHASES))

    def issued_macs(self, *phases: Phase) -> int:
        """Multiply-accumulates after sparsity."""
        return sum(gemm.issued_macs for gemm in self.gemms if gemm.phase in (phases or GEMM_PHASES))

    def only(self, phases: tuple[Phase, ...]) -> "Workload":
        """The same workload with only these phases' operations."""
        kept = tuple(op for op in self.ops if op.phase in phases)
        return Workload(kept, self.tensors, self.provenance)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; patterns as text."""
        return {
            "schema": WORKLOAD_SCHEMA,
            "ops": [_op_to_json(op) for op in self.ops],
            "tensors": [asdict(tensor) for tensor in self.tensors],
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str = "workload") -> Self:
        """Inverse of `to_json`. Raises SchemaVersionError and CorruptFileError."""
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != WORKLOAD_SCHEMA:
            raise SchemaVersionError(
                f"{where}: expected a workload of schema {WORKLOAD_SCHEMA}, got {schema}; "
                "capture it again with this release"
            )
        try:
            ops = tuple(_op_from_json(item) for item in data["ops"])
            tensors = tuple(
                TensorInfo(**{**item, "shape": tuple(item["shape"])}) for item in data["tensors"]
            )
            return cls(ops, tensors, data["provenance"])
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise CorruptFileError(f"{where}: not a workload: {error!r}") from error

    def save(self, path: str | Path) -> None:
        """Write the workload as JSON."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote."""
        try:
            data = json.loads(Path(path).read_text())
        except OSError as error:
            raise InputError(f"{path}: cannot read a workload: {error.strerror}") from error
        except ValueError as error:
            raise CorruptFileError(f"{path}: not a workload: {error}") from error
        return cls.from_json(data, str(path))


def _op_to_json(op: Gemm | Vector) -> dict[str, Any]:
    data = asdict(op)
    if isinstance(op, Gemm):
        data["lhs"]["pattern"] = str(op.lhs.pattern)
        data["rhs"]["pattern"] = str(op.rhs.pattern)
    return {"op": type(op).__name__.lower(), **data}


def _op_from_json(item: dict[str, Any]) -> Gemm | Vector:
    fields = {key: value for key, value in item.items() if key != "op"}
    fields["phase"] = Phase(fields["phase"])
    if item["op"] == "vector":
        return Vector(**fields)
    for side in ("lhs", "rhs"):
        operand = fields[side]
        fields[side] = Operand(**{**operand, "pattern": parse_pattern(operand["pattern"])})
    if fields["conv"] is not None:
        conv: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in fields["conv"].items()
        }
        fields["conv"] = ConvGeometry(**conv)
    return Gemm(**fields)
