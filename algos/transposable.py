"""Masks that are N:M along both axes at once: one packed support serves FF and BP.

Every M x M block keeps at most N entries in each row and each column. The largest entries are taken first
as long as their row and column have room: at least half the magnitude of the best such mask (Hubara et al.,
NeurIPS 2021, the 2-approximation). A block that is filled up this way can end with a row below N.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosparse.spec import NM

from .selection import selection_keys


def transposable_mask(
    values: Tensor, pattern: NM, *, conv_groups: int = 1, dtype: str = "float16"
) -> Tensor:
    """values: (out, in / conv_groups, *taps). Boolean mask of that shape.

    Blocks never cross a convolution group or a tap; those cut by an edge are padded with +0.
    """
    keys = selection_keys(values, dtype).unflatten(0, (conv_groups, -1))
    matrices = keys.flatten(3).permute(0, 3, 1, 2) if keys.dim() > 3 else keys[:, None]
    rows, columns = matrices.shape[-2:]
    m = pattern.m
    # -1 marks padding: it comes last, and is cut off again
    tiles = F.pad(matrices, (0, -columns % m, 0, -rows % m), value=-1)
    tiles = tiles.unflatten(-1, (-1, m)).unflatten(-3, (-1, m)).transpose(-3, -2)
    kept = _keep_greedily(tiles.reshape(-1, m, m), pattern.n).view(tiles.shape)
    mask = kept.transpose(-3, -2).flatten(-4, -3).flatten(-2)[..., :rows, :columns]
    return mask.permute(0, 2, 3, 1).reshape(values.shape)


def _keep_greedily(keys: Tensor, n: int) -> Tensor:
    """keys: (blocks, m, m) integer magnitudes, ties to the lower index. Boolean, same shape."""
    blocks, m, _ = keys.shape
    order = keys.flatten(1).sort(dim=1, descending=True, stable=True).indices
    row_room = torch.full((blocks, m), n, device=keys.device)
    column_room = row_room.clone()
    kept = torch.zeros((blocks, m * m), dtype=torch.bool, device=keys.device)
    for place in order.unbind(1):
        row, column = (place // m)[:, None], (place % m)[:, None]
        room = (row_room.gather(1, row) > 0) & (column_room.gather(1, column) > 0)
        row_room.scatter_add_(1, row, -room.long())
        column_room.scatter_add_(1, column, -room.long())
        kept.scatter_(1, place[:, None], room)
    return kept.view(keys.shape)
