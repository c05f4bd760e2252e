"""The fastest tiling of an operation: all of the absolute list, by exact time, with a lower bound first.

Scratchpads and the interleave limit decide which tilings run and nothing else, so one search answers for
any number of them and times a tiling once.

An operation is one or more nests that run one after the other (the sub-convolutions of a strided
BP), cut by the same interleave and size class. No program is shorter than the sum of its MATMULs or than
its bytes at full bandwidth, and both are known in closed form; so tilings are walked in the order of this
bound, until none that is left can win.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.config import AcceleratorConfig
from hwsim.config_vector import CONFIG_POSITION, config_vector
from hwsim.isa import Lhs
from hwsim.jit import compiled, unowned

from .blocking import INTERLEAVES, PE_BYTES, TILINGS, acc_words, act_words, set_blocks, wgt_words
from .clock import new_clock
from .counts import count_nests
from .evaluate import COUNTERS, shape_vector, time_program
from .nest import NEST, Nests
from .state import ACC_HALF, ACT_HALF, ACT_LANES, LANES, WGT_HALF
from .strips import cut_strips

_ROWS, _COLS = CONFIG_POSITION["rows"], CONFIG_POSITION["cols"]
_BANDWIDTH = CONFIG_POSITION["dram_bytes_per_cycle"]
_COLUMN = int(Lhs.COLUMN)
_ARRAY_PARTS = 6
COUNTED = 14
"""Length of `counts.count_nests`' result; the first _ARRAY_PARTS are PE-cycles, the last two DRAM bytes."""
_ICS = np.array([columns for columns, _ in INTERLEAVES])
_IRS = np.array([rows for _, rows in INTERLEAVES])
_CLASSES = np.array(PE_BYTES)
MAX_STRIPS = 16
"""Into which a row of tokens is cut at most."""

LIMITS = ("interleave", "act_words", "wgt_words", "acc_words")
"""What decides whether a tiling runs: the interleave limit and the words of a half of each scratchpad."""
_LIMITS = len(LIMITS)
NEVER = np.iinfo(np.int64).max


@compiled
def cut_operation(nests: Any, tiling: int, shape: Any, config: Any, cut: Any) -> int:
    """Cut one tiling of the list into `cut`: the number of its nests, 0 where it cannot be cut.

    Where the size class holds no whole row of tokens, the rows are cut into the fewest strips that it
    does hold, whatever the scratchpads hold. WU's sums run along the rows, which stay whole.
    """
    ic, ir = _ICS[tiling // len(_CLASSES)], _IRS[tiling // len(_CLASSES)]
    limit = _CLASSES[tiling % len(_CLASSES)] * config[_ROWS] * config[_COLS]
    parts = 1
    while parts == 1 or (parts <= MAX_STRIPS and parts < 2 * nests[0].out_w):
        count = cut_strips(nests, parts, cut)
        if _can_be_cut(cut[:count], ic, ir, limit, shape):
            return count
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
def _write_needs(nests: Any, shape: Any, needs: Any) -> None:
    """The least LIMITS under which cut nests run."""
    needs[:] = 0
    for position in range(nests.shape[0]):
        nest = nests[position]
        needs[0] = nest.ic * nest.ir
        needs[1] = max(needs[1], act_words(nest, shape[ACT_LANES]))
        needs[2] = max(needs[2], wgt_words(nest, shape[LANES]))
        needs[3] = max(needs[3], acc_words(nest, shape[LANES]))


@compiled
def _within(needs: Any, limits: Any) -> bool:
    for limit in range(_LIMITS):
        if needs[limit] > limits[limit]:
            return False
    return True


@compiled
def _within_any(needs: Any, limits: Any) -> bool:
    for position in range(limits.shape[0]):
        if _within(needs, limits[position]):
            return True
    return False


@compiled
def lower_bound(counted: Any, config: Any) -> int:
    """Cycles that a program takes at least. counted: `count_nests` of its nests."""
    array = counted[:_ARRAY_PARTS].sum() // (config[_ROWS] * config[_COLS])
    return max(array, (counted[COUNTED - 2] + counted[COUNTED - 1]) // config[_BANDWIDTH])


@compiled
def search(
    nests: Any,
    shape: Any,
    config: Any,
    limits: Any,
    w: Any,
    channel: Any,
    cut: Any,
    counted: Any,
    timed: Any,
    fastest_of: Any,
) -> None:
    """For each row of limits the fastest tiling that runs, or -1, into `fastest_of`.

    counted, timed: (TILINGS, COUNTED) `count_nests` and (TILINGS, COUNTERS) of tilings that were
    timed, so of the fastest ones. Of equal times the tiling that stands first in the list wins. cut: room for
    MAX_STRIPS nests for each of `nests`. w, channel: `new_clock`.
    """
    nests, cut, w, channel = unowned(nests), unowned(cut), unowned(w), unowned(channel)
    shape, config = unowned(shape), unowned(config)
    bounds, needs = np.full(TILINGS, NEVER, np.int64), np.zeros((TILINGS, _LIMITS), np.int64)
    for tiling in range(TILINGS):
        counted[tiling], timed[tiling] = 0, 0
        count = cut_operation(nests, tiling, shape, config, cut)
        if count > 0:
            _write_needs(cut[:count], shape, needs[tiling])
            if _within_any(needs[tiling], limits):
                count_nests(cut[:count], config, counted[tiling])
                bounds[tiling] = lower_bound(counted[tiling], config)
    order = np.argsort(bounds)
    for row in range(limits.shape[0]):
        chosen = -1
        for tiling in order:
            if bounds[tiling] == NEVER or (chosen >= 0 and bounds[tiling] > timed[chosen, 0]):
                break
            if not _within(needs[tiling], limits[row]):
                continue
            if timed[tiling, 0] == 0:
                count = cut_operation(nests, tiling, shape, config, cut)
                time_program(cut[:count], shape, config, w, channel, timed[tiling])
            cycles = timed[tiling, 0]
            if chosen < 0 or (cycles, tiling) < (timed[chosen, 0], chosen):
                chosen = tiling
        fastest_of[row] = chosen


@compiled
def cut_fastest(
    nests: Any, shape: Any, config: Any, limits: Any, w: Any, channel: Any, cut: Any, found: Any
) -> int:
    """Cut `cut` as the fastest tiling within the limits does. The number of its nests, 0 if none runs.

    limits: (1, LIMITS). found: its COUNTERS.
    """
    counted = np.zeros((TILINGS, COUNTED), np.int64)
    timed = np.zeros((TILINGS, found.shape[0]), np.int64)
    chosen = np.zeros(1, np.int64)
    search(nests, shape, config, limits, w, channel, cut, counted, timed, chosen)
    if chosen[0] < 0:
        return 0
    found[:] = timed[chosen[0]]
    return cut_operation(nests, chosen[0], shape, config, cut)


def limits_of(config: AcceleratorConfig) -> npt.NDArray[np.int64]:
    """LIMITS of one configuration: (1, 4)."""
    shape = shape_vector(config)
    return np.array([[config.interleave, *shape[[ACT_HALF, WGT_HALF, ACC_HALF]]]], np.int64)


def fastest(nests: Nests, flow: int, config: AcceleratorConfig) -> tuple[Nests, list[int]] | None:
    """The nests as the fastest tiling cuts them and its COUNTERS; None where no tiling fits."""
    wanted = nests.copy()
    wanted["flow"] = flow
    cut = np.zeros(len(nests) * MAX_STRIPS, NEST)
    found = np.zeros(len(COUNTERS), np.int64)
    vector = config_vector(config)
    w, channel = new_clock(vector)
    limits = limits_of(config)
    count = cut_fastest(wanted, shape_vector(config), vector, limits, w, channel, cut, found)
    return (cut[:count], found.tolist()) if count else None
