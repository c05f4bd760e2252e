"""The mutation campaign: edits, schema, order, memory, proofs; nightly, the kills of every module."""

import os
import sys
from dataclasses import replace

import pytest

from hwsim.cosim import formal, sources

from .mutation import campaign, equivalence, schema
from .mutation.covers import COVERS, EQUIVALENCE, PACKAGES, ROOT, STAGES, Stage
from .mutation.ledger import Ledger
from .mutation.mutants import Mutant, mutants
from .mutation.operators import Edit, code, edits
from .mutation.slots import slots
from .mutation.summary import CLASSES, explanations, summarise, table, unexplained

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


def test_the_key_ignores_comments_and_layout(tmp_path):
    path = tmp_path / "adder.sv"
    path.write_text(SOURCE)
    keys = [mutant.key for mutant in mutants(path, 0)]
    path.write_text(
        SOURCE.replace("/// Adds", "/// It adds").replace("  logic ready_q;", "\n logic ready_q;")
    )
    assert [mutant.key for mutant in mutants(path, 0)] == keys
    path.write_text(SOURCE.replace("4'd9", "4'd8"))
    assert not {mutant.key for mutant in mutants(path, 0)} & set(keys)


INSTANCES = """\
module top (
  input  logic       clk_i,
  output logic [1:0] s_o
);
  localparam int Two = 1 + 1;
  if (Two == 2) begin : gen_two
    leaf u_leaf (.a_i(x & y), .b_o(z[0]));
  end
  assign {a, b} = c;
  function automatic logic f(input logic u);
    return u | v;
  endfunction
  always_comb begin
    for (int i = 0; i < 4; i++) w[i] = x[i] == y;
    unique case (state_q)
      2'd0, 2'd1: if (x) k = 1'b0; else if (y) k = n ? 1'b1 : 1'b0;
      default: begin k = q; end
    endcase
  end
  always_ff @(posedge clk_i or negedge rst_ni) if (!rst_ni) r <= '0; else r[i+1] <= r <= 2;
  logic later;
  assign later = x;
endmodule
"""


def test_what_can_be_chosen_at_run_time():
    ports = {"leaf": frozenset({"a_i"})}
    found = slots(code(INSTANCES), lambda module: ports.get(module, frozenset()))
    texts = [INSTANCES[slot.start : slot.end].strip() for slot in found]
    assert texts == [
        *("x & y", "c", "u | v", "x[i] == y", "state_q", "x", "1'b0", "y", "n ? 1'b1 : 1'b0", "q"),
        *("!rst_ni", "'0", "r <= 2", "x"),
    ]
    assert INSTANCES[slice(*found[-2].statement)] == "r[i+1] <= r <= 2;"


def numbered(*changed):
    """The mutants of SOURCE that stand for these edits (before, after), from 1 on."""
    every = {
        m.text: m
        for m in (Mutant("adder", o, SOURCE, e) for o, es in edits(SOURCE).items() for e in es)
    }
    found = (every[SOURCE.replace(before, after)] for before, after in changed)
    return [schema.Numbered(number, mutant) for number, mutant in enumerate(found, 1)]


def test_a_schema_has_every_mutant_as_a_choice():
    chosen = numbered(
        ("a_i + b_i", "a_i - b_i"), ("a_i + b_i", "s_q + b_i"), ("s_q <= a_i + b_i;", ";"),
        ("if (!rst_ni)", "if (!(!rst_ni))"),
    )  # fmt: skip
    text = schema.schema(SOURCE, chosen).replace("cosparse_mutant_pkg::", "")
    assert (
        "begin if (id != 3) s_q <= (id == 1 ? ( a_i - b_i) : id == 2 ? ( s_q + b_i) : ( a_i + b_i)); end"
        in text
    )
    assert "if ( (id == 4 ? (!(!rst_ni)) : (!rst_ni))) ready_q" in text
    assert "//" not in text


def test_what_is_elaborated_has_no_place_in_a_schema():
    (mutant,) = (
        Mutant("adder", "constant", INSTANCES, edit)
        for edit in edits(INSTANCES)["constant"]
        if edit.apply(INSTANCES) == INSTANCES.replace("1 + 1", "2 + 1")
    )
    assert schema.place(mutant) is None
    with pytest.raises(ValueError, match="cannot be chosen at run time"):
        schema.schema(INSTANCES, [schema.Numbered(1, mutant)])


def test_no_module_is_left_out():
    modules = {path.stem for path in sources.RTL.glob("*.sv")}
    assert modules == {*COVERS, *PACKAGES}
    assert {name for stages in COVERS.values() for name in stages} <= set(STAGES)


SKIDS = Stage("skids", ("tests/rtl/test_cells.py", "-k", "skid"))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(COVERS, "skid_buffer", ("skids",))

    def make(folder, count):
        return campaign.Campaign(["skid_buffer"], 0, folder, count, 0, (SKIDS,))

    return make


def test_a_campaign_judges_each_mutant_once(small, tmp_path):
    said = []
    drawn, ledger = small(tmp_path, 3).run(said.append)
    assert len(said) == 3 and {ledger.final_outcome(mutant.key) for mutant in drawn} == {"killed"}
    again, _ = small(tmp_path, 3).run(said.append)
    assert again == drawn and len(said) == 3
    summary = summarise(drawn, ledger, 0)
    assert (
        summary["killed"] == summary["mutants"] == summary["modules"]["skid_buffer"]["killed"] == 3
    )
    assert summary["survivors"] == []


def test_a_survivor_meets_the_tests_again_when_they_change(small, tmp_path, monkeypatch):
    outcomes = iter([0, 0, 0, 0, 0, 1])  # twice without a mutation, then the mutant
    output = "FAILED tests/rtl/test_cells.py::test_it - no"
    monkeypatch.setattr(campaign, "run", lambda *_: campaign.Run(next(outcomes), output, 0.0))
    (mutant,), ledger = small(tmp_path, 1).run(lambda _: None)
    assert ledger.final_outcome(mutant.key) == "survived"
    assert summarise([mutant], ledger, 0)["survivors"][0]["class"] == "not-killed"
    small(tmp_path, 1).run(lambda _: None)  # runs nothing
    monkeypatch.setattr(Stage, "digest", lambda _: "other")
    _, ledger = small(tmp_path, 1).run(lambda _: None)
    assert ledger.final(mutant.key).by == "tests/rtl/test_cells.py::test_it"


def test_only_what_nobody_has_explained_is_proved(monkeypatch, tmp_path):
    monkeypatch.setattr(campaign.equivalence, "prove", lambda _: ("equivalent", "by z", 0.0))
    whole = campaign.Campaign(["skid_buffer"], 0, tmp_path, 2, 0, (EQUIVALENCE,))
    first, second = whole.draw(Ledger(whole.ledger))
    monkeypatch.setattr(campaign, "explanations", lambda: {first.key: {}})
    _, ledger = whole.run(lambda _: None)
    assert [ledger.final_outcome(one.key) for one in (first, second)] == ["survived", "equivalent"]


def test_tests_that_fail_without_a_mutation_are_refused(small, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "run", lambda *_: campaign.Run(1, "FAILED tests/x.py::y", 0.0))
    with pytest.raises(RuntimeError, match="skids fails without a mutation"):
        small(tmp_path, 1).run(lambda _: None)


def test_a_campaign_ends_in_time_and_goes_on(small, tmp_path, monkeypatch):
    outcomes = iter([0, 0, 0, 0, 1, 1])  # twice without a mutation; twice, then the two mutants
    output = "FAILED tests/rtl/test_cells.py::test_it - no"
    monkeypatch.setattr(campaign, "run", lambda *_: campaign.Run(next(outcomes), output, 0.0))
    with pytest.raises(campaign.OutOfTimeError, match="skids: 2 mutants are left"):
        replace(small(tmp_path, 2), hours=0).run(lambda _: None)
    drawn, ledger = small(tmp_path, 2).run(lambda _: None)
    assert [ledger.final_outcome(mutant.key) for mutant in drawn] == ["killed", "killed"]


@pytest.mark.parametrize("words", ["No space left on device", "fatal error: Killed signal"])
def test_what_the_machine_lacks_kills_no_mutant(small, tmp_path, monkeypatch, words):
    """A test that fails because the disk is full says nothing about a mutant."""
    outcomes = iter([0, 0, 1])  # twice without a mutation, then the mutant
    output = f"FAILED tests/rtl/test_cells.py::test_it - {words}"
    monkeypatch.setattr(campaign, "run", lambda *_: campaign.Run(next(outcomes), output, 0.0))
    with pytest.raises(RuntimeError, match=words):
        small(tmp_path, 1).run(lambda _: None)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("%Error: /rtl/skid_buffer.sv:12:7: syntax error", "stillborn"),
        ("%Warning-USERFATAL: /rtl/skid_buffer.sv:12:7: Elaboration system task", "stillborn"),
        ("%Error: /rtl/skid_buffer.sv:12: Verilog $stop", "killed"),
        ("%Error: /rtl/fifo.sv:12:7: syntax error", "killed"),
    ],
)
def test_only_what_verilator_refuses_is_stillborn(small, tmp_path, monkeypatch, line, outcome):
    """A model that ends at its own $fatal has been simulated: its test failed."""
    runs = iter([(0, ""), (0, ""), (1, f"{line}\nFAILED tests/rtl/test_cells.py::test_it - no")])
    monkeypatch.setattr(campaign, "run", lambda *_: campaign.Run(*next(runs), 0.0))
    (mutant,), ledger = small(tmp_path, 1).run(lambda _: None)
    assert ledger.final_outcome(mutant.key) == outcome


def test_a_run_that_hangs_is_ended():
    command = [sys.executable, "-c", "print('on', flush=True)\nwhile True: pass"]
    done = campaign.run(command, dict(os.environ), 1)
    assert done.code is None and done.output == "on\n" and done.seconds > 1


def mutant_of(module, before, after):
    text = (sources.RTL / f"{module}.sv").read_text()
    assert text.count(before) == 1
    start = text.index(before)
    return Mutant(module, "by hand", text, Edit(start, start + len(before), after))


def test_yosys_proves_only_what_is_equivalent():
    same = mutant_of(
        "skid_buffer", "full_q | valid_i;\n      full_q", "valid_i | full_q;\n      full_q"
    )
    other = mutant_of("skid_buffer", "full_q ? spare_q : data_i", "data_i")
    assert equivalence.prove(same)[0] == "equivalent"
    assert equivalence.prove(other)[0] == "passed"


def test_a_proof_reads_the_mutant(tmp_path, monkeypatch):
    mutant = mutant_of("skid_buffer", "full_q ? spare_q : data_i", "data_i")
    (tmp_path / "skid_buffer.sv").write_text(mutant.text)
    monkeypatch.setenv(sources.OVERLAY, str(tmp_path))
    with pytest.raises(formal.DisprovedError, match="Status: FAILED"):
        formal.prove("skid_buffer", {"Width": 2})


def test_every_explanation_has_a_class_and_a_reason():
    for one in explanations().values():
        assert one["class"] in CLASSES[1:] and one["mutant"] and one["reason"]


@pytest.mark.nightly
def test_most_mutants_are_killed():
    """Resumable: verdicts stay in results/mutation."""
    whole = campaign.Campaign(list(COVERS), 0, ROOT / "results" / "mutation")
    drawn, ledger = whole.run()
    summary = summarise(drawn, ledger, 0)
    assert summary["mutants"] >= 300
    assert summary["killed_of_not_equivalent"] >= 0.95, table(summary)
    assert not unexplained(summary), table(summary)
