"""The matrix that the weight gradient of a convolution multiplies."""

import numpy as np

from cosparse.spec import ConvGeometry
from cosparse.spec.dtypes import Array


def im2col(x: Array, geometry: ConvGeometry, conv_groups: int) -> Array:
    """(batch, channels, h, w) to (conv_groups, taps * channels / conv_groups, output pixels)."""
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    (oh, ow), depth = geometry.out_hw, x.shape[1] // conv_groups
    wide = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    images = wide.reshape(len(x), conv_groups, depth, *wide.shape[2:])
    columns = np.empty((conv_groups, geometry.taps, depth, len(x), oh, ow), np.float32)
    for tap in range(geometry.taps):
        top, left = tap // geometry.kernel[1] * dh, tap % geometry.kernel[1] * dw
        rows = slice(top, top + (oh - 1) * sh + 1, sh)
        part = images[..., rows, left : left + (ow - 1) * sw + 1 : sw]
        columns[:, tap] = part.transpose(1, 2, 0, 3, 4)
    return columns.reshape(conv_groups, geometry.taps * depth, -1)
