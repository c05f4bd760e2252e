"""A weight seen in blocks of rows x cols (outputs x inputs), in torch; see `cosparse.spec.patterns`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosparse.spec import Block
from cosparse.spec.patterns import kept_count


def to_blocks(values: Tensor, pattern: Block, conv_groups: int = 1) -> Tensor:
    """(conv_groups, taps, block rows, rows, block columns, cols); edges padded with zeros.

    values: (out, in / conv_groups, *taps).
    """
    split = values.reshape(conv_groups, -1, values.shape[1], values[0, 0].numel())
    matrices = split.permute(0, 3, 1, 2)
    rows, columns = matrices.shape[-2:]
    full = F.pad(matrices, (0, -columns % pattern.cols, 0, -rows % pattern.rows))
    blocks: Tensor = full.unflatten(-1, (-1, pattern.cols)).unflatten(2, (-1, pattern.rows))
    return blocks


def from_grid(grid: Tensor, like: Tensor, pattern: Block) -> Tensor:
    """Repeat one value a block, (conv_groups, taps, block rows, block columns), over its entries."""
    full = grid.repeat_interleave(pattern.rows, 2).repeat_interleave(pattern.cols, 3)
    groups = grid.shape[0]
    cut = full[:, :, : like.shape[0] // groups, : like.shape[1]]
    return cut.permute(0, 2, 3, 1).reshape(like.shape)


def block_mask(
    values: Tensor, pattern: Block, *, conv_groups: int = 1, dtype: str = "float16"
) -> Tensor:
    """The share `density` of the blocks with the largest sums of magnitudes, as `cosparse.spec.select`."""
    rounded = values.detach().to(getattr(torch, dtype)).abs().double()
    blocks = to_blocks(rounded, pattern, conv_groups)
    # added one by one, as the vocabulary adds: the order decides how float32 sums round
    by_rows = blocks[:, :, :, 0]
    for row in range(1, pattern.rows):
        by_rows = by_rows + blocks[:, :, :, row]
    sums = by_rows[..., 0]
    for column in range(1, pattern.cols):
        sums = sums + by_rows[..., column]
    return from_grid(_keep_top(sums.flatten(), pattern).view(sums.shape), values, pattern)


def _keep_top(sums: Tensor, pattern: Block) -> Tensor:
    """NaN ranks above infinity; ties go to the block that comes first."""
    keys = sums.view(torch.int64).masked_fill(sums.isnan(), torch.iinfo(torch.int64).max)
    order = keys.sort(descending=True, stable=True).indices
    kept = torch.zeros(len(keys), dtype=torch.bool, device=keys.device)
    kept[order[: kept_count(pattern.density, len(keys))]] = True
    return kept


def block_norms(values: Tensor, pattern: Block, conv_groups: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean norm and number of entries of each block, both (conv_groups, taps, rows, columns)."""
    blocks = to_blocks(values, pattern, conv_groups)
    sizes = to_blocks(torch.ones_like(values), pattern, conv_groups).sum((3, 5))
    return blocks.square().sum((3, 5)).sqrt(), sizes
