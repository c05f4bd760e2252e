"""Every module and bench is clean for `verilator -Wall` and Verible; new files are found by themselves."""

import re

import pytest

from hwsim.cosim import lint
from hwsim.cosim.sources import BENCHES, RTL

MODULES = [path for path in sorted(RTL.glob("*.sv")) if not path.stem.endswith("_pkg")]
FILES = [*sorted(RTL.glob("*.sv")), *sorted(BENCHES.rglob("*.sv"))]


@pytest.mark.parametrize("module", list(lint.modules()))
def test_verilator_has_nothing_to_say(module):
    assert lint.verilator(module) == ""


def test_verible_has_nothing_to_say():
    assert lint.verible() == ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_header_says_what_it_does_its_timing_and_what_it_does_not_do(path):
    assert missing_in_header(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_end_names_what_it_ends(path):
    kind, name = re.search(r"^(module|package) (\w+)", path.read_text(), re.MULTILINE).groups()
    assert name == path.stem
    assert path.read_text().endswith(f"\nend{kind} : {name}\n")


def test_a_header_that_lacks_something_is_found():
    whole = "/// A wire.\n///\n/// Timing: none.\n///\n/// Not here: a register.\nmodule wire;\n"
    assert missing_in_header(whole) == []
    assert missing_in_header(whole.replace("///\n/// Timing", "/// Timing")) == ["Timing"]
    assert missing_in_header(whole.replace("Not here: a", "It lacks a")) == ["Not here:"]
    assert missing_in_header(whole.split("\n", 2)[2]) == ["purpose"]
    assert missing_in_header("module wire;\n") == ["purpose", "Timing", "Not here:"]


def missing_in_header(text):
    """What the comment above a module lacks; each part begins a paragraph."""
    header = text.split("\nmodule ")[0] if "\nmodule " in text else ""
    lines = [line.removeprefix("///").strip() for line in header.splitlines()]
    begins = [
        line for before, line in zip(["", *lines], lines, strict=False) if line and not before
    ]
    parts = {"Timing": "Timing", "Not here:": "Not here:"}
    missing = [
        name for name, begin in parts.items() if not any(b.startswith(begin) for b in begins)
    ]
    purpose = begins and not begins[0].startswith(tuple(parts))
    return missing if purpose else ["purpose", *missing]


def test_the_linters_would_say_something(tmp_path):
    (tmp_path / "bad.sv").write_text("module bad(input logic [1:0] a_i, output logic b_o);\n"
                                     "  assign b_o = a_i; \nendmodule\n")  # fmt: skip
    assert "WIDTHTRUNC" in lint.verilator("bad", [tmp_path])
    assert "trailing" in lint.verible([tmp_path])
