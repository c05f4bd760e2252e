"""The mutation campaign: what it edits, its order, its memory; nightly, the kills of every module."""

import pytest

from hwsim.cosim import sources

from .mutation import campaign
from .mutation.covers import COVERS
from .mutation.mutants import mutants
from .mutation.operators import edits

SOURCE = """\
/// Adds 1 == 2.
module adder #(
  parameter int unsigned Width = 4
) (
  input  logic       clk_i,
  input  logic [3:0] a_i, b_i,
  output logic [3:0] s_o
);
  if (Width < 1) begin : gen_illegal
    $fatal(1, "adder: Width must be at least 1");
  end
  logic [3:0] s_q;
  logic ready_q;
  assign s_o = ready_q ? s_q : 4'd7;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) ready_q <= 1'b0;
    else ready_q <= a_i < b_i;
  end
  always_ff @(posedge clk_i) begin
    s_q <= a_i + b_i;
  end
  Sum: assert property (@(posedge clk_i) s_o != 4'd9);
endmodule
"""


def changes(operator):
    return {edit.apply(SOURCE) for edit in edits(SOURCE)[operator]}


def changed(before, after):
    assert SOURCE.count(before) == 1
    return SOURCE.replace(before, after)


@pytest.mark.parametrize(
    ("operator", "before", "afters"),
    [
        ("operator swap", "a_i + b_i", ["a_i - b_i"]),
        ("compare off by one", "a_i < b_i", ["a_i <= b_i"]),
        ("constant", ": 4'd7", [": 4'd6", ": 4'd8"]),
        ("reset value", "ready_q <= 1'b0", ["ready_q <= 1'b1"]),
    ],
)
def test_an_operator_edits_exactly_what_it_says(operator, before, afters):
    edited = changes(operator) - {changed("1'b0", "1'b1")} if operator == "constant" else None
    assert (edited or changes(operator)) == {changed(before, after) for after in afters}


def test_conditions_and_choices_are_negated():
    negated = {changed("(!rst_ni)", "(!(!rst_ni))"), changed("= ready_q ?", "= !ready_q ?")}
    assert changes("condition negation") == negated


def test_registers_lose_their_assignments():
    lost = {"ready_q <= 1'b0;", "ready_q <= a_i < b_i;", "s_q <= a_i + b_i;"}
    assert changes("dropped assignment") == {changed(text, ";") for text in lost}


def test_signals_are_swapped_for_others_of_their_width_where_they_are_read():
    swapped = changes("signal swap")
    assert changed("a_i + b_i", "s_q + b_i") in swapped
    assert changed("= ready_q ?", "= clk_i ?") in swapped
    assert not any("s_o <= " in text or "b_i = " in text for text in swapped)
    assert not any("ready_q + " in text for text in swapped)


def test_the_seed_decides_the_order(tmp_path):
    path = tmp_path / "adder.sv"
    path.write_text(SOURCE)
    first, again, other = (list(map(str, mutants(path, seed))) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(other)


def test_a_campaign_judges_each_mutant_once(tmp_path, monkeypatch):
    (tmp_path / "adder.sv").write_text(SOURCE)
    judged = []

    def tests_of(module, overlay, models):
        text = (overlay / f"{module}.sv").read_text()
        judged.append(text)
        return "survived" if text == SOURCE else "killed"

    monkeypatch.setattr(sources, "RTL", tmp_path)
    monkeypatch.setattr(campaign, "_test", tests_of)
    monkeypatch.setattr(campaign, "_elaborates", lambda mutant, _: "+" in mutant.text)
    results = tmp_path / "results" / "verdicts.jsonl"
    few = campaign.campaign("adder", 3, 0, results)
    assert len(few) == 3 and len(judged) == 4  # and the module itself
    more = campaign.campaign("adder", 5, 0, results)
    assert more[:3] == few and len(judged) == 7
    assert all(verdict.outcome == "killed" for verdict in more)


def test_a_module_that_fails_its_tests_is_refused(tmp_path, monkeypatch):
    (tmp_path / "adder.sv").write_text(SOURCE)
    monkeypatch.setattr(sources, "RTL", tmp_path)
    monkeypatch.setattr(campaign, "_test", lambda *_: "killed")
    with pytest.raises(RuntimeError, match="adder: its tests fail without a mutation"):
        campaign.campaign("adder", 1, 0, tmp_path / "verdicts.jsonl")


@pytest.mark.nightly
@pytest.mark.parametrize("module", COVERS)
def test_most_mutants_are_killed(module):
    """Resumable: verdicts stay in results/mutation."""
    results = campaign.ROOT / "results" / "mutation" / "verdicts.jsonl"
    verdicts = campaign.campaign(module, 25, 0, results)
    survivors = [verdict.mutant for verdict in verdicts if verdict.outcome == "survived"]
    assert len(survivors) <= 0.1 * len(verdicts), survivors
