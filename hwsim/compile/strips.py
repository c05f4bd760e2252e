"""Nests cut into strips of pixel columns, for scratchpads that hold no whole row of tokens."""

from collections.abc import Iterator

import numpy as np

from .nest import NEST, Nests


def split_width(nests: Nests, parts: int) -> Nests:
    """FF and BP whose token rows are too wide for the scratchpads: strips of columns, one after the other."""
    return np.array([strip for nest in nests for strip in _strips(nest, parts)], NEST)


def _strips(nest: Nests, parts: int) -> Iterator[Nests]:
    out_w = int(nest["out_w"])
    width = -(-out_w // parts)
    for start in range(0, out_w, width):
        yield _strip(nest, start, min(width, out_w - start))


def _strip(nest: Nests, start: int, width: int) -> Nests:
    """Tokens [start, start + width) of every token row, with the pixels that they read."""
    strip = nest.copy()
    taps = (int(nest["taps_x"]) - 1) * int(nest["step_x"])
    first = int(nest["origin_x"]) + start * int(nest["stride_x"])
    low = max(0, min(first + min(taps, 0), int(nest["in_w"]) - 1))
    last = first + (width - 1) * int(nest["stride_x"]) + max(taps, 0)
    high = max(low + 1, min(int(nest["in_w"]), last + 1))
    strip["out_w"], strip["in_w"], strip["origin_x"] = width, high - low, first - low
    strip["act"] += low * nest["act_pixel"]
    strip["out"] += start * nest["out_pixel"]
    return strip
