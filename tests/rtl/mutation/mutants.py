"""Mutants of a module, in an order that a seed decides."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from random import Random

from .operators import Edit, edits, without_comments


@dataclass(frozen=True)
class Mutant:
    """One edit of the source of one module."""

    module: str
    operator: str
    source: str
    edit: Edit

    @property
    def text(self) -> str:
        return self.edit.apply(self.source)

    @cached_property
    def key(self) -> str:
        """Changes with the code of the module and with the edit, not with comments and layout."""
        code = " ".join(without_comments(self.text).split())
        return hashlib.sha256(f"{self.module}\0{code}".encode()).hexdigest()[:16]

    def __str__(self) -> str:
        line = self.source.count("\n", 0, self.edit.start) + 1
        before = " ".join(self.source[self.edit.start : self.edit.end].split())
        after = " ".join(self.edit.after.split()) or "nothing"
        return f"{self.module}:{line}, {self.operator}: {before} -> {after}"


def mutants(path: Path, seed: int) -> Iterator[Mutant]:
    """Every mutant of a module, the operators in turn."""
    source, rng = path.read_text(), Random(f"{seed} {path.stem}")
    columns = []
    for operator, found in edits(source).items():
        rng.shuffle(found)
        columns.append([Mutant(path.stem, operator, source, edit) for edit in found])
    for row in zip_longest(*columns):
        yield from (mutant for mutant in row if mutant is not None)
