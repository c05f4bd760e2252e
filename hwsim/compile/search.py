"""The fastest tiling of an operation: all of the absolute list, by exact time, with a lower bound first.

An operation is one or more nests that run one after the other (the sub-convolutions of a strided
BP), cut by the same interleave and size class. No program is shorter than the sum of its MATMULs or than
its bytes at full bandwidth, and both are known in closed form; so tilings are walked in the order of this
bound, until none that is left can win.
"""

from typing import Any

import numpy as np

from hwsim.config import AcceleratorConfig
from hwsim.config_vector import CONFIG_POSITION, config_vector
from hwsim.jit import compiled

from .blocking import INTERLEAVES, PE_BYTES, TILINGS, fits, set_blocks
from .counts import count_nests
from .evaluate import COUNTERS, evaluate_program, shape_vector
from .nest import Nests

_ROWS, _COLS = CONFIG_POSITION["rows"], CONFIG_POSITION["cols"]
_INTERLEAVE = CONFIG_POSITION["interleave"]
_BANDWIDTH = CONFIG_POSITION["dram_bytes_per_cycle"]
_ARRAY_PARTS = 6
_COUNTED = 14
"""Length of `counts.count_nests`' result; the first _ARRAY_PARTS are PE-cycles, the last two DRAM bytes."""
_ICS = np.array([columns for columns, _ in INTERLEAVES])
_IRS = np.array([rows for _, rows in INTERLEAVES])
_CLASSES = np.array(PE_BYTES)
NEVER = np.iinfo(np.int64).max


@compiled
def cut_operation(nests: Any, tiling: int, shape: Any, config: Any) -> bool:
    """Cut all nests by one tiling of the list. False where it does not fit the configuration."""
    ic, ir = _ICS[tiling // len(_CLASSES)], _IRS[tiling // len(_CLASSES)]
    limit = _CLASSES[tiling % len(_CLASSES)] * config[_ROWS] * config[_COLS]
    for nest in nests:
        if not set_blocks(nest, ic, ir, limit, shape):
            return False
        if not fits(nest, shape, config[_INTERLEAVE]):
            return False
    return True


@compiled
def lower_bound(nests: Any, config: Any) -> int:
    """Cycles that the program of cut nests takes at least."""
    found = np.zeros(_COUNTED, np.int64)
    count_nests(nests, config, found)
    array = found[:_ARRAY_PARTS].sum() // (config[_ROWS] * config[_COLS])
    return max(array, (found[_COUNTED - 2] + found[_COUNTED - 1]) // config[_BANDWIDTH])


@compiled
def search(nests: Any, shape: Any, config: Any, best: Any, found: Any) -> bool:
    """Cut `best` as the fastest tiling does, with its COUNTERS in `found`. False where none fits.

    Of equal times the tiling that stands first in the list wins.
    """
    bounds = np.full(TILINGS, NEVER, np.int64)
    for tiling in range(TILINGS):
        best[:] = nests
        if cut_operation(best, tiling, shape, config):
            bounds[tiling] = lower_bound(best, config)
    chosen = -1
    for tiling in np.argsort(bounds):
        if bounds[tiling] == NEVER or (chosen >= 0 and bounds[tiling] > found[0]):
            break
        best[:] = nests
        cut_operation(best, tiling, shape, config)
        counters = evaluate_program(best, shape, config)
        if chosen < 0 or counters[0] < found[0] or (counters[0] == found[0] and tiling < chosen):
            found[:] = counters
            chosen = tiling
    if chosen >= 0:
        best[:] = nests
        cut_operation(best, chosen, shape, config)
    return chosen >= 0


def fastest(nests: Nests, flow: int, config: AcceleratorConfig) -> tuple[Nests, list[int]] | None:
    """The nests as the fastest tiling cuts them and its COUNTERS; None where no tiling fits."""
    wanted = nests.copy()
    wanted["flow"] = flow
    best, found = wanted.copy(), np.zeros(len(COUNTERS), np.int64)
    if not search(wanted, shape_vector(config), config_vector(config), best, found):
        return None
    return best, found.tolist()
