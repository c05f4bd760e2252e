"""The coverage tool on files written by hand; `python -m tests.rtl.coverage` itself runs nightly."""

import ast
from pathlib import Path

import numpy as np
import pytest

from hwsim import AcceleratorConfig, cosim
from tests.rtl.coverage import campaign, classify, directed, exclusions, plan, points, report
from tests.rtl.coverage.points import Point
from tests.rtl.coverage.runs import ROOT, RUNS
from tests.rtl.matmuls import Contents
from tests.rtl.test_stce import CONFIGS


def counted(path, *entries):
    """A file of Verilator's: source, line, column, kind, object, instance, count."""
    lines = ["# SystemC::Coverage-3"]
    for source, line, column, kind, what, where, count in entries:
        fields = {"f": source, "l": line, "n": column, "t": kind, "o": what, "h": where}
        key = "".join(f"\x01{name}\x02{value}" for name, value in fields.items())
        lines.append(f"C '{key}' {count}")
    path.write_text("\n".join(lines) + "\n")
    return points.read(path)


def small(tmp_path):
    return counted(
        tmp_path / "small.dat",
        ("/a/rtl/fifo.sv", 3, 5, "line", "block", "tb.u_one", 0),
        ("/b/rtl/fifo.sv", 3, 5, "line", "block", "tb.u_two", 4),
        ("/a/rtl/fifo.sv", 7, 1, "branch", "if", "tb.u_one", 0),
        ("/a/rtl/fifo.sv", 8, 1, "expr", "(a==1) => 1", "tb.u_one", 0),
        ("/a/rtl/fifo.sv", 9, 1, "toggle", "q[0][2]:0->1", "tb.u_one", 0),
        ("/a/rtl/fifo.sv", 9, 1, "toggle", "q[1][2]:0->1", "tb.u_one", 1),
        ("/a/rtl/fifo.sv", 9, 1, "toggle", "q[1][3]:1->0", "tb.u_one", 0),
        ("/a/rtl/tb/tb_top.sv", 1, 1, "line", "block", "tb", 0),
        ("/a/rtl/tb/stubs/stce.sv", 1, 1, "line", "block", "tb", 0),
    )


def test_a_place_is_covered_when_any_instance_or_element_is(tmp_path):
    hits = small(tmp_path)
    assert hits[Point("fifo", 3, 5, "line", "block")] == 4
    assert hits[Point("fifo", 9, 1, "toggle", "q[*][2]:0->1")] == 1
    assert {point.module for point in hits} == {"fifo"}


def test_runs_add_up_and_are_kept(tmp_path):
    hits = small(tmp_path)
    total = points.merge([hits, hits])
    assert total[Point("fifo", 3, 5, "line", "block")] == 8
    points.write(total, tmp_path / "kept.tsv")
    assert points.load(tmp_path / "kept.tsv") == total


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "other.dat").write_text("nothing\n")
    with pytest.raises(ValueError, match="expected a file that begins with"):
        points.read(tmp_path / "other.dat")


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("clk_i:0->1", "clk_i:0->1"),
        ("count_q[7]:0->1", "count_q[7]:0->1"),
        ("words_q[20][13]:1->0", "words_q[*][13]:1->0"),
        ("g_half[1].waddr[3]:0->1", "g_half[*].waddr[3]:0->1"),
        ("g_a[1].g_b[2].valid:0->1", "g_a[*].g_b[*].valid:0->1"),
        ("bank_q[3].rows[5]:0->1", "bank_q[*].rows[5]:0->1"),
    ],
)
def test_elements_are_one_and_bits_are_not(signal, expected):
    assert points.element(signal) == expected


def test_the_table_counts_by_module_and_kind(tmp_path):
    table = report.tabulate(small(tmp_path), set())
    assert {kind: str(cell) for kind, cell in table["fifo"].items()} == {
        "line": "1/1",
        "branch": "0/1",
        "expr": "0/1",
        "toggle": "1/2",
    }
    assert report.totals(table) == table["fifo"]
    assert report.text(table).splitlines()[1].split() == ["fifo", "1/1", "0/1", "0/1", "1/2"]
    assert report.unseen(table, ["fifo", "dma"]) == ["dma"]


def test_what_is_missing_has_its_place(tmp_path):
    assert report.missing(small(tmp_path), set()) == [
        "rtl/fifo.sv:7: branch if",
        "rtl/fifo.sv:9: toggle q[*][3] 1->0",
    ]


def test_an_exclusion_leaves_toggles_out(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusions, "MOST", 0.5)
    excluded, problems = exclusions.apply(
        exclusions.parse("fifo  q[*][3]  never set"), small(tmp_path)
    )
    assert problems == []
    assert excluded == {Point("fifo", 9, 1, "toggle", "q[*][3]:1->0")}
    assert report.tabulate(small(tmp_path), excluded)["fifo"]["toggle"] == report.Cell(1, 1, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fifo  q[*][2]  is covered", "excludes 1 points that are covered"),
        ("fifo  p  is not there", "matches nothing"),
        ("dma  q[*][3]  another module", "matches nothing"),
        ("fifo  q[*][3]  too much", "1 of 2 toggles are excluded, more than 2%"),
    ],
)
def test_a_false_exclusion_is_a_problem(text, problem, tmp_path):
    _, problems = exclusions.apply(exclusions.parse(text), small(tmp_path))
    assert any(problem in found for found in problems), problems


def test_an_exclusion_of_one_direction(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusions, "MOST", 0.5)
    hits = small(tmp_path)
    for way, found in (("1->0", 1), ("0->1", 0)):
        listed = exclusions.parse(f"fifo  q[*][3] {way}  never reset")
        assert len(exclusions.apply(listed, hits)[0]) == found


def bits(text, width=64):
    """Bits of `signal` that an exclusion names."""
    (one,) = exclusions.parse(text)
    names = (Point("m", 1, 1, "toggle", f"signal[{bit}]:0->1") for bit in range(width))
    return [bit for bit, point in enumerate(names) if one.matches(point)]


def test_bits_of_an_exclusion():
    assert bits("m  signal[5:3]  why") == [3, 4, 5]
    assert bits("m  signal[7]  why") == [7]
    assert bits("m  signal[1:0 of 32]  why") == [0, 1, 32, 33]
    assert bits("m  signal  why") == list(range(64))
    assert bits("m  sig*[9]  why") == [9]


def test_an_exclusion_without_a_reason_is_refused():
    with pytest.raises(ValueError, match=r"exclusions.txt:2: expected `module"):
        exclusions.parse("# heading\nfifo  q[3]\n")


def test_the_exclusions_can_be_read_and_have_reasons():
    listed = exclusions.parse(exclusions.FILE.read_text())
    assert all(len(one.reason) > 10 for one in listed)


def test_the_plan_is_a_cross_without_what_cannot_be():
    cross = plan.Cross(
        "c",
        {"a": ("x", "y"), "b": ("1", "2", "3")},
        (plan.Never({"a": ("x",), "b": ("1", "2")}, "why"),),
    )
    assert list(cross.bins()) == [
        ("c", "x", "3"),
        ("c", "y", "1"),
        ("c", "y", "2"),
        ("c", "y", "3"),
    ]
    assert cross.ruled_out() == 2
    assert cross.reason(("c", "x", "2")) == "why"


def test_every_rule_of_the_plan_rules_something_out():
    for cross in plan.CROSSES:
        for never in cross.never:
            assert set(never.where) <= set(cross.axes)
            for axis, values in never.where.items():
                assert set(values) <= set(cross.axes[axis])


def test_the_plan_says_what_is_missing_and_what_should_not_be():
    met = [each for cross in plan.CROSSES for each in cross.bins()]
    assert plan.missing(met) == []
    (lost,) = plan.missing(met[1:])
    assert lost == f"never met: {' x '.join(met[0])}"
    wrong = ("product", "2:4", "WS", "WU", "whole", "none", "normal")
    assert plan.missing([*met, wrong]) == [f"met, though ruled out: {' x '.join(wrong)}"]


def test_runs_have_names_of_their_own():
    names = [run.name for run in RUNS]
    assert len(set(names)) == len(names)


def test_every_file_of_a_run_is_there():
    for run in RUNS:
        for name in run.files:
            places = [ROOT / folder / f"{name}.py" for folder in campaign._OWN]
            assert sum(place.exists() for place in places) == 1, name


def packed_numbers(values, n, m, transpose=0):
    """Kinds that a PRUNE of one lane meets."""
    config = AcceleratorConfig.preset("sat-4x4", sore_lanes=1)
    weights = np.array([values], np.float16).view(np.uint16)
    registers = {"n": n, "m": m, "transpose": transpose}
    return {each[1:] for each in classify.packing_bins(registers, weights, config)}


def test_the_digest_has_all_that_a_run_is_held_to():
    """Every module of hwsim that judge, models and runner of programs import, by their imports."""
    starts = (
        *("cosim/accelerator", "cosim/law", "cosim/run"),
        *("machine/run", "engine/simulation", "timing"),
    )
    reached: set[Path] = set()
    for name in starts:
        reach(ROOT / "hwsim" / f"{name}.py", reached)
    tools = {"cosim/__init__", "cosim/cache", "cosim/sources", "cosim/toolchain"}
    known = campaign.shared_files() | {ROOT / "hwsim" / f"{name}.py" for name in tools}
    assert len(reached) > 30 and reached <= known


def reach(path, reached):
    """Add a file of hwsim and those that it imports, without the package's own list of names."""
    if path in reached or path == ROOT / "hwsim" / "__init__.py":
        return
    reached.add(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (
            node.level or str(node.module).startswith("hwsim")
        ):
            base = path.parents[node.level - 1] if node.level else ROOT
            place = base.joinpath(*filter(None, (node.module or "").split(".")))
            names = [
                f"{place}.py",
                place / "__init__.py",
                *(place / f"{a.name}.py" for a in node.names),
            ]
            for found in filter(Path.is_file, map(Path, names)):
                reach(found, reached)


def test_bins_of_a_packing():
    assert packed_numbers([1, 2, 3, 4], 2, 4) == {("2:4", "FF", "whole", "normal")}
    assert packed_numbers([1, 2, 3], 2, 4, transpose=1) == {
        ("2:4", "BP", "group", "normal"),
    }
    assert packed_numbers([1, 2, 3, 4], 4, 4) == {("n = m", "FF", "whole", "normal")}
    assert packed_numbers([1, 2, 3, 4], 3, 4) == set()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([3, 2, -2, 1], {"normal", "tie"}),
        ([3, 2, 1, -1], {"normal"}),
        ([0, -0.0, 1e-7, np.inf], {"zero", "subnormal", "infinity"}),
        ([np.nan, -np.nan, np.nan, 1], {"NaN", "normal", "tie"}),
    ],
)
def test_numbers_of_a_packing(values, found):
    assert {each[-1] for each in packed_numbers(values, 2, 4)} == found


def test_bins_of_a_vector():
    ones, large = np.ones(2, np.float32), np.full(2, np.inf, np.float16)
    found = classify.vector_bins("SCALE", [ones], [large])
    assert {each[-1] for each in found} == {"infinity", "overflow"}
    found = classify.vector_bins("SCALE", [large.astype(np.float32)], [large])
    assert {each[-1] for each in found} == {"infinity"}
    tiny = np.array([1e-40, 0], np.float32)
    assert classify.vector_bins("COPY", [tiny], [tiny]) == {
        ("vector", "COPY", "FP32", "subnormal"),
        ("vector", "COPY", "FP32", "zero"),
    }


@pytest.mark.parametrize("way", directed.ways(), ids=" ".join)
def test_a_directed_product_is_of_its_way(way):
    config = AcceleratorConfig.from_mapping(CONFIGS["groups wider than words"])
    for seed in range(3):
        case = directed.directed_case(seed, config, way)
        found = set(classify.product_bins(case, config))
        assert {each[1:4] for each in found} == {way}
        assert found <= set(plan.PRODUCTS.bins())


def test_sums_of_ones_cancel():
    config = AcceleratorConfig.from_mapping(CONFIGS["groups wider than words"])
    way = directed.Way("dense", "OS", "FF")
    seeds = range(directed.CONTENTS.index(Contents(few=True)), 30, len(directed.CONTENTS))
    cases = (directed.directed_case(seed, config, way) for seed in seeds)
    found = {each[-1] for case in cases for each in classify.product_bins(case, config)}
    assert "cancellation" in found and found <= set(plan.NUMBERS)


WIDE = """
module wide (
  input  logic         clk_i,
  output logic [159:0] word_o
);
  logic [7:0] count_q = '0;
  always_ff @(posedge clk_i) count_q <= count_q + 8'd1;
  assign word_o = {8'd0, count_q, 56'd0, count_q, 76'd0, count_q[3:0]};
endmodule : wide
"""
CLOCKED = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

@cocotb.test()
async def runs(dut):
    Clock(dut.clk_i, 10, "ns").start()
    await ClockCycles(dut.clk_i, 600)
"""


@pytest.mark.nightly
def test_only_the_bits_that_toggle_are_counted(tmp_path, monkeypatch):
    """Across the words of a wide signal, where Verilator's own counters are wrong."""
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "wide.sv").write_text(WIDE)
    (tmp_path / "clocked.py").write_text(CLOCKED)
    monkeypatch.setenv("COSPARSE_RTL_COVERAGE", str(tmp_path / "counted"))
    design = cosim.Design("wide", folders=(tmp_path / "rtl",))
    cosim.run(cosim.build(design), "clocked", folders=[tmp_path])
    (counts,) = (tmp_path / "counted").glob("*.dat")
    hits = points.read(counts)
    found = {
        points.name_and_bit(p)[1] for p, n in hits.items() if n and p.what.startswith("word_o")
    }
    assert found == {*range(4), *range(80, 88), *range(144, 152)}
