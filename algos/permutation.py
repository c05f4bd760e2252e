"""Reordering channels so that a pattern drops less: the function stays, the magnitude kept rises.

Two layers in a row share channels: the outputs of the first are the inputs of the second. Renaming them
(rows of the first, with its bias and the per-channel parameters between, and columns of the second by the
same order) changes no output. Groups and blocks then meet other neighbours. A local search swaps two
channels as long as the magnitude that both layers keep grows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cosparse.spec import NM, Block, Pattern, UnsupportedError

from .blocks import block_mask
from .selection import masked, nm_mask

CANDIDATES = 2000
_PER_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d)
_POINTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d,
              nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """Modules in the order of the data: a layer, what lies between, the layer that reads its channels."""

    first: nn.Linear | nn.Conv2d
    between: tuple[nn.Module, ...]
    second: nn.Linear | nn.Conv2d

    def __post_init__(self) -> None:
        """Raise UnsupportedError for what would not commute with a new order of channels."""
        for layer in (self.first, self.second):
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                raise UnsupportedError(
                    f"chain: expected Linear or Conv2d, got {type(layer).__name__}"
                )
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                raise UnsupportedError("chain: the channels of a grouped convolution are not free")
        for module in self.between:
            if not isinstance(module, (*_PER_CHANNEL, *_POINTWISE, nn.Flatten)):
                raise UnsupportedError(
                    f"chain: {type(module).__name__} mixes channels or is not known to keep them apart"
                )
        if self._inputs % self.channels:
            raise UnsupportedError(
                f"chain: {self._inputs} inputs are no multiple of {self.channels} channels"
            )

    @property
    def channels(self) -> int:
        return int(self.first.weight.shape[0])

    @property
    def _inputs(self) -> int:
        return int(self.second.weight.shape[1])

    @property
    def places(self) -> int:
        """Inputs of the second layer that belong to one channel: the pixels that Flatten lines up."""
        return self._inputs // self.channels

    def columns(self, order: Tensor) -> Tensor:
        """The order of the second layer's inputs."""
        return (order[:, None] * self.places + torch.arange(self.places)).flatten()

    @torch.no_grad()
    def apply(self, order: Tensor) -> None:
        """Rename the channels: place i takes what was channel order[i]."""
        for tensor in self._by_channel():
            tensor.copy_(tensor[order])
        self.second.weight.copy_(self.second.weight[:, self.columns(order)])

    def _by_channel(self) -> Iterator[Tensor]:
        yield self.first.weight
        if self.first.bias is not None:
            yield self.first.bias
        for module in self.between:
            if isinstance(module, _PER_CHANNEL):
                found = (module.weight, module.bias, module.running_mean, module.running_var)
                yield from (tensor for tensor in found if isinstance(tensor, Tensor))


def kept_magnitude(weight: Tensor, pattern: Pattern) -> float:
    """Sum of the magnitudes that FF keeps of a weight (out, in, *taps)."""
    weight = weight.detach()
    if isinstance(pattern, Block):
        mask = block_mask(weight, pattern)
    elif isinstance(pattern, NM):
        mask = nm_mask(weight, pattern, axis=1)
    else:
        raise UnsupportedError(f"channels are permuted for N:M and block patterns, got '{pattern}'")
    return float(masked(weight, mask).abs().double().sum())


@torch.no_grad()
def permute_channels(
    chain: Chain, pattern: Pattern, *, seed: int = 0, candidates: int = CANDIDATES
) -> tuple[float, float]:
    """Reorder the channels of a chain in place. Returns the kept magnitude before and after.

    It never falls. candidates: swaps that are tried; the same seed gives the same order.
    """
    first, second = chain.first.weight.detach().clone(), chain.second.weight.detach().clone()
    order = torch.arange(chain.channels)

    def kept(order: Tensor) -> float:
        own = kept_magnitude(first[order], pattern)
        return own + kept_magnitude(second[:, chain.columns(order)], pattern)

    before = best = kept(order)
    random = np.random.default_rng(seed)
    for a, b in random.integers(0, chain.channels, (candidates, 2)):
        swapped = order.clone()
        swapped[[a, b]] = order[[b, a]]
        value = kept(swapped)
        if value > best:
            order, best = swapped, value
    chain.apply(order)
    return before, best
