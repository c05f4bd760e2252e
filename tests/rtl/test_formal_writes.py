"""Bounded proof of the write data of the DMA, with mutants that it kills; simulation asserts the same."""

import pytest

from hwsim.cosim import formal

FREE = ("u_bursts", "u_load_walk", "u_store_walk", "*u_round", "*u_widen")
"""Cutters of transfers and values: bursts of any length at any time, which is more than they do."""

SIZES = {"Outstanding": 2, "AxiBytes": 4, "BurstBeats": 4, "Rows": 2, "Cols": 8}
SHORT = {"BurstsAhead = 8": "BurstsAhead = 2", "WriteDepth = 8": "WriteDepth = 2"}
"""Queues that are soon full."""

MUTANTS = [
    {"unsent_q == 0 && axi_awvalid_o": "unsent_q == 0"},  # data before their address
    {"unsent_q > 0 ||": "unsent_q >= 0 ||"},
    {"word_burst_end_q <= burst_ends": "word_burst_end_q <= ahead_last"},
    {"beats_read_q == ahead_length": "beats_read_q >= 8'd1"},
    {"write_reserved_q != WriteBits'(WriteDepth)": "1'b1"},
    {
        "if (store_reads) beats_read_q <= burst_ends ?": "if (store_reads) beats_read_q <= store_ends ?"
    },
    {".data_i ({cut_length, cut_last}),": ".data_i ({axi_awlen_o, cut_last}),"},
]


def prove(cycles, changes=None, seconds=300):
    formal.prove_bounded(
        "dma",
        SIZES,
        properties="dma_write",
        free=FREE,
        cycles=cycles,
        changes={**SHORT, **(changes or {})},
        seconds=seconds,
    )


def test_write_data_follow_their_addresses_for_all_inputs():
    prove(10)


@pytest.mark.nightly
def test_write_data_follow_their_addresses_for_longer():
    prove(13, seconds=1800)


@pytest.mark.parametrize("changes", MUTANTS, ids=lambda changes: next(iter(changes.values()))[:40])
def test_a_mutant_has_a_counterexample(changes):
    with pytest.raises(formal.DisprovedError, match="a property fails in cycle"):
        prove(12, changes)
