"""Vision transformers (Dosovitskiy et al., ICLR 2021): ViT-B/16 and two small ones.

ViT-B/16 has torchvision's shapes. Attention has a fused `qkv` Linear and an `out` Linear, which
nn.MultiheadAttention would bypass.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosparse.spec.errors import ShapeError


class SelfAttention(nn.Module):
    """Multi-head attention over all tokens. `x`: (batch, tokens, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) with a GELU MLP of 4 x dim."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, heads)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return cast("Tensor", x + self.mlp(self.ln_2(x)))


class VisionTransformer(nn.Module):
    """Logits (batch, classes) of images (batch, channels, image, image)."""

    def __init__(
        self,
        image: int,
        patch: int,
        dim: int,
        layers: int,
        heads: int,
        num_classes: int,
        channels: int = 3,
    ) -> None:
        super().__init__()
        _check_multiple("dim", dim, "heads", heads)
        _check_multiple("image", image, "patch", patch)
        tokens = (image // patch) ** 2 + 1
        self.conv_proj = nn.Conv2d(channels, dim, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, dim).normal_(std=0.02))
        self.blocks = nn.ModuleList(EncoderBlock(dim, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(len(x), -1, -1)
        h = torch.cat([class_token, patches], dim=1) + self.pos_embedding
        for block in self.blocks:
            h = block(h)
        return cast("Tensor", self.head(self.ln(h)[:, 0]))


def vit_b_16(num_classes: int = 1000) -> VisionTransformer:
    """Return ViT-B/16 for 224 x 224 images."""
    return VisionTransformer(224, 16, 768, 12, 12, num_classes)


def cifar_vit(
    num_classes: int = 100, dim: int = 384, layers: int = 7, heads: int = 6, patch: int = 4
) -> VisionTransformer:
    """Return a small ViT for 32 x 32 images. The sizes are our choice: no paper fixes them."""
    return VisionTransformer(32, patch, dim, layers, heads, num_classes)


def digits_vit(
    num_classes: int = 10, dim: int = 64, layers: int = 2, heads: int = 4, patch: int = 2
) -> VisionTransformer:
    """Return a ViT for 8 x 8 digits; its widths hold whole groups of up to 64."""
    return VisionTransformer(8, patch, dim, layers, heads, num_classes, channels=1)


def _check_multiple(name: str, value: int, of: str, divisor: int) -> None:
    if divisor < 1 or value % divisor:
        raise ShapeError(f"{name}: expected a multiple of {of} = {divisor}, got {value}")
