"""BERT's encoder (Devlin et al., NAACL 2019): post-norm, separate projections, three embeddings.

In place of the pooler stands a classifier on the first token.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosparse.spec.errors import ShapeError


class SelfAttention(nn.Module):
    """Multi-head attention over all tokens with separate projections. `x`: (batch, tokens, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))


class EncoderLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + FFN(x)) with a GELU FFN of 4 x dim."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = SelfAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim, eps=1e-12)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.norm2 = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x))
        return cast("Tensor", self.norm2(x + self.ffn(x)))


class Bert(nn.Module):
    """Logits (batch, classes) of ids (batch, tokens) of one segment, tokens <= context."""

    def __init__(
        self, vocab: int, dim: int, layers: int, heads: int, context: int, num_classes: int
    ) -> None:
        super().__init__()
        self.context = context
        self.word = nn.Embedding(vocab, dim)
        self.position = nn.Parameter(torch.empty(context, dim).normal_(std=0.02))
        self.segment = nn.Parameter(torch.zeros(2, dim))
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads) for _ in range(layers))
        self.head = nn.Linear(dim, num_classes)
        nn.init.normal_(self.word.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[-1]
        if tokens > self.context:
            raise ShapeError(f"ids: expected at most {self.context} tokens, got {tokens}")
        x = self.norm(self.word(ids) + self.position[:tokens] + self.segment[0])
        for layer in self.layers:
            x = layer(x)
        return cast("Tensor", self.head(x[:, 0]))


def bert_base(num_classes: int = 2, vocab: int = 30_522, context: int = 512) -> Bert:
    """Return BERT-base: 12 layers of width 768."""
    return Bert(vocab, 768, 12, 12, context, num_classes)
