"""All mutants of a module in one source, of which one is chosen when the simulation starts.

An expression with mutants 17 and 23 becomes

    (cosparse_mutant_pkg::id == 17 ? (b - c) : cosparse_mutant_pkg::id == 23 ? (b + d) : (b + c))

and an assignment that mutant 5 drops `begin if (cosparse_mutant_pkg::id != 5) ... end`. The number comes from
the environment variable COSPARSE_MUTANT, in which 0 or nothing is the module as it was written.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hwsim.cosim import sources

from .mutants import Mutant
from .operators import code, without_comments
from .slots import Slot, slot_of, slots

VARIABLE = "COSPARSE_MUTANT"
PACKAGE = "cosparse_mutant_pkg"

# Verilator evaluates $c as C++: no bench and no driver has to know of mutants.
PACKAGE_TEXT = f"""\
package {PACKAGE};
  int unsigned id = $c("(std::getenv(\\"{VARIABLE}\\") ? std::atoi(std::getenv(\\"{VARIABLE}\\")) : 0)");
endpackage
"""

_INPUT = re.compile(r"^\s*input\b[^,;)]*?(\w+)\s*(?:,|\)|$)", re.MULTILINE)


@dataclass(frozen=True)
class Numbered:
    """A mutant and its number, from 1 on."""

    number: int
    mutant: Mutant


def place(mutant: Mutant) -> Slot | None:
    """Where the mutant can be chosen at run time; None where it changes what is elaborated."""
    found, edit = _slots(mutant.source), mutant.edit
    if mutant.operator == "dropped assignment":
        whole = (edit.start, edit.end + 1)
        return next((slot for slot in found if slot.statement == whole), None)
    return slot_of(found, edit.start, edit.end)


def schema(source: str, mutants: Iterable[Numbered]) -> str:
    """The source without comments, with all these mutants; each of them has a place."""
    bare, changes = without_comments(source), []
    by_slot: dict[Slot, list[Numbered]] = {}
    for one in mutants:
        slot = place(one.mutant)
        if slot is None:
            raise ValueError(f"{one.mutant} cannot be chosen at run time")
        by_slot.setdefault(slot, []).append(one)
    for slot, here in by_slot.items():
        dropped = [one for one in here if one.mutant.operator == "dropped assignment"]
        changed = [one for one in here if one not in dropped]
        if changed:
            changes.append((slot.start, slot.end, _choice(bare, slot, changed)))
        if dropped and slot.statement:
            start, end = slot.statement
            unless = " && ".join(f"{PACKAGE}::id != {one.number}" for one in dropped)
            changes += [(start, start, f"begin if ({unless}) "), (end, end, " end")]
    for start, end, text in sorted(changes, reverse=True):
        bare = bare[:start] + text + bare[end:]
    # What was a comment must not make another model.
    return "".join(f"{line.rstrip()}\n" for line in bare.splitlines() if line.strip())


def _choice(bare: str, slot: Slot, mutants: Sequence[Numbered]) -> str:
    def variant(one: Numbered) -> str:
        edit = one.mutant.edit
        return bare[slot.start : edit.start] + edit.after + bare[edit.end : slot.end]

    choices = (f"{PACKAGE}::id == {one.number} ? ({variant(one)}) : " for one in mutants)
    return f" ({''.join(choices)}({bare[slot.start : slot.end]}))"


def write(folder: Path, mutants: Sequence[Numbered]) -> None:
    """Leave the schema of every module that has mutants, and the package that they read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{PACKAGE}.sv").write_text(PACKAGE_TEXT)
    for module in {one.mutant.module for one in mutants}:
        own = [one for one in mutants if one.mutant.module == module]
        (folder / f"{module}.sv").write_text(schema(own[0].mutant.source, own))


@cache
def _slots(source: str) -> list[Slot]:
    return slots(code(source), _inputs)


@cache
def _inputs(module: str) -> frozenset[str]:
    path = sources.RTL / f"{module}.sv"
    return frozenset(_INPUT.findall(sources.code(path).split(");", 1)[0]) if path.exists() else ())
