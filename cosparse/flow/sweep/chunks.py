"""Points as chunks of work: those that share exact times stay together."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hwsim.config_vector import CONFIG_POSITION
from hwsim.step import GROUP_ORDER, LATENCY_FIELDS

from .space import Points

MOST_POINTS = 4096
"""Of a chunk, unless one group has more: what is lost by a kill, and written in one transaction."""
MOST_GROUPS = 16

Rows = npt.NDArray[np.int64]

_LATENCIES = [CONFIG_POSITION[name] for name in LATENCY_FIELDS]
_STREAMS = [position for position in GROUP_ORDER if position not in _LATENCIES]


def chunks_of(points: Points) -> Iterator[Rows]:
    """Rows of each chunk: one variant and dataflow, whole groups of `hwsim.step` where they fit.

    Groups that share their updates and streaming work lie in one chunk as far as it has room.
    """
    if not len(points):
        return
    kinds = np.stack([points.variants, points.flows], axis=1)
    shared = np.concatenate([kinds, points.configs[:, GROUP_ORDER]], axis=1)
    order = np.lexsort(shared.T[::-1])
    streams = np.concatenate([kinds, points.configs[:, _STREAMS]], axis=1)[order]
    groups = _borders(shared[order])
    kind_ends = set(_borders(kinds[order]).tolist())
    stream_ends = set(_borders(streams).tolist())
    begin, count, last = 0, 0, 0
    for end in groups.tolist():
        if count and (end - begin > MOST_POINTS or count >= MOST_GROUPS):
            yield order[begin:last]
            begin, count = last, 0
        count, last = count + 1, end
        full = end - begin > MOST_POINTS // 2 or count > MOST_GROUPS // 2
        if end in kind_ends or (full and end in stream_ends):
            yield order[begin:end]
            begin, count = end, 0


def _borders(rows: Rows) -> Rows:
    """Where runs of equal rows end."""
    changes = np.flatnonzero((np.diff(rows, axis=0) != 0).any(axis=1)) + 1
    return np.append(changes, len(rows))


def group_count(points: Points) -> int:
    """Groups of points that share their exact times."""
    if not len(points):
        return 0
    kinds = np.stack([points.variants, points.flows], axis=1)
    return len(np.unique(np.concatenate([kinds, points.configs[:, GROUP_ORDER]], axis=1), axis=0))
