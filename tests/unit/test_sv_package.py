import re
import subprocess
from pathlib import Path

import pytest

from cosparse.spec.errors import MissingToolError
from hwsim.constants import CONSTANTS
from hwsim.cosim.lint import WAIVERS
from hwsim.cosim.toolchain import find_toolchain
from hwsim.isa import COMMON, FIELDS, INSTRUCTION_BITS, REGISTERS, Op
from hwsim.sv_package import main, sv_package

COMMITTED = Path(__file__).parents[2] / "rtl" / "cosparse_pkg.sv"
TEXT = sv_package()


def struct(name):
    """(member, bits) of a packed struct, lowest bits first."""
    body = re.search(rf"typedef struct packed {{\n([^}}]*)  }} {name};", TEXT)[1]
    members = re.findall(r"logic(?: signed)?(?: \[(\d+):0\])? (\w+);", body)
    return [(member, int(high or 0) + 1) for high, member in reversed(members)]


def test_the_committed_package_is_fresh():
    assert COMMITTED.read_text(encoding="utf-8") == TEXT, (
        "run `python -m hwsim.sv_package rtl/cosparse_pkg.sv`"
    )


def test_command_writes_the_package(tmp_path):
    main([str(tmp_path / "pkg.sv")])
    assert (tmp_path / "pkg.sv").read_bytes() == TEXT.encode()


@pytest.mark.parametrize("op", Op)
def test_an_instruction_has_its_fields_in_order(op):
    members = struct(f"{op.name.lower()}_instr_t")
    fields = [item.bits for item in (*COMMON, *FIELDS[op])]
    assert [bits for _, bits in members][: len(fields)] == fields
    assert sum(bits for _, bits in members) == INSTRUCTION_BITS


@pytest.mark.parametrize("unit", REGISTERS)
def test_a_bank_has_the_widths_of_its_registers(unit):
    widths = [bits for _, bits in struct(f"{unit.name.lower()}_bank_t")]
    assert widths == [item.bits for item in REGISTERS[unit]]


def test_every_constant_is_there():
    values = [int(value) for value in re.findall(r"parameter int unsigned \w+ = (\d+);", TEXT)]
    assert values[: len(CONSTANTS)] == [item.value for item in CONSTANTS.values()]


def test_no_name_is_defined_twice():
    names = re.findall(r"(?:parameter int unsigned|^   ) (\w+) *=", TEXT, re.MULTILINE)
    names += re.findall(r"} (\w+);", TEXT)
    assert len(set(names)) == len(names)


def test_pyslang_compiles_the_package():
    pyslang = pytest.importorskip("pyslang", reason="pyslang is not installed")
    tree = getattr(pyslang, "syntax", pyslang).SyntaxTree.fromText(TEXT)
    compilation = getattr(pyslang, "ast", pyslang).Compilation()
    compilation.addSyntaxTree(tree)
    assert not compilation.getAllDiagnostics()


def test_verilator_lints_the_package():
    try:
        tools = find_toolchain()
    except MissingToolError as missing:
        pytest.skip(str(missing))
    command = [tools.verilator, "--lint-only", "-Wall", WAIVERS, COMMITTED]
    done = subprocess.run(
        command, env=tools.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
