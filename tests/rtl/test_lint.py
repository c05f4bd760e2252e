"""Every module and bench is clean for `verilator -Wall` and Verible; new files are found by themselves."""

import pytest

from hwsim.cosim import lint


@pytest.mark.parametrize("module", list(lint.modules()))
def test_verilator_has_nothing_to_say(module):
    assert lint.verilator(module) == ""


def test_verible_has_nothing_to_say():
    assert lint.verible() == ""


def test_the_linters_would_say_something(tmp_path):
    (tmp_path / "bad.sv").write_text("module bad(input logic [1:0] a_i, output logic b_o);\n"
                                     "  assign b_o = a_i; \nendmodule\n")  # fmt: skip
    assert "WIDTHTRUNC" in lint.verilator("bad", [tmp_path])
    assert "trailing" in lint.verible([tmp_path])
