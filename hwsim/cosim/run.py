"""Runs a model: a cocotb bench in a process of its own, or the model's own C++ main."""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from cosparse.spec.errors import InputError, RunError

from . import bench
from .build import COVERAGE, Build, build
from .design import Design
from .sources import BENCHES
from .toolchain import find_module

VCD = "COSPARSE_RTL_VCD"


@dataclass(frozen=True)
class Outcome:
    """passed: names of the cocotb tests; output: what the simulator printed."""

    passed: tuple[str, ...]
    output: str


def simulate(design: Design, module: str, *, vcd: Path | None = None, **options: Any) -> Outcome:
    """Build a design and run the bench `module` on it; see `run`.

    The waves go to `vcd`, or to the file that the environment variable COSPARSE_RTL_VCD names; raises
    InputError where its folder is missing.
    """
    named = os.environ.get(VCD)
    waves = vcd or (Path(named) if named else None)
    if waves and not waves.resolve().parent.is_dir():
        raise InputError(f"waves: expected a file in a folder that exists, got '{waves}'")
    if waves:
        return run(build(replace(design, trace=True)), module, vcd=waves, **options)
    return run(build(design), module, **options)


def run(
    model: Build,
    module: str,
    *,
    folders: Sequence[Path] = (BENCHES,),
    arguments: Mapping[str, Any] | None = None,
    tests: str | None = None,
    seed: int = 1,
    random_start: bool = False,
    vcd: Path | None = None,
    timeout_seconds: float = 600,
    started: Callable[[subprocess.Popen[str]], None] | None = None,
) -> Outcome:
    """Run the cocotb bench `module`, found in `folders`.

    arguments: anything that JSON holds; the bench reads it with `arguments()`.
    tests: regular expression of the cocotb tests to run, by default all.
    seed: of Python's `random` inside the bench; a failure names it.
    random_start: every register starts at anything, by the seed, instead of zero; not where coverage
        is counted, since the reset would toggle them all.
    vcd: file for the waves; the design must have been built with trace.
    started: is given the simulator's process, to end it from another thread.

    Raises RunError with the simulator's output when a test fails, none runs, or the process fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.xml"
        environment = _environment(model, module, folders, results, seed)
        environment[bench.ARGUMENTS] = json.dumps(arguments or {})
        if tests:
            environment["COCOTB_TEST_FILTER"] = tests
        waves = ["--trace", "--trace-file", str(vcd.resolve())] if vcd else []
        random = random_start and not model.design.coverage
        start = ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"] if random else []
        command = [str(model.program), *start, *waves, *_coverage_file(model)]
        code, output = _call(command, environment, Path(scratch), timeout_seconds, started)
        passed, failed = _read(results)
    if failed or not passed or code:
        ended = f"ended with exit code {code}" if code else "ran no test"
        what = f"failed: {', '.join(failed)}" if failed else ended
        killed = f"\n{_damaged(model.program)}" if code < 0 else ""
        raise RunError(
            f"bench {module} on {model.design.top} {what}; seed {seed}{killed}\n{output}"
        )
    return Outcome(passed, output)


def run_main(model: Build, *arguments: str, timeout_seconds: float = 600) -> str:
    """Run a model that has a C++ main; return what it printed. Raises RunError when it fails."""
    command = [str(model.program), *arguments, *_coverage_file(model)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if done.returncode:
        raise RunError(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}")
    return done.stdout


def _coverage_file(model: Build) -> list[str]:
    """The option that names where a simulation leaves what it counted."""
    folder = os.environ.get(COVERAGE)
    if not folder:
        return []
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    name = f"{model.design.top}-{uuid.uuid4().hex[:12]}.dat"
    return [f"+verilator+coverage+file+{place / name}"]


def _environment(
    model: Build, module: str, folders: Sequence[Path], results: Path, seed: int
) -> dict[str, str]:
    find_module("cocotb", "runs the benches")
    find_module("find_libpython", "finds the interpreter's library for cocotb")
    import cocotb_tools.config as cocotb
    import find_libpython

    paths = [*(str(folder.resolve()) for folder in folders), *(p for p in sys.path if p)]
    return {
        **os.environ,
        "COCOTB_TOPLEVEL": model.design.top,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "TOPLEVEL_LANG": "verilog",
        "GPI_USERS": f"{find_libpython.find_libpython()};{cocotb.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _call(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    timeout: float,
    started: Callable[[subprocess.Popen[str]], None] | None,
) -> tuple[int, str]:
    """Exit code and output. In a session of its own: Ctrl-C is for whoever started the simulator."""
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"cannot run {command[0]}: {error.strerror}"
        raise RunError(f"{problem}\n{_damaged(Path(command[0]))}") from error
    with process:
        try:
            if started is not None:
                started(process)
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return process.returncode, output


def _damaged(program: Path) -> str:
    return f"if the build is damaged, delete {program.parent}: it is made again"


def _read(results: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the tests that passed and of those that did not."""
    if not results.exists():
        return (), ()
    cases = list(ET.parse(results).iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    passed = [c for c in cases if c not in failed and c.find("skipped") is None]
    names = [tuple(str(case.get("name")) for case in part) for part in (passed, failed)]
    return names[0], names[1]
