"""From a design to an executable, through Verilator, the C++ compiler and the cache.

The simulator's own runtime is compiled once into an archive that every later build links.

Where the environment variable COSPARSE_RTL_COVERAGE names a folder, every model counts coverage and every
simulation leaves what it counted there, in a file of its own.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

from cosparse.spec.errors import RunError

from . import cache, toolchain
from .design import Design
from .sources import BENCHES
from .toolchain import Toolchain, find_toolchain

COVERAGE = "COSPARSE_RTL_COVERAGE"
COVERAGE_KINDS = ("line", "toggle", "expr")

_MOST_TOGGLED_BITS = 2048
"""Wider signals are memories: their bits are not counted one by one."""

_OVERRUN = "for (int j = 0; j < width - i * VL_EDATASIZE; ++j) {"
_BOUNDED = "for (int j = 0; j < VL_EDATASIZE && j < width - i * VL_EDATASIZE; ++j) {"
"""Verilator's loop over the bits of one word of a wide signal, and what it should be."""

_MEMORY = BENCHES / "dpi_mem.cpp"
_PROGRAM = "sim"

# Settings that the wheel leaves blank, or that point at the machine which built it.
_MAKE = (
    "AR=ar",
    "CXX=g++",
    "LINK=g++",
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_LDLIBS_THREADS=-pthread",
    "CFG_CXXFLAGS_STD=-std=gnu++17",
)
_FLAGS = (
    *("CPPFLAGS", "CXXFLAGS", "LDFLAGS", "LDLIBS", "OPT", "MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES"),
    *("CPATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
)
_RUNTIME = (
    *("verilated", "verilated_vpi", "verilated_dpi", "verilated_threads"),
    *("verilated_vcd_c", "verilated_cov"),
)


@dataclass(frozen=True)
class Build:
    """A model that is ready to run."""

    design: Design
    program: Path


def build(design: Design) -> Build:
    """Return the model of a design, from the cache where it is there.

    Raises MissingToolError, or RunError with what the tools printed.
    """
    if os.environ.get(COVERAGE) and not design.coverage:
        design = replace(design, coverage=COVERAGE_KINDS)
    tools = find_toolchain()
    name = f"{design.top}-{cache.digest(_ingredients(design, tools))}"
    folder = cache.kept(name, lambda place: _make(design, tools, place))
    return Build(design, folder / _PROGRAM)


def _ingredients(design: Design, tools: Toolchain) -> list[object]:
    options = (design.optimise, design.trace, design.coverage, design.assertions)
    seen = sorted(design.registers.items())
    driver = [] if design.main else [toolchain.cocotb_version(), sys.version, sysconfig.get_paths()]
    parameters = sorted(design.parameters.items())
    recipe = [Path(__file__), *tools.versions, *_flags()]
    return [*recipe, *driver, options, seen, parameters, *design.sources, *_cpp(design)]


def _flags() -> list[str]:
    """Variables of the environment that the generated makefile, the compiler or the linker obey."""
    return [f"{name}={os.environ[name]}" for name in _FLAGS if name in os.environ]


def _cpp(design: Design) -> tuple[Path, ...]:
    return (*design.cpp, design.main) if design.main else (_MEMORY, *design.cpp)


def _make(design: Design, tools: Toolchain, place: Path) -> None:
    """Leave the executable and nothing else in `place`."""
    model = place / "model"
    model.mkdir()
    _verilate(design, tools, model)
    if design.coverage:
        _mend_counters(tools, model)
    runtime = _runtime(tools)
    _call(
        [
            *(tools.make, "-s", "-j2", "-C", model, "-f", "Vtop.mk", *_MAKE),
            *(f"PYTHON3={sys.executable}", f"OPT_FAST={design.optimise}", "OPT_SLOW=-O0"),
            *("VM_GLOBAL_FAST=", f"USER_LDLIBS={runtime}"),
        ],
        tools,
    )
    shutil.move(model / _PROGRAM, place / _PROGRAM)
    shutil.rmtree(model)


def _verilate(design: Design, tools: Toolchain, model: Path) -> None:
    command = [
        *(tools.verilator, "--cc", "--exe", "-Mdir", model, "--prefix", "Vtop", "-o", _PROGRAM),
        *("--top-module", design.top, "--timescale", "1ns/1ps", "-O3", "-Wno-fatal"),
        "-Werror-USERFATAL",  # the checks of parameters stay errors
        *("--quiet-stats", "--assert" if design.assertions else "--no-assert"),
        *(f"-G{name}={value}" for name, value in design.parameters.items()),
        *_coverage_options(design),
        *(["--trace"] if design.trace else []),
        *(_cpp(design) if design.main else [*_cocotb_options(design, model), *_cpp(design)]),
        *design.sources,
    ]
    _call(command, tools)


def _coverage_options(design: Design) -> list[str]:
    if not design.coverage:
        return []
    width = ("--coverage-max-width", str(_MOST_TOGGLED_BITS))
    return [*(f"--coverage-{kind}" for kind in design.coverage), *width]


def _mend_counters(tools: Toolchain, model: Path) -> None:
    """Leave the model a header in whose toggle counters a word ends after 32 bits.

    As shipped, bits of the words above count as toggled when those of the word itself are.
    """
    header = (tools.root / "include" / "verilated_cov.h").read_text()
    (model / "verilated_cov.h").write_text(header.replace(_OVERRUN, _BOUNDED))


def _cocotb_options(design: Design, model: Path) -> list[str | Path]:
    import cocotb_tools.config as cocotb

    visible = model / "visible.vlt"
    seen = [(design.top, design.ports), *design.registers.items()]
    lines = [f'public_flat_rw -module "{m}" -var "{name}"' for m, names in seen for name in names]
    visible.write_text("\n".join(["`verilator_config", *lines, ""]))
    libraries = f"-L{cocotb.libs_dir} -Wl,-rpath,{cocotb.libs_dir} -lcocotbvpi_verilator"
    main = Path(cocotb.share_dir) / "lib" / "verilator" / "verilator.cpp"
    # The bench finds the shared memory by its name in the running program.
    return ["--vpi", visible, "-LDFLAGS", f"-rdynamic {libraries}", main]


def _runtime(tools: Toolchain) -> Path:
    """Verilator's runtime as an archive, of which a model links what it uses."""
    name = f"runtime-{cache.digest([Path(__file__), *tools.versions, *_flags()])}"
    return cache.kept(name, lambda place: _archive(tools, place)) / "runtime.a"


def _archive(tools: Toolchain, place: Path) -> None:
    include = tools.root / "include"
    flags = (
        "-c",
        "-O1",
        "-std=gnu++17",
        "-DVERILATOR=1",
        f"-I{include}",
        f"-I{include / 'vltstd'}",
    )
    _call([tools.compiler, *flags, *(include / f"{name}.cpp" for name in _RUNTIME)], tools, place)
    _call([tools.archiver, "rcs", "runtime.a", *(f"{name}.o" for name in _RUNTIME)], tools, place)


def _call(command: list[str | Path], tools: Toolchain, folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, env=tools.environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = f"{Path(command[0]).name} failed (exit code {done.returncode})"
        raise RunError(f"{what}:\n{done.stdout}{done.stderr}\n{_quoted(command)}")


def _quoted(command: list[str | Path]) -> str:
    return shlex.join(str(part) for part in command)
