"""Layers that factors are made of, beside the stock ones.

A block-diagonal convolution is a stock Conv2d with groups.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .views import Layer


class BlockLinear(nn.Module):
    """Block-diagonal product without bias. weight: (blocks, out / blocks, in / blocks)."""

    kernels: str | None = None
    """As `LayerPlan.kernels`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out), one batched product over the blocks."""
        if self.kernels == "cpu" and not x.is_meta:
            from ..factor_products import block_linear

            return block_linear(x, self.weight)
        blocks, _, inputs = self.weight.shape
        parts = x.reshape(-1, blocks, inputs).transpose(0, 1)
        y = torch.bmm(parts, self.weight.mT).transpose(0, 1)
        return y.reshape(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        blocks, outputs, inputs = self.weight.shape
        return f"{blocks} blocks of {outputs}x{inputs}"


class Shuffle(nn.Module):
    """The stride permutation f: channel i * blocks + j becomes channel i of block j.

    axis: of the channels, counted from the end: -1 (Linear) or -3 (Conv2d).
    """

    def __init__(self, blocks: int, axis: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.blocks = blocks
        self.axis = axis
        self.inverse = inverse

    def forward(self, x: Tensor) -> Tensor:
        split = (self.blocks, -1) if self.inverse else (-1, self.blocks)
        y: Tensor = x.unflatten(self.axis, split).transpose(self.axis - 1, self.axis)
        return y.flatten(self.axis - 1, self.axis)

    def extra_repr(self) -> str:
        return f"{self.blocks} blocks{', inverse' if self.inverse else ''}"


class Bias(nn.Module):
    """y = x + bias along the channels, the axis -1 (Linear) or -3 (Conv2d)."""

    def __init__(self, bias: nn.Parameter, axis: int) -> None:
        super().__init__()
        self.bias = bias
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(-1, *[1] * (-1 - self.axis))


class FixedSupport(nn.Module):
    """A weight with entries at fixed positions: only they are stored and trained.

    values: (entries,) trained; positions: (entries,) ascending flat places in `shape`.
    """

    values: nn.Parameter
    positions: Tensor
    shape: tuple[int, ...]

    def dense_weight(self) -> Tensor:
        """The weight with +0 off the support, differentiable in `values`."""
        flat = self.values.new_zeros(math.prod(self.shape))
        return flat.index_put((self.positions,), self.values).view(self.shape)

    def extra_repr(self) -> str:
        return f"{len(self.values)} entries of {'x'.join(map(str, self.shape))}"


class FixedSupportLinear(FixedSupport, nn.Linear):
    """A Linear whose weight has a fixed support."""

    kernels: str | None = None
    """As `LayerPlan.kernels`."""

    def forward(self, input: Tensor) -> Tensor:
        if self.kernels == "cpu" and not input.is_meta:
            from ..factor_products import support_linear

            return support_linear(input, self)
        return F.linear(input, self.dense_weight(), self.bias)


class FixedSupportConv2d(FixedSupport, nn.Conv2d):
    """A Conv2d whose weight has a fixed support."""

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input, self.dense_weight(), self.bias)
        return y


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a layer, that of a fixed support with its zeros."""
    return layer.dense_weight() if isinstance(layer, FixedSupport) else cast("Tensor", layer.weight)


def fix_support(layer: Layer, positions: Tensor) -> Layer:
    """Keep only the entries of the layer's weight at ascending flat `positions`, in place."""
    weight = layer.weight.detach()
    positions = positions.to(weight.device)
    del layer.weight
    layer.__class__ = FixedSupportLinear if isinstance(layer, nn.Linear) else FixedSupportConv2d
    assert isinstance(layer, FixedSupport)
    layer.shape = tuple(weight.shape)
    layer.values = nn.Parameter(weight.flatten()[positions])
    layer.register_buffer("positions", positions)
    return cast("Layer", layer)
