"""Sizes of a convolution, and the checks that every backend makes before it starts."""

from functools import lru_cache

import numpy as np

from cosparse.spec import ConvGeometry, ShapeError, UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.layout import Layout

Pair = int | tuple[int, int]
"""One number for both axes, or (height, width)."""

_COPY_NAMES = {1: "FF copy (axis 1)", 0: "BP copy (axis 0)"}


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def conv_geometry(
    batch: int,
    in_hw: tuple[int, int],
    kernel: tuple[int, int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> ConvGeometry:
    """Sizes with out = floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    Raises ShapeError.
    """
    pairs = in_hw, kernel, pair(stride), pair(padding), pair(dilation)
    return _geometry(batch, *((first, second) for first, second in pairs))


@lru_cache(maxsize=1024)
def _geometry(
    batch: int,
    in_hw: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    paddings: tuple[int, int],
    dilations: tuple[int, int],
) -> ConvGeometry:
    if min(strides) < 1 or min(dilations) < 1 or min(paddings) < 0 or min(kernel) < 1:
        raise ShapeError(
            "convolution: expected stride, dilation and kernel >= 1 and padding >= 0, got "
            f"stride {strides}, dilation {dilations}, kernel {kernel}, padding {paddings}"
        )
    height, width = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(in_hw, kernel, strides, paddings, dilations, strict=True)
    )
    if height < 1 or width < 1:
        raise ShapeError(f"convolution: kernel {kernel} does not fit an input of {in_hw}")
    return ConvGeometry(batch, in_hw, (height, width), kernel, strides, paddings, dilations)


def check_copy(operation: str, layout: Layout, axis: int) -> None:
    """Raise UnsupportedError unless the weight is packed along `axis`."""
    if layout.axis != axis:
        raise UnsupportedError(
            f"{operation} needs the {_COPY_NAMES[axis]} of the weight, got the "
            f"{_COPY_NAMES[layout.axis]}; pack it with axis={axis}"
        )


def check_linear(layout: Layout, x: Array) -> Array:
    """Return `x` as float32 if it is (tokens, K) for this weight. Raises ShapeError."""
    if layout.taps != 1:
        raise ShapeError(
            f"matmul: expected a weight (out, in), got shape {layout.shape}; use conv2d"
        )
    columns = layout.conv_groups * layout.reduction
    if x.ndim != 2 or x.shape[1] != columns:
        raise ShapeError(f"matmul: expected activations (tokens, {columns}), got {x.shape}")
    return as_float32("matmul", x)


def check_images(
    operation: str, x: Array, channels: int, hw: tuple[int, int] | None = None
) -> Array:
    """Return `x` as float32 if it is (batch, channels, height, width). Raises ShapeError."""
    if x.ndim != 4 or x.shape[1] != channels or (hw is not None and x.shape[2:] != hw):
        height, width = hw or ("height", "width")
        raise ShapeError(
            f"{operation}: expected (batch, {channels}, {height}, {width}), got {x.shape}"
        )
    return as_float32(operation, x)


def check_conv_weight(operation: str, layout: Layout, axis: int) -> tuple[int, int]:
    """Return (kernel height, kernel width). Raises ShapeError and UnsupportedError."""
    if len(layout.shape) != 4:
        raise ShapeError(f"{operation}: expected a weight (out, in, kh, kw), got {layout.shape}")
    check_copy(operation, layout, axis)
    return layout.shape[2], layout.shape[3]


def check_forward(
    layout: Layout, x: Array, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Array, ConvGeometry]:
    """Return the images as float32 and the sizes of `conv2d`. Raises ShapeError, UnsupportedError."""
    kernel = check_conv_weight("conv2d", layout, axis=1)
    x = check_images("conv2d", x, layout.conv_groups * layout.reduction)
    in_hw = (x.shape[2], x.shape[3])
    return x, conv_geometry(len(x), in_hw, kernel, stride, padding, dilation)


def check_input_gradient(
    layout: Layout, dy: Array, in_hw: tuple[int, int], stride: Pair, padding: Pair, dilation: Pair
) -> tuple[Array, ConvGeometry]:
    """Return dy as float32 and the sizes of the convolution. Raises ShapeError, UnsupportedError."""
    operation = "conv2d_input_gradient"
    kernel = check_conv_weight(operation, layout, axis=0)
    geometry = conv_geometry(len(dy), in_hw, kernel, stride, padding, dilation)
    channels = layout.conv_groups * layout.reduction
    return check_images(operation, dy, channels, geometry.out_hw), geometry


def check_weight_gradient(
    dy: Array,
    x: Array,
    kernel: tuple[int, int],
    conv_groups: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> tuple[Array, Array, ConvGeometry]:
    """Return dy and x as float32 and the sizes of the convolution. Raises ShapeError."""
    operation = "conv2d_weight_gradient"
    x = check_images(operation, x, x.shape[1])
    in_hw = (x.shape[2], x.shape[3])
    geometry = conv_geometry(len(x), in_hw, kernel, stride, padding, dilation)
    dy = check_images(operation, dy, dy.shape[1], geometry.out_hw)
    check_group_channels(operation, conv_groups, dy.shape[1], x.shape[1])
    return dy, x, geometry


def check_token_pair(dy: Array, x: Array) -> tuple[Array, Array]:
    """Return both as float32 if they are (tokens, out) and (tokens, in). Raises ShapeError."""
    if dy.ndim != 2 or x.ndim != 2 or len(dy) != len(x):
        raise ShapeError(
            f"weight_gradient: expected (tokens, out) and (tokens, in), got {dy.shape} and {x.shape}"
        )
    return as_float32("weight_gradient", dy), as_float32("weight_gradient", x)


def check_group_channels(operation: str, conv_groups: int, *channels: int) -> None:
    """Raise ShapeError unless the convolution groups divide every channel count."""
    if conv_groups < 1 or any(count % conv_groups for count in channels):
        raise ShapeError(f"{operation}: {conv_groups} groups do not divide channels {channels}")


def as_float32(operation: str, array: Array) -> Array:
    """C-contiguous float32. Raises ShapeError for an array that is not of a floating dtype."""
    if array.dtype.kind != "f":
        raise ShapeError(f"{operation}: expected a floating dtype, got {array.dtype}")
    return np.ascontiguousarray(array, np.float32)
