"""The selection rule: keep the N entries of largest magnitude in each group of M.

Magnitudes compare as unsigned integers of the value rounded to the selection dtype. NaN ranks
highest, +0 and -0 tie, and on a tie the lower index wins. This function is the only implementation:
it uses nothing but comparison, slicing and addition, so NumPy arrays and torch tensors (eager,
compiled, on any device) go through the same code.
"""

from typing import Any

import numpy as np

from .dtypes import Array, magnitude_keys


def keep_largest(keys: Any, n: int) -> Any:
    """Mark the `n` largest of each group.

    keys: (m, ...) integer magnitudes, the group along the first axis (NumPy array or torch tensor).
    Returns a boolean array of the same shape with exactly min(n, m) marks along the first axis.

    An entry's rank is the number of entries that come before it: all larger ones, and equal ones
    of lower index. Entry j > i overtakes i only when it is strictly larger, hence
    rank[j] = j - #{i < j overtaken by j} + #{k > j overtaking j}.
    """
    m = keys.shape[0]
    rank = keys * 0
    for j in range(m):
        rank[j] += j
    for j in range(1, m):
        overtakes = keys[j] > keys[:j]
        rank[:j] += overtakes
        rank[j] -= overtakes.sum(0)
    return rank < n


def keep_top(scores: Array, count: int) -> Array:
    """Mark the `count` largest scores of a whole array (row-major order breaks ties)."""
    keys = magnitude_keys(scores).ravel()
    order = np.argsort(-keys, kind="stable")
    mask = np.zeros(keys.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(scores.shape)
