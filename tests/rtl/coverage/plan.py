"""Functional coverage: which kinds of work the RTL must have done, as crosses of what makes a difference.

A cross has axes; a bin is one value of each. What cannot be is listed with its reason, every other bin
must be met by a case that ran on the RTL and was found equal to the simulator.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from hwsim.host import Counter
from hwsim.isa import Unit, VectorOp
from tests.programs.coverage import EVENTS

Bin = tuple[str, ...]
"""Name of a cross, then a value of each axis."""


@dataclass(frozen=True)
class Never:
    """Bins that cannot be: those whose axes all have one of the given values."""

    where: Mapping[str, tuple[str, ...]]
    reason: str


@dataclass(frozen=True)
class Cross:
    """axes: their values, by name."""

    name: str
    axes: Mapping[str, tuple[str, ...]]
    never: tuple[Never, ...] = ()

    def bins(self) -> Iterator[Bin]:
        """Those that must be met."""
        return (each for each in self._all() if self.reason(each) is None)

    def ruled_out(self) -> int:
        return sum(self.reason(each) is not None for each in self._all())

    def reason(self, each: Bin) -> str | None:
        """Why a bin cannot be, if so."""
        values = dict(zip(self.axes, each[1:], strict=True))
        reasons = (
            never.reason
            for never in self.never
            if all(values[axis] in choices for axis, choices in never.where.items())
        )
        return next(reasons, None)

    def _all(self) -> Iterator[Bin]:
        return ((self.name, *values) for values in product(*self.axes.values()))


SPARSE = ("2:4", "2:8", "1:8", "2:16")
NUMBERS = ("normal", "subnormal", "zero", "infinity", "NaN", "cancellation")
"""Among the operands; cancellation: a sum is below 2^-8 of what was added, neither of it zero."""

PRODUCTS = Cross(
    "product",
    {
        "pattern": ("dense", *SPARSE, "blocks"),
        "dataflow": ("OS", "WS"),
        "phase": ("FF", "BP", "WU"),
        "edge": ("whole", "rows", "columns", "group"),
        "stall": ("none", "data", "adder", "drain"),
        "number": NUMBERS,
    },
    (
        Never({"phase": ("WU",), "dataflow": ("WS",)}, "WU fills the array by columns, OS only"),
        Never({"phase": ("WU",), "pattern": (*SPARSE, "blocks")}, "WU multiplies dense operands"),
        Never({"pattern": ("blocks",), "dataflow": ("WS",)}, "segment tables are read in OS only"),
        Never(
            {
                "pattern": ("dense", "blocks"),
                "dataflow": ("OS",),
                "edge": ("whole",),
                "stall": ("drain",),
            },
            "a whole chunk, of at least R entries, takes longer than the results of a tile leave",
        ),
    ),
)
"""MATMUL. FF walks taps forward, BP backward (`step` < 0), WU takes the left operand by columns. Blocks
come from a segment table. edge: a last tile with fewer rows or columns, a group cut by the end of K."""

PACKINGS = Cross(
    "packing",
    {
        "pattern": ("1:2", "2:4", "2:8", "1:8", "2:16", "n = m"),
        "copy": ("FF", "BP"),
        "edge": ("whole", "lanes", "group"),
        "number": ("normal", "subnormal", "zero", "infinity", "NaN", "tie"),
    },
    (Never({"pattern": ("n = m",), "number": ("tie",)}, "nothing is left out"),),
)
"""PRUNE; the BP copy goes through the transposer. tie: equal magnitudes where the selection ends."""

VECTORS = Cross(
    "vector",
    {
        "operation": ("UPDATE", *(operation.name for operation in VectorOp)),
        "result": ("FP32", "FP16"),
        "number": ("normal", "subnormal", "zero", "infinity", "NaN", "overflow"),
    },
    (
        Never({"operation": ("UPDATE",), "result": ("FP32",)}, "UPDATE writes both"),
        Never({"operation": ("COPY", "RELU", "MASK"), "result": ("FP32",), "number": ("overflow",)},
              "nothing is computed and nothing rounded"),
    ),
)  # fmt: skip
"""WUVE. number: in the result; overflow: infinity or NaN from finite operands, a cast's included."""

STALLS = Cross(
    "stall",
    {
        "unit": tuple(unit.name for unit in Unit),
        "reason": tuple(counter.name for counter in Counter),
    },
    (
        Never({"unit": ("SORE", "WUVE"), "reason": ("DATA", "BANDWIDTH", "ADDER", "DRAIN")},
              "all of their cycles count as busy"),
        Never({"unit": ("STCE",), "reason": ("BANDWIDTH",)}, "it reads scratchpads"),
        Never({"unit": ("DMA",), "reason": ("ADDER", "DRAIN")}, "it has no array"),
    ),
)  # fmt: skip
"""Counters of whole programs, compared with the engine's."""

PROGRAMS = Cross("program", {"event": EVENTS})
"""Corner cases of whole programs, of tests.programs.coverage."""

CROSSES = (PRODUCTS, PACKINGS, VECTORS, STALLS, PROGRAMS)


def table(met: Iterable[Bin]) -> list[tuple[str, int, int, int]]:
    """Of each cross: bins met, bins to meet, bins ruled out."""
    found = set(met)
    rows = []
    for cross in CROSSES:
        bins = set(cross.bins())
        rows.append((cross.name, len(bins & found), len(bins), cross.ruled_out()))
    return rows


def missing(met: Iterable[Bin]) -> list[str]:
    """Bins that no case met, and met ones that the plan rules out."""
    found = set(met)
    lost = [each for cross in CROSSES for each in cross.bins() if each not in found]
    wrong = [each for cross in CROSSES for each in sorted(found) if each[0] == cross.name]
    wrong = [each for each in wrong if _cross(each).reason(each)]
    return [f"never met: {' x '.join(each)}" for each in lost] + [
        f"met, though ruled out: {' x '.join(each)}" for each in wrong
    ]


def _cross(each: Bin) -> Cross:
    return next(cross for cross in CROSSES if cross.name == each[0])
