"""Runs the tests of a module on its mutants; remembers every outcome in a file of JSON lines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from hwsim.cosim import cache, sources, toolchain

from .covers import COVERS
from .mutants import Mutant, mutants

TIMEOUT_SECONDS = 300
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Verdict:
    """outcome: killed, survived, or stillborn when it does not elaborate. mutant: in words."""

    key: str
    module: str
    mutant: str
    outcome: str
    seconds: float = 0.0


def campaign(module: str, count: int, seed: int, results: Path) -> list[Verdict]:
    """Verdicts on `count` mutants that elaborate, or on all; new ones are appended to `results`.

    Raises RuntimeError when the tests do not pass on the module itself.
    """
    known = {verdict.key: verdict for verdict in read(results)}
    judged = _judged(module, seed, known, results)
    return list(islice((v for v in judged if v.outcome != "stillborn"), count))


def read(results: Path) -> list[Verdict]:
    if not results.exists():
        return []
    return [Verdict(**json.loads(line)) for line in results.read_text().splitlines()]


def _judged(module: str, seed: int, known: dict[str, Verdict], results: Path) -> Iterator[Verdict]:
    passes_itself, models = False, results.parent / "cache"
    for mutant in mutants(sources.RTL / f"{module}.sv", seed):
        if mutant.key not in known:
            if not passes_itself and _test(module, sources.RTL, models) == "killed":
                raise RuntimeError(f"{module}: its tests fail without a mutation")
            passes_itself = True
            verdict = _judge(mutant, models)
            known[mutant.key] = verdict
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(asdict(verdict)) + "\n")
        yield known[mutant.key]


def _judge(mutant: Mutant, models: Path) -> Verdict:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as overlay:
        Path(overlay, f"{mutant.module}.sv").write_text(mutant.text)
        outcome = "stillborn"
        if _elaborates(mutant, overlay):
            outcome = _test(mutant.module, Path(overlay), models)
    seconds = round(time.monotonic() - start, 1)
    return Verdict(mutant.key, mutant.module, str(mutant), outcome, seconds)


def _elaborates(mutant: Mutant, overlay: str) -> bool:
    tools = toolchain.find_toolchain()
    files = sources.closure(mutant.module, (Path(overlay), *sources.folders()))
    options = ("--lint-only", "-Wno-lint", "-Wno-fatal", "--timescale", "1ns/1ps")
    command = [str(tools.verilator), *options, "--top-module", mutant.module, *map(str, files)]
    done = subprocess.run(command, env=tools.environment, capture_output=True, check=False)
    return done.returncode == 0


def _test(module: str, overlay: Path, models: Path) -> str:
    """Models of mutants go to a folder of their own, and leave it again."""
    environment = {**os.environ, sources.OVERLAY: str(overlay), cache.VARIABLE: str(models)}
    options = ("-x", "-q", "-m", "not nightly", "-p", "no:cacheprovider")
    code = _run([sys.executable, "-m", "pytest", *options, *COVERS[module]], environment)
    for model in models.glob("tb_*"):
        shutil.rmtree(model) if model.is_dir() else model.unlink()
    if code not in (0, 1, None):
        raise RuntimeError(f"{module}: expected pytest to pass or fail, got exit code {code}")
    return "survived" if code == 0 else "killed"


def _run(command: list[str], environment: dict[str, str]) -> int | None:
    """Exit code; None after TIMEOUT_SECONDS, when the command and its children are ended."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
