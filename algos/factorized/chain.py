"""A weight as a chain of layers, what the chain multiplies by, and its merged form for few tokens."""

from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosparse.spec import UnsupportedError

from ..layers import SparseConv2d, SparseLinear
from ..masks import forward_mask
from ..selection import masked
from .parts import Bias, BlockLinear, Shuffle, weight_of


class Chain(nn.Sequential):
    """Factors one after the other, with nothing nonlinear between them.

    After `merge` and in eval mode without gradients, an input of at most `merged_up_to` tokens is
    multiplied by the merged weight instead: one dense product in place of two, whose launch, and not
    whose work, is what few tokens pay for. Training again drops the merged weight.
    """

    merged: Tensor | None = None
    merged_up_to: int = 0

    def forward(self, input: Tensor) -> Tensor:
        merged = self.merged
        if merged is None or torch.is_grad_enabled() or self._tokens(input) > self.merged_up_to:
            return cast("Tensor", super().forward(input))  # type: ignore[no-untyped-call]
        return F.linear(input, merged, cast("Tensor | None", self[-1].bias))

    @property
    def has_taps(self) -> bool:
        """Whether the factors are those of a convolution."""
        return any(isinstance(part, nn.Conv2d) for part in self)

    def merge(self, up_to_tokens: int) -> None:
        """Keep the product of the factors beside them, for inputs of up to so many tokens.

        Raises UnsupportedError for a convolution, whose pixels are never few.
        """
        if self.has_taps:
            raise UnsupportedError(
                "merge: expected factors of a Linear, got those of a convolution"
            )
        self.merged = materialise(self).detach().squeeze(2)
        self.merged_up_to = up_to_tokens

    def train(self, mode: bool = True) -> Self:
        if mode:
            self.merged = None
        return super().train(mode)

    def _tokens(self, x: Tensor) -> int:
        return x.numel() // x.shape[-1]


def materialise(chain: Chain) -> Tensor:
    """The weight (out, in, taps) that the chain multiplies by, differentiable in its factors."""
    weight: Tensor | None = None
    for part in chain:
        if isinstance(part, Bias):
            continue
        if isinstance(part, Shuffle):
            assert weight is not None
            weight = weight[_order(part, len(weight))]
        elif weight is None:
            weight = _matrix(part)
        else:  # one of the two factors has a single tap
            weight = torch.einsum("okt,kis->oits", _matrix(part), weight).flatten(2)
    assert weight is not None
    return weight


def _order(shuffle: Shuffle, channels: int) -> Tensor:
    """Which channel of its input each output channel of a shuffle is."""
    places = torch.arange(channels).view(-1, *[1] * (-1 - shuffle.axis))
    return cast("Tensor", shuffle(places)).flatten()


def _matrix(part: nn.Module) -> Tensor:
    """A factor as (out, in, taps)."""
    if isinstance(part, BlockLinear):
        blocks: Tensor = torch.block_diag(*part.weight)
        return blocks.unsqueeze(2)
    weight = weight_of(part)
    if isinstance(part, SparseLinear | SparseConv2d) and part.plan.ff is not None:
        mask = forward_mask(part.plan, weight)
        weight = masked(weight, mask)
    if isinstance(part, nn.Conv2d):
        return _ungrouped(weight.flatten(2), part.groups)
    return weight.unsqueeze(2)


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """(out, in / groups, taps) -> (out, in, taps), zero between different groups."""
    return torch.stack([torch.block_diag(*tap.chunk(groups)) for tap in weight.unbind(2)], 2)
