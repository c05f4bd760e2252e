"""Images in memory: results that are used again, and channels-last images brought to channels first."""

import numpy as np

from cosparse.spec.dtypes import Array

from .dot_assembly import transpose_kernel
from .isa import PORTABLE, current
from .panels import address
from .recycled import lent_results


def lent_images(batch: int, channels: int, hw: tuple[int, int]) -> Array:
    """An uninitialised (batch, channels, *hw) array, whose memory is used again."""
    return lent_results(batch * channels, hw[0] * hw[1]).reshape(batch, channels, *hw)


def channels_first(x: Array) -> Array:
    """Contiguous (batch, channels, h, w) images of float32 that are channels-last; any other array itself."""
    isa = current()
    if x.ndim != 4 or x.dtype != np.float32 or x.flags.c_contiguous or isa is PORTABLE:
        return x
    batch, channels, height, width = x.shape
    last, pixels = x.transpose(0, 2, 3, 1), height * width
    if not last.flags.c_contiguous or channels % isa.lanes:
        return x
    images = lent_images(batch, channels, (height, width))
    size = 4 * pixels * channels
    transpose_kernel(isa.lanes)(
        batch, pixels // isa.lanes, channels // isa.lanes, address(last), size, 4 * channels,
        address(images), size, 4 * pixels,
    )  # fmt: skip
    rest = pixels // isa.lanes * isa.lanes
    if rest < pixels:
        lines = last.reshape(batch, pixels, channels)[:, rest:]
        images.reshape(batch, channels, pixels)[:, :, rest:] = lines.swapaxes(1, 2)
    return images
