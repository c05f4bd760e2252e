"""Coverage of the RTL: which lines, branches, terms and bits its tests meet, and which kinds of work.

    python -m tests.rtl.coverage              runs what has not been run on these sources, then reports

`runs` lists what is simulated, `points` reads and merges what Verilator counts, `exclusions` what
cannot toggle, `report` makes the table. docs/rtl.md, "Coverage".
"""
