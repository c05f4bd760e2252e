"""Proof of the selector lane by an invariant over one insertion, with mutants that it kills."""

import pytest

from hwsim.cosim import formal

MUTANTS = [
    {"value[14:0] > slot_q[i][18:4]": "value[14:0] >= slot_q[i][18:4]"},  # ties to the higher one
    {"value[14:0] > slot_q[i][18:4]": "value[14:1] > slot_q[i][18:5]"},
    {"value_i[14:0] > 15'h7C00": "value_i[14:0] >= 15'h7C00"},  # infinity is no NaN
    {"16'h7E00 : value_i": "{value_i[15], 15'h7E00} : value_i"},
    {"loses[i] = won_q[i] == '0": "loses[i] = 1'b1"},
    {"beaten[i] = member_i[i] && ": "beaten[i] = "},
    {"won[i+1][j+1] : won[i][j+1]": "won[i][j+1] : won[i][j+1]"},
    {"filling_i || (beaten != '0 &&": "filling_i || ("},
    {"position_q} < n_i;": "position_q} <= n_i;"},
    {"n_i : m_i) - 5'd1": "n_i : m_i) - 5'd2"},
]


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_lane_keeps_the_largest_for_all_inputs(slots):
    assert formal.prove_in_order("sore_lane", {"NMax": slots}) > 25


@pytest.mark.nightly
@pytest.mark.parametrize("slots", [8, 16])
def test_a_wide_lane_keeps_the_largest_for_all_inputs(slots):
    formal.prove_in_order("sore_lane", {"NMax": slots}, seconds=1800)


def test_the_usual_induction_agrees():
    formal.prove("sore_lane", {"NMax": 2}, cycles=4)


@pytest.mark.parametrize("changes", MUTANTS)
def test_a_mutant_has_a_counterexample(changes):
    with pytest.raises(formal.DisprovedError, match="Status: FAILED") as caught:
        formal.prove("sore_lane", {"NMax": 2}, changes=changes, cycles=8)
    assert " -i " not in str(caught.value).splitlines()[0]  # from reset, no failed induction


def test_the_order_does_not_hide_a_mutant():
    # The first assertion that fails is named: who wins a tie. Those after it fail for that reason.
    with pytest.raises(formal.DisprovedError, match=r"step: .*key\[i\] >= key\[j\].* fails$"):
        formal.prove_in_order("sore_lane", {"NMax": 2}, changes=MUTANTS[0])
