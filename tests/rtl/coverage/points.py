"""Coverage points as Verilator writes them, merged over instances, parameters and runs.

A point is a place in the source: where instances or parameters make several counters of one place, or
several runs count it, it is covered when any of them is. So the elements of arrays and of generate
loops are one; the bits of a vector are not.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

KINDS = ("line", "branch", "expr", "toggle")

_FORMAT = "# SystemC::Coverage-3"
_ENTRY = re.compile(r"C '(.*)' (\d+)")
_INDEX = re.compile(r"\[\d+\](?=.*\[\d+\](?::|$)|[^\[]*\.)")
"""An index that another one or a name follows: a place in an array or a generate loop."""


class Point(NamedTuple):
    """kind: of KINDS. what: branch taken, terms of an expression, or signal and direction."""

    module: str
    line: int
    column: int
    kind: str
    what: str

    def __str__(self) -> str:
        return f"rtl/{self.module}.sv:{self.line}: {self.kind} {self.what}"


NO_BIT = -1

_SIGNAL = re.compile(r"(?P<name>.*?)(?:\[(?P<bit>\d+)\])?:[01]->[01]")


def name_and_bit(point: Point) -> tuple[str, int]:
    """Of a toggle; NO_BIT for a signal of one bit."""
    match = _SIGNAL.fullmatch(point.what)
    if match is None:
        raise ValueError(f"{point}: expected a signal and a direction")
    return match["name"], NO_BIT if match["bit"] is None else int(match["bit"])


Hits = dict[Point, int]
"""How often each point was met."""


def read(path: Path) -> Hits:
    """Points of rtl/*.sv in a file of Verilator's; benches and stand-ins are left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        if next(lines, "").strip() != _FORMAT:
            raise ValueError(f"{path}: expected a file that begins with {_FORMAT!r}")
        return merge([_entry(line) for line in lines])


def merge(parts: Iterable[Mapping[Point, int]]) -> Hits:
    """Sums."""
    total: Hits = {}
    for part in parts:
        for point, count in part.items():
            total[point] = total.get(point, 0) + count
    return total


def _entry(line: str) -> Hits:
    match = _ENTRY.match(line)
    if match is None:
        return {}
    fields = dict(item.split("\x02", 1) for item in match[1].split("\x01") if "\x02" in item)
    source = Path(fields["f"])
    if source.parent.name != "rtl":
        return {}
    kind, what = fields["t"], fields["o"]
    if kind == "toggle":
        what = element(what)
    point = Point(source.stem, int(fields["l"]), int(fields["n"]), kind, what)
    return {point: int(match[2])}


def element(signal: str) -> str:
    """A signal with `*` for each index that is not the bit's own.

    >>> element("g_half[1].words_q[20][13]:0->1")
    'g_half[*].words_q[*][13]:0->1'
    """
    return _INDEX.sub("[*]", signal)


def write(hits: Mapping[Point, int], path: Path) -> None:
    """A line a point; see `load`."""
    lines = ("\t".join(map(str, (*point, count))) for point, count in sorted(hits.items()))
    path.write_text("\n".join(lines) + "\n")


def load(path: Path) -> Hits:
    """What `write` wrote."""
    return dict(_lines(path))


def _lines(path: Path) -> Iterator[tuple[Point, int]]:
    for text in path.read_text().splitlines():
        module, line, column, kind, what, count = text.split("\t")
        yield Point(module, int(line), int(column), kind, what), int(count)
