"""Runs the tests of every module on its mutants, stage by stage; what survives a stage meets the next one.

All mutants that are chosen at run time share one set of models, built once. One that changes what is
elaborated has models of its own, which are deleted after it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hwsim.cosim import cache, sources

from . import equivalence, plan, schema
from .covers import COVERS, EQUIVALENCE, ROOT, STAGES, Stage
from .ledger import Ledger, Verdict
from .mutants import Mutant
from .summary import explanations

BUILD_SECONDS = 900
_POLL_SECONDS = 0.5
_PATIENCE = 20
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_INFRASTRUCTURE = re.compile(
    r"No space left on device|Cannot allocate memory|MemoryError|Out of memory|Too many open files"
    r"|internal compiler error|fatal error: Killed|Killed signal terminated|died with <Signals.SIGKILL"
)
"""Of the machine on which the tests run: no verdict on a mutant."""
_ERROR_LINE = re.compile(r"%(?:Error|Warning)[^:\n]*: \S*?/(\w+)\.sv:(\d+):\d+:")
"""Of Verilator, with a column. A model that ends at its own $fatal names the line only."""


@dataclass(frozen=True)
class Run:
    """How a run of pytest ended. code: exit code, None after the time limit. seconds: processor time."""

    code: int | None
    output: str
    seconds: float


@dataclass(frozen=True)
class Campaign:
    """modules: by name. seed: of the draw. folder: of the ledger, the schema and the models.

    count: mutants of each module that are chosen at run time, by default `plan.quota`.
    elaborated: mutants of each module that change what is elaborated. stages: in this order.
    hours: no further mutant meets a test after that time; the same campaign goes on.
    """

    modules: Sequence[str]
    seed: int
    folder: Path
    count: int | None = None
    elaborated: int = 1
    stages: Sequence[Stage] = tuple(STAGES.values())
    hours: float = 2.0

    @property
    def ledger(self) -> Path:
        return self.folder / "verdicts.jsonl"

    def draw(self, ledger: Ledger) -> list[Mutant]:
        dead = ledger.stillborn()
        return [
            mutant
            for module in self.modules
            for mutant in plan.draw(
                module,
                self.seed,
                plan.quota(module) if self.count is None else self.count,
                self.elaborated,
                dead,
            )
        ]

    def run(self, say: Callable[[str], None] = print) -> tuple[list[Mutant], Ledger]:
        """Judge every mutant; returns them, and what is known. Raises RuntimeError when a test fails
        without a mutation, OutOfTimeError where `hours` are over before the end.
        """
        ledger, end = Ledger(self.ledger), time.monotonic() + 3600 * self.hours
        while True:
            drawn = self.draw(ledger)
            try:
                for stage in self.stages:
                    _Stage(stage, self.folder, drawn, ledger, say, end).run()
            except _UnbuildableError as error:
                for mutant in error.mutants:
                    say(f"does not elaborate: {mutant}")
                    ledger.add(_verdict(mutant, error.stage, "stillborn", "", 0.0))
            else:
                return drawn, ledger


class OutOfTimeError(Exception):
    """The time of a campaign is over, mutants are left; the ledger has what was judged."""


class _UnbuildableError(Exception):
    """Mutants that some configuration does not elaborate."""

    def __init__(self, stage: Stage, mutants: Sequence[Mutant]) -> None:
        super().__init__(f"{stage.name}: {[str(mutant) for mutant in mutants]}")
        self.stage, self.mutants = stage, mutants


@dataclass(frozen=True)
class _Stage:
    """One stage of a campaign. end: by time.monotonic."""

    stage: Stage
    folder: Path
    drawn: Sequence[Mutant]
    ledger: Ledger
    say: Callable[[str], None]
    end: float

    def run(self) -> None:
        pending = [mutant for mutant in self.drawn if self._is_pending(mutant)]
        if not pending:
            return
        if self.stage is EQUIVALENCE:
            for mutant in self._in_time(pending):
                self._note(mutant, *equivalence.prove(mutant))
            return
        overlay = self.folder / "schema"
        numbers = self._write(overlay)
        own_seconds = self._without_mutation(overlay)
        limit = 4 * own_seconds + 20
        for mutant in self._in_time(pending):
            if mutant.key in numbers and not self.stage.plain:
                done = self._pytest(overlay, self.folder / "models", numbers[mutant.key], limit)
            else:
                done = self._by_itself(mutant, limit + BUILD_SECONDS)
            self._note(mutant, *_outcome(self.stage, mutant, done))

    def _in_time(self, pending: Sequence[Mutant]) -> Iterator[Mutant]:
        for number, mutant in enumerate(pending):
            if time.monotonic() > self.end:
                raise OutOfTimeError(f"{self.stage.name}: {len(pending) - number} mutants are left")
            yield mutant

    def _is_pending(self, mutant: Mutant) -> bool:
        concerned = self.stage is EQUIVALENCE or self.stage.name in COVERS[mutant.module]
        known = self.ledger.passed(mutant.key, self.stage.name, self.stage.digest())
        if self.stage is EQUIVALENCE and mutant.key in explanations():
            return False
        return concerned and not known and self.ledger.final(mutant.key) is None

    def _note(self, mutant: Mutant, outcome: str, by: str, seconds: float) -> None:
        self.ledger.add(_verdict(mutant, self.stage, outcome, by, seconds))
        self.say(f"{self.stage.name}: {outcome} ({seconds:.1f} s): {mutant}")

    def _write(self, overlay: Path) -> dict[str, int]:
        """Leave the schema of all mutants; returns their numbers by key."""
        chosen = plan.numbered(self.drawn)
        shutil.rmtree(overlay, ignore_errors=True)
        schema.write(overlay, chosen)
        return {one.mutant.key: one.number for one in chosen}

    def _without_mutation(self, overlay: Path) -> float:
        """Processor seconds that the tests take on models that are there. Raises where they do not pass."""
        if self.stage.plain:
            return self._checked(None).seconds
        self._checked(overlay)
        return self._checked(overlay).seconds

    def _checked(self, overlay: Path | None) -> Run:
        done = self._pytest(overlay, self.folder / "models", 0, 2 * BUILD_SECONDS)
        if done.code == 0:
            return done
        if overlay and (guilty := self._guilty(overlay, done.output)):
            raise _UnbuildableError(self.stage, guilty)
        raise RuntimeError(f"{self.stage.name} fails without a mutation\n{done.output}")

    def _guilty(self, overlay: Path, output: str) -> list[Mutant]:
        """Mutants in the lines of a schema about which Verilator complains."""
        numbers = set()
        for module, line in _ERROR_LINE.findall(output):
            path = overlay / f"{module}.sv"
            lines = path.read_text().splitlines() if path.exists() else []
            for text in lines[int(line) - 1 : int(line)]:
                numbers |= {
                    int(number) for number in re.findall(rf"{schema.PACKAGE}::id .= (\d+)", text)
                }
        return [one.mutant for one in plan.numbered(self.drawn) if one.number in numbers]

    def _by_itself(self, mutant: Mutant, limit: float) -> Run:
        """A mutant as the only one, in models that nobody needs again."""
        models = self.folder / "own-models"
        with tempfile.TemporaryDirectory() as overlay:
            Path(overlay, f"{mutant.module}.sv").write_text(mutant.text)
            done = self._pytest(Path(overlay), models, 0, limit)
        shutil.rmtree(models, ignore_errors=True)
        return done

    def _pytest(self, overlay: Path | None, models: Path, number: int, limit: float) -> Run:
        _share_runtime(models)
        environment = {**os.environ, cache.VARIABLE: str(models), schema.VARIABLE: str(number)}
        if overlay:
            environment[sources.OVERLAY] = str(overlay)
        options = ("-x", "-q", "-rfE", "--tb=short", "-m", "not nightly", "-p", "no:cacheprovider")
        return run(
            [sys.executable, "-m", "pytest", *options, *self.stage.tests], environment, limit
        )


def _share_runtime(models: Path) -> None:
    """The simulator's runtime need not be compiled again where the usual cache has it."""
    models.mkdir(parents=True, exist_ok=True)
    for runtime in cache.folder().glob("runtime-*"):
        if runtime.is_dir() and not (models / runtime.name).exists():
            (models / runtime.name).symlink_to(runtime)


def _verdict(mutant: Mutant, stage: Stage, outcome: str, by: str, seconds: float) -> Verdict:
    return Verdict(
        mutant.key,
        mutant.module,
        mutant.operator,
        str(mutant),
        stage.name,
        stage.digest(),
        outcome,
        by,
        round(seconds, 1),
    )


def _outcome(stage: Stage, mutant: Mutant, done: Run) -> tuple[str, str, float]:
    """Outcome, the test that decided it, and seconds. Raises RuntimeError where no test failed by itself."""
    failed = _FAILED.search(done.output)
    if done.code is None:
        return "hung", "", done.seconds
    if done.code == 0:
        return "passed", "", done.seconds
    if done.code != 1 or not failed or _INFRASTRUCTURE.search(done.output):
        raise RuntimeError(
            f"{stage.name} on {mutant}: pytest ended with {done.code}\n{done.output}"
        )
    if mutant.module in (module for module, _ in _ERROR_LINE.findall(done.output)):
        return "stillborn", failed[1], done.seconds
    return "killed", failed[1], done.seconds


def run(command: list[str], environment: dict[str, str], limit_seconds: float) -> Run:
    """Run a command; at the limit, of processor time, it is ended with all that it has started.

    One that waits for ever uses none: it is ended at _PATIENCE times the limit of the clock on the wall.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        seconds, late = 0.0, False
        while process.poll() is None and not late:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
            seconds = max(seconds, _processor_seconds(process.pid))
            late = seconds > limit_seconds or time.monotonic() - start > _PATIENCE * limit_seconds
        code = process.poll()
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return Run(code, output.read(), seconds)


def _processor_seconds(group: int) -> float:
    """Of the processes of a group, and of those that they have waited for."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
