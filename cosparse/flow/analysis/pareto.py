"""Pareto fronts and the hypervolume they dominate; every objective is minimised."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cosparse.spec import ShapeError

Values = NDArray[np.float64]


def pareto_front(values: Values) -> NDArray[np.bool_]:
    """Which points no other point dominates: at most as large in all objectives, smaller in one.

    values: (points, objectives), smaller is better. Equal points are on the front together. Takes
    O(n log n) for two objectives and O(n f) for more, f the size of the front. Raises ShapeError.
    """
    _check(values)
    unique, inverse = np.unique(values, axis=0, return_inverse=True)  # rows in lexicographic order
    kept = _sweep(unique) if values.shape[1] <= 2 else _filter(unique)
    front: NDArray[np.bool_] = kept[inverse.reshape(-1)]
    return front


def _sweep(unique: Values) -> NDArray[np.bool_]:
    """Lexicographic order: a point is on the front where its last objective is a new minimum."""
    last = unique[:, -1]
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(last)[:-1]])
    return last < best_before


def _filter(unique: Values) -> NDArray[np.bool_]:
    """Only points before it in lexicographic order can dominate a point, and only those on the front."""
    kept = np.zeros(len(unique), bool)
    remaining = np.arange(len(unique))
    while len(remaining):
        first, rest = remaining[0], remaining[1:]
        kept[first] = True
        remaining = rest[(unique[rest] < unique[first]).any(axis=1)]
    return kept


def hypervolume(values: Values, reference: Values) -> float:
    """Volume that the points dominate, up to the reference point; two or three objectives.

    values: (points, objectives); reference: (objectives,). Points beyond the reference count nothing.
    Raises ShapeError.
    """
    _check(values)
    if values.shape[1] not in (2, 3) or reference.shape != (values.shape[1],):
        raise ShapeError(
            "hypervolume: expected (points, 2 or 3) and a reference of as many objectives, got "
            f"{values.shape} and {reference.shape}"
        )
    inside = values[(values < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    front = np.unique(inside[pareto_front(inside)], axis=0)
    return _area(front, reference) if front.shape[1] == 2 else _volume(front, reference)


def _area(front: Values, reference: Values) -> float:
    """front: on the front, by ascending first objective."""
    right = np.append(front[1:, 0], reference[0])
    return float(((right - front[:, 0]) * (reference[1] - front[:, 1])).sum())


def _volume(front: Values, reference: Values) -> float:
    """Slices between neighbouring values of the first objective: the area of the points before them."""
    edges = np.append(np.unique(front[:, 0]), reference[0])
    total = 0.0
    for low, high in pairwise(edges.tolist()):
        below = front[front[:, 0] <= low, 1:]
        area = np.unique(below[pareto_front(below)], axis=0)
        total += (high - low) * _area(area, reference[1:])
    return float(total)


def _check(values: Values) -> None:
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ShapeError(
            f"expected finite values of shape (points, objectives), got {values.shape}"
            + ("" if values.ndim != 2 or not values.size else " with NaN or infinity")
        )
