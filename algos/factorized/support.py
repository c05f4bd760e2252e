"""Fixed random supports of a sparse weight (out, in, *taps): where it has entries, for all of training.

A random support has a share of all positions, wherever they fall. A strided support has exactly n
entries in every m consecutive inputs of an output and in every m consecutive outputs of an input, so
that FF and BP both run N:M: each m x m tile of each tap holds n random permutations that do not meet.
"""

from math import prod

import torch
from torch import Tensor

from cosparse.spec import NM


def random_support(
    shape: tuple[int, ...], density: float, generator: torch.Generator | None = None
) -> Tensor:
    """Ascending flat positions: int(density * entries) of them, at least one (Han et al., 2024)."""
    size = prod(shape)
    count = max(1, int(density * size))
    return torch.randperm(size, generator=generator)[:count].sort().values


def strided_support(
    shape: tuple[int, ...], pattern: NM, generator: torch.Generator | None = None
) -> Tensor:
    """Ascending flat positions. shape: (out, in, *taps), both channel counts multiples of m."""
    n, m = pattern.n, pattern.m
    taps, rows, columns = prod(shape[2:]), shape[0] // m, shape[1] // m
    tiles = taps * rows * columns
    order = torch.rand(tiles, m, generator=generator).argsort(1)
    shifts = torch.rand(tiles, m, generator=generator).argsort(1)[:, :n]
    # Row i of a tile has its entries at order[i + shift]: no two rows share a column of one shift.
    places = (torch.arange(m)[None, :, None] + shifts[:, None, :]) % m
    entries = order.gather(1, places.flatten(1)).view(tiles, m, n)
    mask = torch.zeros(tiles, m, m, dtype=torch.bool).scatter(2, entries, True)
    grid = mask.view(taps, rows, columns, m, m).permute(1, 3, 2, 4, 0)
    return grid.reshape(-1).nonzero().squeeze(1)
