"""The accelerator as SimPy processes, with every burst and every tile: the readable authority on time.

    Frontend (one a unit)   fetches, waits for tokens, issues, signals         frontend.py, semaphores.py
    Dma, DramChannel        LOAD, STORE, FILL; single bursts                   dma.py, dram.py
    Stce                    MATMUL; single tiles (OS) and folds (WS)           stce.py, walk.py
    Sore, Wuve              PRUNE; UPDATE, VECTOR                              sore.py, wuve.py

It follows docs/microarchitecture.md to the cycle. Time is an integer, and no unit decides anything
by the order of events inside a cycle, so the result does not depend on it.
"""

from .records import Burst, InstructionRecord, Stall, Tile, Trace, UnitCycles
from .simulation import run

__all__ = ["Burst", "InstructionRecord", "Stall", "Tile", "Trace", "UnitCycles", "run"]
