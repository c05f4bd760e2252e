"""The build-and-run helper: sources, cache, missing tools, failures, waves."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cosparse.spec.errors import InputError, MissingToolError, RunError
from hwsim import cosim
from hwsim.cosim import cache, sources, toolchain

RAM = cosim.Design("tb_ram", parameters={"Lanes": 4, "LaneBits": 16})

OUTSIDE = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from hwsim import cosim

@cocotb.test()
async def reads_outside(dut):
    cosim.shared_memory(0, 64)
    dut.we_i.value, dut.re_i.value, dut.raddr_i.value = 0, 0, 9
    Clock(dut.clk_i, 10, "ns").start(start_high=False)
    await RisingEdge(dut.clk_i)
    dut.re_i.value = 1
    await Timer(100, "ns")
"""


def test_a_module_brings_what_it_names_packages_first(tmp_path):
    (tmp_path / "top.sv").write_text("module top; /* other */ leaf u(); // third\nendmodule")
    (tmp_path / "leaf.sv").write_text("module leaf; logic [p_pkg::W-1:0] x; endmodule")
    for name in ("other", "third", "p_pkg"):
        (tmp_path / f"{name}.sv").write_text("")
    assert [p.stem for p in sources.closure("top", [tmp_path])] == ["p_pkg", "leaf", "top"]
    with pytest.raises(InputError, match="did you mean 'leaf'"):
        sources.closure("leav", [tmp_path])


def test_comments_layout_and_end_labels_do_not_change_the_meaning(tmp_path):
    def meaning(text):
        (tmp_path / "one.sv").write_text(text)
        return sources.meaning(tmp_path / "one.sv")

    text = 'module one(input logic a_i);\n  initial $display("a  // b");\nendmodule\n'
    same = '/// It\'s "one".\nmodule one (\n  input logic a_i  // a\n);\n\n'
    same += '  initial /* x */ $display("a  // b");\n\nendmodule : one\n'
    assert meaning(same) == meaning(text)
    for before, after in (("a_i", "b_i"), ("a  //", "a //"), ("logic a", "logic [0:0] a")):
        assert meaning(text.replace(before, after)) != meaning(text)


def test_ports_are_those_of_the_header():
    assert RAM.ports == ("clk_i", "re_i", "raddr_i", "rdata_o", "we_i", "waddr_i", "wdata_i")


def test_the_shared_memory_and_its_ram():
    outcome = cosim.simulate(
        RAM, "ram_bench", arguments={"cycles": 2000, "shared": True, "side": False}
    )
    assert outcome.passed == ("random_traffic",)


def test_a_failing_bench_says_what_the_simulator_said(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import cocotb\n@cocotb.test()\nasync def fails(dut):\n    assert False, 'water is wet'\n"
    )
    with pytest.raises(RunError, match=r"failed: fails; seed 7(.|\n)*water is wet"):
        cosim.run(cosim.build(RAM), "broken", folders=[tmp_path], seed=7)


def test_a_bench_without_tests_is_a_failure(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(RunError, match="ran no test"):
        cosim.run(cosim.build(RAM), "empty", folders=[tmp_path])


def test_a_model_is_built_once_and_again_when_a_source_changes(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    made = []
    building = importlib.import_module("hwsim.cosim.build")
    monkeypatch.setattr(building, "_make", lambda design, *_: made.append(design.top))
    (tmp_path / "one.sv").write_text("module one(input logic a_i); endmodule\n")
    design = cosim.Design("one", folders=(tmp_path,))
    programs = [cosim.build(design).program for _ in range(2)]
    assert programs[0] == programs[1] and made == ["one"]
    assert cosim.build(replace(design, parameters={"W": 2})).program != programs[0]
    (tmp_path / "one.sv").write_text("module one(input logic b_i); endmodule\n")
    assert cosim.build(design).program != programs[0] and len(made) == 3


def test_a_damaged_build_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    made = []

    def make(place):
        made.append(place)
        (place / "sim").write_bytes(b"whole model")

    program = cache.kept("model", make) / "sim"
    for damage in (b"", b"whole", b"wholE model"):
        program.write_bytes(damage)
        assert (cache.kept("model", make) / "sim").read_bytes() == b"whole model"
    (program.parent / "sim").unlink()
    cache.kept("model", make)
    cache.kept("model", make)
    assert len(made) == 5 and program.exists()
    shutil.rmtree(program.parent)
    program.parent.write_text("no folder")
    assert cache.kept("model", make).is_dir()


@pytest.mark.parametrize("text", ["", "#!/bin/sh\nkill -SEGV $$\n"])
def test_a_model_that_cannot_run_names_its_folder(tmp_path, text):
    """Of a folder without digests."""
    program = tmp_path / "sim"
    program.write_text(text)
    program.chmod(0o755)
    with pytest.raises(RunError, match=f"if the build is damaged, delete {tmp_path}"):
        cosim.run(cosim.Build(RAM, program), "ram_bench")


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "cache", Path("/proc/cosparse")):
        monkeypatch.setenv(cache.VARIABLE, str(place))
        with pytest.raises(InputError, match=f"cannot keep builds in .*{cache.VARIABLE}"):
            cosim.build(RAM)


def test_a_model_is_built_again_when_the_compiler_flags_change(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    building = importlib.import_module("hwsim.cosim.build")
    monkeypatch.setattr(building, "_make", lambda *_: None)
    for name in (flags := ("CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CPLUS_INCLUDE_PATH")):
        monkeypatch.delenv(name, raising=False)
    programs = {cosim.build(RAM).program}
    for name in flags:
        monkeypatch.setenv(name, "-O0")
        programs.add(cosim.build(RAM).program)
    assert len(programs) == 1 + len(flags)


def test_coverage_has_models_and_files_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    building = importlib.import_module("hwsim.cosim.build")
    running = importlib.import_module("hwsim.cosim.run")
    monkeypatch.setattr(building, "_make", lambda *_: None)
    plain = cosim.build(RAM)
    assert plain.design.coverage == () and running._coverage_file(plain) == []
    monkeypatch.setenv(building.COVERAGE, str(tmp_path / "counted"))
    counting = cosim.build(RAM)
    assert counting.design.coverage == ("line", "toggle", "expr")
    assert counting.program != plain.program
    files = {running._coverage_file(counting)[0].rpartition("+")[2] for _ in range(2)}
    assert len(files) == 2 and {Path(file).parent for file in files} == {tmp_path / "counted"}


def test_toggles_of_a_wide_signal_are_counted_word_by_word(tmp_path):
    """Fails when Verilator's loop reads otherwise: then see whether it still needs mending."""
    building = importlib.import_module("hwsim.cosim.build")
    building._mend_counters(toolchain.find_toolchain(), tmp_path)
    text = (tmp_path / "verilated_cov.h").read_text()
    assert building._OVERRUN not in text and text.count(building._BOUNDED) == 2


def test_a_failed_build_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "bad.sv").write_text("module bad(input logic a_i) endmodule\n")
    with pytest.raises(RunError, match="syntax error"):
        cosim.build(cosim.Design("bad", folders=(tmp_path,)))
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_missing_compiler_says_what_installs_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match=r"g\+\+ is missing.*apt-get install g\+\+ make"):
        toolchain.find_toolchain.__wrapped__()


def test_a_missing_package_says_what_installs_it():
    with pytest.raises(MissingToolError, match=r"pip install 'cosparse\[rtl\]'"):
        toolchain.find_module("no_such_package", "is made up")


def test_an_access_outside_a_memory_fails_and_keeps_its_waves(tmp_path):
    (tmp_path / "outside.py").write_text(OUTSIDE)
    waves = tmp_path / "waves.vcd"
    with pytest.raises(
        RunError, match=r"dpi_mem: read of word 9 \(8 bytes\) outside memory 0 \(64 "
    ):
        cosim.simulate(RAM, "outside", folders=[tmp_path], vcd=waves)
    assert "\n#15000\n" in waves.read_text()


def test_a_bench_that_ends_with_the_failing_access_has_failed(tmp_path):
    (tmp_path / "outside.py").write_text(
        OUTSIDE.replace('Timer(100, "ns")', "RisingEdge(dut.clk_i)")
    )
    with pytest.raises(RunError, match=r"exit code 1(.|\n)*outside memory 0"):
        cosim.run(cosim.build(RAM), "outside", folders=[tmp_path])


def test_waves_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPARSE_RTL_VCD", str(tmp_path / "waves.vcd"))
    cosim.simulate(RAM, "ram_bench", arguments={"cycles": 20, "shared": True, "side": False})
    assert "$var" in Path(tmp_path / "waves.vcd").read_text()


def test_waves_in_a_folder_that_is_missing_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPARSE_RTL_VCD", str(tmp_path / "missing" / "waves.vcd"))
    with pytest.raises(InputError, match="waves: expected a file in a folder that exists"):
        cosim.simulate(RAM, "ram_bench", arguments={"cycles": 20})


@pytest.mark.parametrize(
    ("top", "parameters", "said"),
    [
        ("stce", {"Rows": 3}, "Rows and Cols must be powers of two"),
        ("fp32_add", {"Latency": 0}, "Latency must be 1 to 4"),
        ("fp32_add", {"Latency": 9}, "Latency must be 1 to 4"),
        ("dma", {"AxiBytes": 5}, "AxiBytes: expected 4, 8 or 16"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(top, parameters, said):
    with pytest.raises(RunError, match=said):
        cosim.build(cosim.Design(top, parameters))
