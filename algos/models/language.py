"""A byte-level decoder transformer: pre-norm, causal, learned positions, untied head."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosparse.spec.errors import ShapeError


class CausalSelfAttention(nn.Module):
    """Multi-head causal attention with separate projections. `x`: (batch, tokens, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(projection(x)) for projection in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        """(batch, tokens, dim) -> (batch, heads, tokens, dim / heads)."""
        batch, tokens, dim = x.shape
        return x.view(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), then x + FFN(norm(x)) with a GELU FFN of 4 x dim."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = CausalSelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return cast("Tensor", x + self.ffn(self.norm2(x)))


class ByteLM(nn.Module):
    """Next-byte logits (batch, tokens, vocab) of ids (batch, tokens), tokens <= context."""

    def __init__(self, vocab: int, dim: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.embed = nn.Embedding(vocab, dim)
        self.position = nn.Parameter(torch.zeros(context, dim))
        self.blocks = nn.ModuleList(DecoderBlock(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocab, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[-1]
        if tokens > self.context:
            raise ShapeError(f"ids: expected at most {self.context} tokens, got {tokens}")
        x = self.embed(ids) + self.position[:tokens]
        for block in self.blocks:
            x = block(x)
        return cast("Tensor", self.head(self.norm(x)))


def byte_lm(
    vocab: int = 256, dim: int = 128, layers: int = 2, heads: int = 4, context: int = 128
) -> ByteLM:
    """Return the byte-level language model."""
    if dim % heads:
        raise ShapeError(f"dim: expected a multiple of heads = {heads}, got {dim}")
    return ByteLM(vocab, dim, layers, heads, context)
