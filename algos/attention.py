"""MultiheadAttention and TransformerEncoderLayer whose projections follow a plan.

torch's own modules bypass replaced projections: MultiheadAttention never calls its out_proj, and
TransformerEncoderLayer runs a fused kernel in eval mode. These classes compute the same function
through `sparse_linear`, with the same parameters and state_dict keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import sparse_linear
from .plan import LayerPlan


class SparseMultiheadAttention(nn.MultiheadAttention):
    """Self-attention through one fused QKV product; cross-attention through three.

    A fused product groups BP along all 3D outputs, three products along D each.
    """

    in_plan: LayerPlan
    out_plan: LayerPlan

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Arguments and results as in torch: (batch, tokens, D) if batch_first, else (tokens, batch, D)."""
        single = query.dim() == 2
        first = self.batch_first or single
        q, k, v = self._project(query, key, value)
        q, k, v = (self._heads(t if not single else t.unsqueeze(0), first) for t in (q, k, v))
        mask = _joined_mask(q, k, attn_mask, key_padding_mask, is_causal)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = _attention_weights(q, k, mask)
            weights = F.dropout(weights, dropout)
            mixed = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights.squeeze(0) if single else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        joined = mixed.transpose(1, 2).flatten(2)
        out = sparse_linear(joined, self.out_proj.weight, self.out_proj.bias, self.out_plan)
        if single:
            return out.squeeze(0), weights
        return (out if first else out.transpose(0, 1)), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key and key is value:
            return sparse_linear(query, weight, bias, self.in_plan).chunk(3, dim=-1)
        biases = (None, None, None) if bias is None else bias.chunk(3)
        return tuple(
            sparse_linear(x, w, b, self.in_plan)
            for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True)
        )

    def _heads(self, x: Tensor, batch_first: bool) -> Tensor:
        """(batch, tokens, D) -> (batch, heads, tokens, D / heads)."""
        x = x if batch_first else x.transpose(0, 1)
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)


def _joined_mask(
    q: Tensor, k: Tensor, attn_mask: Tensor | None, padding: Tensor | None, is_causal: bool
) -> Tensor | None:
    """One additive mask, broadcastable to (batch, heads, queries, keys)."""
    if attn_mask is None and is_causal:
        shape = (q.shape[-2], k.shape[-2])
        attn_mask = torch.ones(shape, dtype=torch.bool, device=q.device).triu(1)
    total = None
    if attn_mask is not None:
        total = _additive(attn_mask, q)
        if total.dim() == 3:  # (batch * heads, queries, keys)
            total = total.unflatten(0, (q.shape[0], q.shape[1]))
    if padding is not None:
        by_key = _additive(padding.view(-1, 1, 1, k.shape[-2]), q)
        total = by_key if total is None else total + by_key
    return total


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """True means "do not attend" in torch's modules; floats are already added to the scores."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    zeros = torch.zeros_like(mask, dtype=like.dtype)
    return zeros.masked_fill(mask, float("-inf"))


def _attention_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores: Tensor = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (scores if mask is None else scores + mask).softmax(-1)


class SparseTransformerEncoderLayer(nn.TransformerEncoderLayer):
    """The layer-by-layer path in train and eval mode alike."""

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        if self.norm_first:
            x: Tensor = src + self._sa_block(
                self.norm1(src), src_mask, src_key_padding_mask, is_causal
            )
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(src + self._sa_block(src, src_mask, src_key_padding_mask, is_causal))
        normed: Tensor = self.norm2(x + self._ff_block(x))
        return normed
