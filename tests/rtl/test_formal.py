"""Proofs of the common cells and of both bus ports, each with mutants that it kills by a counterexample."""

import pytest

from hwsim.cosim import formal

SMALL = {"SemaphoreMax = 255": "SemaphoreMax = 3"}  # so that a counterexample can overflow it

PROOFS = [
    *(("fifo", {"Width": 2, "Depth": depth}) for depth in (1, 2, 3, 4)),
    ("skid_buffer", {"Width": 2}),
    ("semaphore_bank", {}),
    ("axi_lite_regs", {}),
    ("dma", {"Outstanding": 2}),
]

MUTANTS = [
    ("fifo", {"push_i != pop_i": "push_i"}),  # counts a pushed and popped word twice
    ("fifo", {"tail_q == Last ? '0 : tail_q + 1'b1": "tail_q + 1'b1"}),
    ("fifo", {"count_q != CountBits'(Depth)": "1'b1"}),
    ("fifo", {"if (push_i) entries_q": "if (push_i && valid_o) entries_q"}),
    ("skid_buffer", {"full_q ? spare_q : data_i": "data_i"}),
    ("skid_buffer", {"if (~full_q) spare_q": "spare_q"}),
    ("skid_buffer", {"ready_i | ~valid_q": "1'b1"}),
    ("skid_buffer", {"full_q  <= full_q | valid_i": "full_q  <= valid_i"}),
    ("semaphore_bank", {"made[s] != taken[s] && !overflows[s]": "made[s] != taken[s]", **SMALL}),
    ("semaphore_bank", {"made[s] && !taken[s] && count_q": "made[s] && count_q", **SMALL}),
    ("semaphore_bank", {"count_q != '0": "count_q > 1"}),
    ("semaphore_bank", {"taken | take_i": "take_i"}),
    ("axi_lite_regs", {"write || (axil_bvalid_o && !axil_bready_i)": "write"}),
    ("axi_lite_regs", {"address_q && data_q && !axil_bvalid_o": "address_q && data_q"}),
    ("axi_lite_regs", {"axil_rvalid_o ? !axil_rready_i": "axil_rvalid_o ? 1'b0"}),
    ("axi_lite_regs", {"start_o  = accepted": "start_o  = address_q"}),
    ("dma", {"flight_q < FlightBits'(Outstanding)": "flight_q <= FlightBits'(Outstanding)"}),
    ("dma", {"!(stop_i && !may_request)": "!stop_i"}),
    ("dma", {"(granted || !request_valid_q)": "1'b1"}),
]


@pytest.mark.parametrize(("module", "parameters"), PROOFS)
def test_proved_for_all_inputs_and_all_time(module, parameters):
    formal.prove(module, parameters)


@pytest.mark.parametrize(("module", "changes"), MUTANTS)
def test_a_mutant_has_a_counterexample(module, changes):
    small = {
        "fifo": {"Width": 2, "Depth": 3},
        "skid_buffer": {"Width": 2},
        "dma": {"Outstanding": 2},
    }
    parameters = small.get(module, {})
    with pytest.raises(formal.DisprovedError, match=r"Status: FAILED") as caught:
        formal.prove(module, parameters, changes=changes)
    assert (
        " -i " not in str(caught.value).splitlines()[0]
    )  # found from reset, not a failed induction
