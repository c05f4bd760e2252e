"""Which mutants a campaign judges: some of every module, drawn by a seed."""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from hwsim.cosim import sources, toolchain

from . import schema
from .mutants import Mutant, mutants
from .operators import without_comments

LEAST, MOST, LINES_EACH = 8, 20, 18


def quota(module: str) -> int:
    """One mutant in 18 lines of code, 8 at least and 20 at most."""
    text = without_comments((sources.RTL / f"{module}.sv").read_text())
    lines = sum(bool(line.strip()) for line in text.splitlines())
    return min(MOST, max(LEAST, lines // LINES_EACH))


def draw(
    module: str, seed: int, count: int, elaborated: int, dead: Iterable[str] = ()
) -> list[Mutant]:
    """The first `count` of a module that are chosen at run time, and `elaborated` that can not be.

    dead: keys of mutants that are known not to elaborate, whatever the linter says.
    """
    path = sources.RTL / f"{module}.sv"
    at_run_time = _distinct(path, seed, set(dead), at_run_time=True)
    fixed = _distinct(path, seed, set(dead), at_run_time=False)
    return [*_living(at_run_time, count), *_living(fixed, elaborated)]


def _distinct(path: Path, seed: int, seen: set[str], *, at_run_time: bool) -> Iterator[Mutant]:
    for mutant in mutants(path, seed):
        if (schema.place(mutant) is not None) is at_run_time and mutant.key not in seen:
            seen.add(mutant.key)
            yield mutant


def _living(found: Iterator[Mutant], count: int) -> list[Mutant]:
    living: list[Mutant] = []
    while some := list(islice(found, count - len(living))):
        together = len(some) > 1 and elaborates(some)
        living += some if together else [mutant for mutant in some if elaborates([mutant])]
    return living


def elaborates(mutants: Sequence[Mutant]) -> bool:
    """Whether Verilator takes the module with its default parameters: with all of the mutants as choices, or
    with one that changes what is elaborated.
    """
    module = mutants[0].module
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if schema.place(mutants[0]) is not None:
            schema.write(folder, numbered(mutants))
        else:
            (folder / f"{module}.sv").write_text(mutants[0].text)
        return _lints(module, folder)


def _lints(module: str, overlay: Path) -> bool:
    tools = toolchain.find_toolchain()
    files = sources.closure(module, (overlay, *sources.folders()))
    options = ("--lint-only", "-Wno-lint", "-Wno-fatal", "--timescale", "1ns/1ps")
    command = [str(tools.verilator), *options, "--top-module", module, *map(str, files)]
    done = subprocess.run(command, env=tools.environment, capture_output=True, check=False)
    return done.returncode == 0


def numbered(drawn: Sequence[Mutant]) -> list[schema.Numbered]:
    """Those that are chosen at run time, with their numbers."""
    chosen = [mutant for mutant in drawn if schema.place(mutant) is not None]
    return [schema.Numbered(number, mutant) for number, mutant in enumerate(chosen, 1)]
