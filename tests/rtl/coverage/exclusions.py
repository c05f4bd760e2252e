"""What cannot toggle, one line each in exclusions.txt: module, signal, reason.

    dma  widened[12:0 of 32]  an FP16 value widened to FP32 ends in 13 zeros

`[high:low]` names bits, `[high:low of N]` those of every N bits, no brackets all bits of the signal;
`*` stands for any text in a name; 0->1 or 1->0 behind it names one direction, of a constant or of what
goes one way only. Lines and branches cannot be excluded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .points import Hits, Point, name_and_bit

FILE = Path(__file__).with_name("exclusions.txt")
MOST = 0.02
"""Of all toggle points."""

_LINE = re.compile(
    r"(?P<module>\w+)\s+(?P<name>[\w.*\[\]]*?[\w*\]])"
    r"(?:\[(?P<high>\d+)(?::(?P<low>\d+))?(?: of (?P<every>\d+))?\])?"
    r"(?: (?P<way>0->1|1->0))?\s{2,}(?P<reason>\S.*)"
)


@dataclass(frozen=True)
class Exclusion:
    """high, low: bits; every: period of them; way: direction, None for both. line: in the file."""

    module: str
    name: str
    high: int | None
    low: int | None
    every: int | None
    way: str | None
    reason: str
    line: int

    def matches(self, point: Point) -> bool:
        if point.kind != "toggle" or point.module != self.module:
            return False
        if self.way and not point.what.endswith(f":{self.way}"):
            return False
        name, bit = name_and_bit(point)
        return fnmatchcase(name, _literal(self.name)) and self._bit(bit)

    def _bit(self, bit: int) -> bool:
        if self.high is None or self.low is None:
            return True
        return self.low <= (bit % self.every if self.every else bit) <= self.high

    def __str__(self) -> str:
        return f"{FILE.name}:{self.line}: {self.module} {self.name}"


def _literal(name: str) -> str:
    """Brackets are indices here, not sets of characters."""
    return name.replace("[", "[[]")


def parse(text: str) -> list[Exclusion]:
    """Raises ValueError for a line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"{FILE.name}:{number}: expected `module  signal[bits]  reason`: {line}"
            )
        high, low, every = (
            None if match[key] is None else int(match[key]) for key in ("high", "low", "every")
        )
        low = high if low is None else low
        beside = match["way"], match["reason"], number
        found.append(Exclusion(match["module"], match["name"], high, low, every, *beside))
    return found


def apply(exclusions: Iterable[Exclusion], hits: Hits) -> tuple[set[Point], list[str]]:
    """Points that are left out, and what is wrong with the exclusions."""
    excluded: set[Point] = set()
    problems = []
    toggles = [point for point in hits if point.kind == "toggle"]
    modules = {
        module: [p for p in toggles if p.module == module] for module in {p.module for p in toggles}
    }
    for one in exclusions:
        matched = {point for point in modules.get(one.module, ()) if one.matches(point)}
        covered = sorted(point for point in matched if hits[point])
        if not matched:
            problems.append(f"{one} matches nothing")
        if covered:
            problems.append(f"{one} excludes {len(covered)} points that are covered: {covered[0]}")
        excluded |= matched
    if len(excluded) > MOST * len(toggles):
        problems.append(
            f"{len(excluded)} of {len(toggles)} toggles are excluded, more than {MOST:.0%}"
        )
    return excluded, problems
