"""Self-guided training: a dense guide beside the factors, blended out in the first part of training.

    o = a G x + (1 - a) U (V x) + bias       G starts as the product of the factors
    a(t) = (1 + cos(pi t / t_max)) / 2       until t_max = ratio * steps, then 0

The guide learns what the factors are slow to: see Wei et al., NeurIPS 2024. It is gone at t_max; the
deployed layer is the factors alone.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from .chain import Chain
from .views import Layer


def guide_share(step: int, steps: int, ratio: float = 0.5) -> float:
    """A at a step (from 0) of `steps`, half a cosine from 1 to 0 over the first `ratio` of them."""
    end = ratio * steps
    return 0.5 * (1 + math.cos(math.pi * step / end)) if step < end else 0.0


class SelfGuided(nn.Module):
    """`factors` and `guide`, blended by `share`; both hold the same bias parameter.

    saves_work: in training the guide's product is left out with probability 1 - share, and the output
    is then that of the factors (a cost of share in place of 1 for the guide).
    """

    factors: Chain
    guide: Layer
    blend: Tensor
    share: float
    saves_work: bool

    def forward(self, x: Tensor) -> Tensor:
        if self.share == 0.0 or (self.training and self._left_out(x)):
            return cast("Tensor", self.factors(x))
        y: Tensor = self.share * self.guide(x) + (1.0 - self.share) * self.factors(x)
        return y

    def set_share(self, share: float) -> None:
        self.share = share
        self.blend.fill_(share)

    def _left_out(self, x: Tensor) -> bool:
        return self.saves_work and not x.is_meta and float(torch.rand(())) >= self.share

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.blend.is_meta:
            self.share = float(self.blend)
