"""Factors of a given weight for the structured layers: truncated SVDs, and polar factors.

Every structure here is made of low-rank parts of W: all of it (low-rank), its column blocks
(block-dense), or its parts between one input block and one residue of the outputs (block-shuffle,
as Monarch's projection, Dao et al., ICML 2022). A truncated SVD is the best fit of each part.
"""

import torch
from torch import Tensor


def low_rank(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """V (rank, in) and U (out, rank) with U V the best fit of `weight` (out, in) of that rank."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = values[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def block_dense(weight: Tensor, rank: int, blocks: int) -> tuple[Tensor, Tensor]:
    """V_b (blocks, rank / blocks, in / blocks) and U (out, rank), block after block of the inputs."""
    parts = [low_rank(part, rank // blocks) for part in weight.chunk(blocks, 1)]
    return torch.stack([v for v, _ in parts]), torch.cat([u for _, u in parts], 1)


def block_shuffle(weight: Tensor, inner: int, blocks: int) -> tuple[Tensor, Tensor]:
    """V_b (blocks, q, in / blocks) and U_b (blocks, out / blocks, q), q = inner / blocks.

    Channel l q + a of the inner vector is channel (l q + a) // b of block (l q + a) % b after the
    shuffle; output block j holds the outputs j, j + b, j + 2 b, ...
    """
    outputs, inputs = weight.shape
    width = inner // blocks
    first = weight.new_zeros(blocks, width, inputs // blocks)
    second = weight.new_zeros(blocks, outputs // blocks, width)
    for block, columns in enumerate(weight.chunk(blocks, 1)):
        places = block * width + torch.arange(width)
        for residue in range(blocks):
            own = (places % blocks == residue).nonzero().squeeze(1)
            v, u = low_rank(columns[residue::blocks], len(own))
            first[block, own[: len(v)]] = v
            second[residue][:, places[own[: len(v)]] // blocks] = u
    return first, second


def polar(matrices: Tensor) -> Tensor:
    """The orthonormal factor U V^T of (..., a, b) matrices U S V^T, in place of each."""
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    factor: Tensor = left @ right
    return factor
