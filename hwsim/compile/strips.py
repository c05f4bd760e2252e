"""Nests cut into strips of pixel columns, for blocks that hold no whole row of tokens."""

from typing import Any

import numpy as np

from hwsim.jit import compiled

from .nest import NEST, Nests
from .transfers import ceil_div


@compiled
def cut_strips(nests: Any, parts: int, found: Any) -> int:
    """Write FF or BP nests as up to `parts` strips each, one after the other; returns their number.

    found: room for len(nests) * parts nests.
    """
    count = 0
    for position in range(nests.shape[0]):
        out_w = nests[position].out_w
        width = ceil_div(out_w, parts)
        for start in range(0, out_w, width):
            found[count] = nests[position]
            _narrow(found[count], start, min(width, out_w - start))
            count += 1
    return count


@compiled
def _narrow(strip: Any, start: int, width: int) -> None:
    """Tokens [start, start + width) of every token row, with the pixels that they read."""
    reach = (strip.taps_x - 1) * strip.step_x
    first = strip.origin_x + start * strip.stride_x
    low = max(0, min(first + min(reach, 0), strip.in_w - 1))
    last = first + (width - 1) * strip.stride_x + max(reach, 0)
    high = max(low + 1, min(strip.in_w, last + 1))
    strip.out_w = width
    strip.in_w = high - low
    strip.origin_x = first - low
    strip.act += low * strip.act_pixel
    strip.out += start * strip.out_pixel


def split_width(nests: Nests, parts: int) -> Nests:
    """FF and BP nests in strips, one after the other."""
    found = np.zeros(len(nests) * parts, NEST)
    return found[: cut_strips(nests, parts, found)]
