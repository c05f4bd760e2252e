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
from hwsim.isa import Lhs
from hwsim.jit import compiled, unowned

from .blocking import INTERLEAVES, PE_BYTES, TILINGS, fits, set_blocks
from .clock import new_clock
from .counts import count_nests
from .evaluate import COUNTERS, shape_vector, time_program
from .nest import NEST, Nests
from .strips import cut_strips

_ROWS, _COLS = CONFIG_POSITION["rows"], CONFIG_POSITION["cols"]
_INTERLEAVE = CONFIG_POSITION["interleave"]
_BANDWIDTH = CONFIG_POSITION["dram_bytes_per_cycle"]
_COLUMN = int(Lhs.COLUMN)
_ARRAY_PARTS = 6
_COUNTED = 14
"""Length of `counts.count_nests`' result; the first _ARRAY_PARTS are PE-cycles, the last two DRAM bytes."""
_ICS = np.array([columns for columns, _ in INTERLEAVES])
_IRS = np.array([rows for _, rows in INTERLEAVES])
_CLASSES = np.array(PE_BYTES)
MAX_STRIPS = 16
"""Into which a row of tokens is cut at most."""
NEVER = np.iinfo(np.int64).max


@compiled
def cut_operation(nests: Any, tiling: int, shape: Any, config: Any, cut: Any) -> int:
    """Cut one tiling of the list into `cut`: the number of its nests, 0 where it does not fit.

    Where the size class holds no whole row of tokens, the rows are cut into the fewest strips that it
    does hold, whatever the scratchpads hold. WU's sums run along the rows, which stay whole.
    """
    ic, ir = _ICS[tiling // len(_CLASSES)], _IRS[tiling // len(_CLASSES)]
    limit = _CLASSES[tiling % len(_CLASSES)] * config[_ROWS] * config[_COLS]
    parts = 1
    while parts == 1 or (parts <= MAX_STRIPS and parts < 2 * nests[0].out_w):
        count = cut_strips(nests, parts, cut)
        if _can_be_cut(cut[:count], ic, ir, limit, shape):
            return count if _all_fit(cut[:count], shape, config) else 0
        if nests[0].lhs == _COLUMN:
            return 0
        parts *= 2
    return 0


@compiled
def _can_be_cut(nests: Any, ic: int, ir: int, limit: int, shape: Any) -> bool:
    for position in range(nests.shape[0]):
        if not set_blocks(nests[position], ic, ir, limit, shape):
            return False
    return True


@compiled
def _all_fit(nests: Any, shape: Any, config: Any) -> bool:
    for position in range(nests.shape[0]):
        if not fits(nests[position], shape, config[_INTERLEAVE]):
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
def search(nests: Any, shape: Any, config: Any, w: Any, channel: Any, best: Any, found: Any) -> int:
    """Cut `best` as the fastest tiling does, its COUNTERS in `found`. The number of nests, 0 if none fits.

    Of equal times the tiling that stands first in the list wins. w, channel: `new_clock`.
    """
    nests, best, found, w, channel = (
        unowned(nests),
        unowned(best),
        unowned(found),
        unowned(w),
        unowned(channel),
    )
    shape, config = unowned(shape), unowned(config)
    counters = np.zeros(found.shape[0], np.int64)
    bounds = np.full(TILINGS, NEVER, np.int64)
    for tiling in range(TILINGS):
        count = cut_operation(nests, tiling, shape, config, best)
        if count > 0:
            bounds[tiling] = lower_bound(best[:count], config)
    chosen = -1
    for tiling in np.argsort(bounds):
        if bounds[tiling] == NEVER or (chosen >= 0 and bounds[tiling] > found[0]):
            break
        count = cut_operation(nests, tiling, shape, config, best)
        time_program(best[:count], shape, config, w, channel, counters)
        if chosen < 0 or counters[0] < found[0] or (counters[0] == found[0] and tiling < chosen):
            found[:] = counters
            chosen = tiling
    return cut_operation(nests, chosen, shape, config, best) if chosen >= 0 else 0


def fastest(nests: Nests, flow: int, config: AcceleratorConfig) -> tuple[Nests, list[int]] | None:
    """The nests as the fastest tiling cuts them and its COUNTERS; None where no tiling fits."""
    wanted = nests.copy()
    wanted["flow"] = flow
    best = np.zeros(len(nests) * MAX_STRIPS, NEST)
    found = np.zeros(len(COUNTERS), np.int64)
    vector = config_vector(config)
    w, channel = new_clock(vector)
    count = search(wanted, shape_vector(config), vector, w, channel, best, found)
    return (best[:count], found.tolist()) if count else None
