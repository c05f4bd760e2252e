"""Where a simulation leaves the bins of the plan that its cases have met: beside Verilator's counts."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from hwsim.cosim.build import COVERAGE

from .plan import Bin

SUFFIX = ".bins"


def counting() -> bool:
    """Whether coverage is asked for."""
    return bool(os.environ.get(COVERAGE))


def leave(bins: Iterable[Bin]) -> None:
    """Write them into the folder of coverage; to be called when the cases have passed."""
    folder = Path(os.environ[COVERAGE])
    folder.mkdir(parents=True, exist_ok=True)
    write(bins, folder / f"{uuid.uuid4().hex[:12]}{SUFFIX}")


def write(bins: Iterable[Bin], path: Path) -> None:
    path.write_text("".join("\t".join(each) + "\n" for each in sorted(set(bins))))


def read(path: Path) -> set[Bin]:
    return {tuple(line.split("\t")) for line in path.read_text().splitlines()}
