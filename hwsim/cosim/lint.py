"""Lints the RTL: `python -m hwsim.cosim.lint`, part of `make lint`.

Every module by itself through `verilator -Wall`, with its default parameters and what it
instantiates, and every file through Verible. What is waived, and why: rtl/lint/verilator.vlt.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .sources import BENCHES, RTL, closure
from .toolchain import EXTRA_HINT, find_script, find_toolchain

WAIVERS = RTL / "lint" / "verilator.vlt"
FOLDERS = (RTL, BENCHES)


def modules(folders: Sequence[Path] = FOLDERS) -> Iterator[str]:
    """Names of all modules; packages are linted with the modules that use them."""
    for folder in folders:
        names = (path.stem for path in sorted(folder.glob("*.sv")))
        yield from (name for name in names if not name.endswith("_pkg"))


def verilator(module: str, folders: Sequence[Path] = FOLDERS) -> str:
    """What `verilator -Wall` says about a module and all below it; empty if nothing."""
    tools = find_toolchain()
    options = ("--lint-only", "-Wall", "--quiet-stats", "--timescale", "1ns/1ps")
    done = subprocess.run(
        [tools.verilator, *options, "--top-module", module, WAIVERS, *closure(module, folders)],
        env=tools.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def verible(folders: Sequence[Path] = FOLDERS) -> str:
    """What Verible says about all files; empty if nothing."""
    program = find_script("verible-verilog-lint", "lints the RTL", EXTRA_HINT)
    files = [path for folder in folders for path in sorted(folder.glob("*.sv"))]
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def main() -> int:
    """Print every complaint; return 1 if there is one."""
    complaints = [verible(), *(verilator(module) for module in modules())]
    print("".join(complaints), end="", file=sys.stderr)
    return int(any(complaints))


if __name__ == "__main__":
    sys.exit(main())
