"""A weight (out, in, *taps) as the matrices that are factorised, and layers of the same geometry."""

from typing import Any, cast

from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


def as_matrix(weight: Tensor) -> Tensor:
    """(out, in * taps): one row an output."""
    return weight.flatten(1)


def as_rows(weight: Tensor) -> Tensor:
    """(out * taps, in): one row an output and tap, so that all taps share one dictionary."""
    moved: Tensor = weight.movedim(1, -1)
    return moved.flatten(0, -2)


def from_rows(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Inverse of `as_rows`, with as many inputs as the rows have columns."""
    moved: Tensor = rows.unflatten(0, (shape[0], *shape[2:])).movedim(-1, 1)
    return moved.contiguous()


def with_taps(like: Layer, weight: Tensor, groups: int = 1) -> Layer:
    """A layer without bias and with the geometry of `like`. weight: (out, in / groups, *taps)."""
    if isinstance(like, nn.Linear):
        return _loaded(
            nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta"), weight
        )
    options: dict[str, Any] = {
        "stride": like.stride,
        "padding": like.padding,
        "dilation": like.dilation,
        "padding_mode": like.padding_mode,
    }
    kernel = (weight.shape[2], weight.shape[3])
    return _loaded(_conv(weight, kernel, groups, options), weight)


def without_taps(like: Layer, weight: Tensor, groups: int = 1) -> Layer:
    """A Linear, or a 1 x 1 convolution of stride 1, without bias. weight: (out, in / groups)."""
    if isinstance(like, nn.Linear):
        return with_taps(like, weight)
    return _loaded(_conv(weight, (1, 1), groups, {}), weight[:, :, None, None])


def set_bias(layer: Layer, bias: Tensor | None) -> Layer:
    """Give a layer a bias, the parameter object itself."""
    layer.bias = cast("nn.Parameter | None", bias)
    return layer


def _conv(
    weight: Tensor, kernel: tuple[int, int], groups: int, options: dict[str, Any]
) -> nn.Conv2d:
    outputs, inputs = weight.shape[0], weight.shape[1] * groups
    return nn.Conv2d(inputs, outputs, kernel, groups=groups, bias=False, device="meta", **options)


def _loaded(layer: Layer, weight: Tensor) -> Layer:
    layer.weight = nn.Parameter(weight.contiguous())
    return layer
