"""Runs with coverage on, and keeps what each of them counted, so that a campaign can be cut short."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hwsim.cosim.build import COVERAGE

from . import met, points
from .plan import Bin
from .runs import ROOT, RUNS, Run

_HWSIM = (
    *("accesses", "banks", "bursts", "config", "config_vector", "constants", "decoded", "disassembler"),
    *("durations", "host", "isa", "jit", "limits", "program", "rules", "timing"),
    *(f"cosim/{name}" for name in ("accelerator", "bench", "build", "design", "law", "run")),
    *("engine/*", "machine/*", "legality/*"),
)  # fmt: skip
"""What decides the programs of a run and what they are held to."""
_SHARED = (
    *("rtl/*.sv", "rtl/tb/*.sv", "rtl/tb/stubs/*.sv", "rtl/tb/*.cpp"),
    *(f"hwsim/{name}.py" for name in _HWSIM),
    "tests/programs/*.py",
)
_OWN = ("tests/rtl", "tests/rtl/coverage", "rtl/tb")


def shared_files() -> set[Path]:
    """What every run is made of."""
    return {path for glob in _SHARED for path in ROOT.glob(glob)}


class Campaign:
    """A folder with one file a run; files of other sources are not looked at, unless any_sources."""

    def __init__(self, folder: Path, *, any_sources: bool = False) -> None:
        self._folder, self._any = folder, any_sources
        self._shared = _digest(shared_files())

    @property
    def source(self) -> str:
        """Digest of what all runs are made of."""
        return hashlib.sha256(" ".join(map(self._source, RUNS)).encode()).hexdigest()[:16]

    def ensure(self, run: Run) -> None:
        """Simulate, unless that was done. Raises what the run raises."""
        if self._found(run):
            return
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            with _counting(Path(scratch)):
                run.go()
            hits = points.merge(points.read(path) for path in Path(scratch).glob("*.dat"))
            bins = set().union(*(met.read(path) for path in Path(scratch).glob(f"*{met.SUFFIX}")))
        if not hits:
            raise RuntimeError(f"{run.name}: no simulation wrote its coverage")
        self._folder.mkdir(parents=True, exist_ok=True)
        met.write(bins, self._place(run).with_suffix(met.SUFFIX))
        points.write(hits, self._place(run))
        print(f"{run.name}: {time.monotonic() - begin:.0f} s", flush=True)

    def done(self) -> list[Run]:
        return [run for run in RUNS if self._found(run)]

    def hits(self) -> points.Hits:
        """Of all runs that were done."""
        return points.merge(points.load(path) for run in RUNS if (path := self._found(run)))

    def bins(self) -> set[Bin]:
        """Of the plan, met by the runs that were done."""
        files = (path.with_suffix(met.SUFFIX) for run in RUNS if (path := self._found(run)))
        return set().union(*(met.read(path) for path in files if path.exists()))

    def _place(self, run: Run) -> Path:
        return self._folder / f"{run.name.replace(' ', '-')}.{self._source(run)}.tsv"

    def _source(self, run: Run) -> str:
        """Digest of RTL, with its line numbers, simulator, and the run's own tests and benches."""
        own = (ROOT / folder / f"{name}.py" for folder in _OWN for name in run.files)
        return hashlib.sha256(
            f"{self._shared} {_digest(filter(Path.exists, own))}".encode()
        ).hexdigest()[:16]

    def _found(self, run: Run) -> Path | None:
        own = self._place(run)
        if own.exists() or not self._any:
            return own if own.exists() else None
        others = self._folder.glob(f"{run.name.replace(' ', '-')}.*.tsv")
        return max(others, key=lambda path: path.stat().st_mtime, default=None)


@contextmanager
def _counting(folder: Path) -> Iterator[None]:
    before = os.environ.get(COVERAGE)
    os.environ[COVERAGE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[COVERAGE]
        else:
            os.environ[COVERAGE] = before


def _digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return total.hexdigest()
