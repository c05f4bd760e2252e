"""Plain data with the place where each key stands, and what is wrong with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cosparse.spec.errors import ScenarioError

MAX_DEPTH = 32
"""Mappings and lists inside each other."""
MAX_VALUES = 20_000
"""Values after every alias is written out; it stops files that grow exponentially by aliases."""
MAX_INTEGER = 2**63 - 1
MAX_MESSAGE = 1000
"""Characters of one problem."""
TOO_DEEP = f"expected at most {MAX_DEPTH} levels of nesting, got more"
TOO_LARGE = f"expected at most {MAX_VALUES} values with aliases written out, got more"

KeyPath = tuple[str | int, ...]

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, order=True)
class Position:
    """Line and column of a character, both from 1."""

    line: int
    column: int


START = Position(1, 1)


@dataclass(frozen=True)
class Problem:
    """What is wrong with the value at `path`; `position` where that is not the key's own."""

    path: KeyPath
    message: str
    position: Position | None = None


@dataclass(frozen=True)
class Document:
    """Plain data read from `text`, and the position of each key and list item.

    A mapping given from Python has no text and no positions.
    """

    file: str
    data: dict[str, Any]
    positions: Mapping[KeyPath, Position]
    problems: tuple[Problem, ...] = ()
    text: str = ""

    def locate(self, path: KeyPath) -> Position | None:
        """Position of `path`, or of the nearest thing around it that the file does write."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.positions:
                return self.positions[path[:length]]
        return START if self.text else None

    def describe(self, problem: Problem) -> str:
        """Return `file:line:column: key.path: message`."""
        place = problem.position or self.locate(problem.path)
        where = f"{self.file}:{place.line}:{place.column}" if place else self.file
        key = f"{dotted(problem.path)}: " if problem.path else ""
        return f"{where}: {_one_line(key + problem.message)}"

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Raise ScenarioError with all problems, by position, when there is one."""
        ordered = sorted(problems, key=lambda p: p.position or self.locate(p.path) or START)
        if ordered:
            raise ScenarioError(dict.fromkeys(self.describe(problem) for problem in ordered))


def dotted(path: KeyPath) -> str:
    """`("train", "seeds", 1)` as `train.seeds[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _one_line(text: str) -> str:
    """Control characters escaped, and cut where a user's value makes it longer than any of ours."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:MAX_MESSAGE]}..."


def document_from(mapping: Mapping[str, Any], file: str = "<scenario>") -> Document:
    """A document of a mapping given from Python: copied, and checked to be plain data."""
    copier = _Copier()
    data = copier.mapping(mapping, ())
    return Document(file, data, {}, tuple(copier.problems))


class _Copier:
    """Copies plain data, within the limits of a file; collects problems on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.values = 0

    def mapping(self, value: Mapping[Any, Any], path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(key, str) and _is_plain(key):
                data[key] = self.copy(item, (*path, key))
            else:
                self._refuse(path, f"expected a key of text, got {_type_name(key)}")
        return data

    def copy(self, value: Any, path: KeyPath) -> Any:
        self.values += 1
        if len(path) > MAX_DEPTH or self.values > MAX_VALUES:
            self._refuse(path[:1], TOO_DEEP if len(path) > MAX_DEPTH else TOO_LARGE)
            return None
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, list | tuple):
            return [self.copy(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, Path | StrEnum):
            return str(value)
        if not _is_plain(value):
            self._refuse(path, f"expected plain data, got {_type_name(value)}")
            return None
        return value

    def _refuse(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(path, message))


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return type(value) is str and not _SURROGATES.search(value)
    if type(value) is int:
        return abs(value) <= MAX_INTEGER
    return value is None or type(value) in (bool, float)


def _type_name(value: object) -> str:
    special = {int: "an integer beyond 64 bits", str: "text that is not Unicode"}
    return special.get(type(value), type(value).__name__)
