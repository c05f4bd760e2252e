"""Weight-space straight-through training: the weight stays dense, its factorisation is a projection.

W~ = S D = project(W)     every n-th training forward, from the dictionary of before
Y  = X W~^T, dX = dY W~
dW = dY^T X               straight-through to W
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cosparse.spec import NM

from .pursuit import Factors, refresh
from .views import Layer, as_rows, from_rows


class _Projection(Function):
    """Value of the product, gradient to the weight."""

    @staticmethod
    def forward(_ctx: Any, _weight: Tensor, product: Tensor) -> Tensor:
        return product.view_as(product)

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Projected(nn.Module):
    """`weight` is trained; the layer multiplies by `coefficients` @ `dictionary`.

    The factors follow the weight in every `every`-th forward in train mode, `forwards` counting them.
    """

    weight: Tensor
    coefficients: Tensor
    dictionary: Tensor
    forwards: Tensor
    pattern: NM
    every: int

    def projected(self) -> Tensor:
        """W~, in the weight's shape."""
        if self.training and torch.is_grad_enabled() and not self.weight.is_meta:
            if int(self.forwards) % self.every == 0:
                self.project()
            self.forwards += 1
        rows = self.coefficients @ self.dictionary
        product = from_rows(rows, tuple(self.weight.shape))
        w: Tensor = _Projection.apply(self.weight, product)  # type: ignore[no-untyped-call]
        return w

    @torch.no_grad()
    def project(self) -> None:
        """Factorise the current weight, starting from the current dictionary."""
        found = refresh(as_rows(self.weight), self.dictionary, self.pattern)
        self.coefficients.copy_(found.coefficients)
        self.dictionary.copy_(found.dictionary)


class ProjectedLinear(Projected, nn.Linear):
    """A Linear that multiplies by the projection of its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.projected(), self.bias)


class ProjectedConv2d(Projected, nn.Conv2d):
    """A Conv2d that multiplies by the projection of its weight."""

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input, self.projected(), self.bias)
        return y


def project_layer(layer: Layer, factors: Factors, pattern: NM, every: int) -> Layer:
    """Train the layer's weight through its factorisation, in place; keys and parameters stay."""
    layer.__class__ = ProjectedLinear if isinstance(layer, nn.Linear) else ProjectedConv2d
    assert isinstance(layer, Projected)
    layer.pattern, layer.every = pattern, every
    layer.register_buffer("coefficients", factors.coefficients)
    layer.register_buffer("dictionary", factors.dictionary)
    layer.register_buffer("forwards", torch.zeros((), dtype=torch.int64))
    return cast("Layer", layer)
