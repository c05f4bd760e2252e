"""What is built: a top module, its parameters and the C++ beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import sources


@dataclass(frozen=True)
class Design:
    """One model of a top module.

    top: module name, found in `folders`, like everything that it instantiates.
    parameters: values of the top module's parameters, by name.
    cpp: C++ beside the model; the shared memory of `shared_memory` is always there under cocotb.
    main: C++ file with a `main` of its own, which includes Vtop.h; without it cocotb drives the model.
    optimise: of the compiler; -O1 builds fastest, -O3 pays off from some ten seconds of simulation.
    trace: can write a VCD, and is slower for it.
    coverage: kinds of coverage to count (line, toggle, expr, user).
    registers: by module, those that a bench sees and sets beside the top module's ports.
    assertions: SystemVerilog assertions end the simulation.
    """

    top: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    cpp: tuple[Path, ...] = ()
    main: Path | None = None
    folders: tuple[Path, ...] = field(default_factory=sources.folders)
    optimise: str = "-O1"
    trace: bool = False
    coverage: tuple[str, ...] = ()
    registers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assertions: bool = True

    @property
    def sources(self) -> tuple[Path, ...]:
        """Every SystemVerilog file that the top module needs, packages first."""
        return sources.closure(self.top, self.folders)

    @property
    def ports(self) -> tuple[str, ...]:
        """The top module's ports: all that a bench sees, since visible signals cost speed."""
        path = next(path for path in self.sources if path.stem == self.top)
        return sources.ports(path)
