"""Registers that rtl/tb/upset_bench.py sets to anything while a unit works, for `Design`.

They count what no simulation counts to: rows, columns, tokens and words of the largest matrices.
"""

REGISTERS = {
    "stce_feeder": (
        *("token_q", "tile_q", "column_word_q", "chunk_word_q", "part_q", "middle_q", "outer_q"),
        *("turn_left_q", "remaining_q", "note_q"),
    ),
    "stce_sequencer": ("owed_q", "reads_q", "shift_q", "chain_left_q"),
    "stce_loader": ("pace_q", "pace_left_q", "kx_q", "ky_q", "column_word_q", "entry_q"),
    "stce_planner": ("row_q", "word_q", "lane_q", "left_q"),
    "stce_segments": ("number_q", "kx_q", "ky_q", "addr_q"),
    "stce_sums": ("column_word_q", "kx_q", "ky_q", "column_q"),
    "sore_walk": ("word_q",),
    "wuve_sequencer": ("chunk_q", "slot_q", "step_q", "row_q"),
}
TRANSFERS = {"dma": ("loads_ended_q", "stores_ended_q")}
"""Transfers that have ended behind one that has not: no memory here holds one back for so long."""

PLACES = {
    "dma": ("u_dma",),
    "stce_feeder": ("u_stce.u_feeder",),
    "stce_sequencer": ("u_stce.u_sequencer",),
    "stce_loader": ("u_stce.u_loader",),
    "stce_planner": ("u_stce.u_planner",),
    "stce_segments": ("u_stce.u_segments",),
    "stce_sums": ("u_stce.u_reads", "u_stce.u_writes"),
    "sore_walk": ("u_sore.u_walk",),
    "wuve_sequencer": ("u_wuve.u_sequencer",),
}
"""Instances of a module in cosparse_top."""
