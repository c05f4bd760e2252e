"""A training step in NumPy, worked out from docs/numerics.md alone: float16 and float32, in order.

Layers are described by `hwsim.training.Affine`; nothing else of the simulator is used. A linear layer
is a convolution of one pixel. Activations are (images, height, width, channels) FP16.
"""

from dataclasses import dataclass, field

import numpy as np

from cosparse.spec import NM, ConvGeometry

F16, F32 = np.float16, np.float32
AXES = {"ff": 1, "bp": 0}
PIXEL = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}


def geometry(layer, images):
    """A linear layer's tokens are images of one pixel."""
    return getattr(layer, "conv", None) or ConvGeometry(images, (1, 1), (1, 1), **PIXEL)


def kept(weight, pattern, axis):
    """Mask of the n largest of m along an axis: FP16 bits without the sign, ties to the first."""
    if not isinstance(pattern, NM):
        return np.ones(weight.shape, bool)
    lines = np.moveaxis(weight.astype(F16).view(np.uint16) & 0x7FFF, axis, -1).astype(int)
    mask = np.zeros(lines.shape, bool)
    for first in range(0, lines.shape[-1], pattern.m):
        group = lines[..., first : first + pattern.m]
        order = np.argsort(-group, axis=-1, kind="stable")[..., : pattern.n]
        np.put_along_axis(mask[..., first : first + pattern.m], order, True, axis=-1)
    return np.moveaxis(mask, -1, axis)


def planes(weight, pattern, axis):
    """The packed copy of a weight (out, in, *kernel): [tap][entry][lane padded to 32]."""
    taps = weight.reshape(*weight.shape[:2], -1).astype(F16)
    lanes = np.moveaxis(np.moveaxis(taps, axis, 0), -1, 0)
    lanes = np.pad(lanes, [(0, 0), (0, 0), (0, -lanes.shape[2] % 32)])
    if not isinstance(pattern, NM):
        return {"values": lanes}
    n, m = pattern.n, pattern.m
    lanes = np.pad(lanes, [(0, 0), (0, -lanes.shape[1] % m), (0, 0)])
    groups = lanes.reshape(len(lanes), -1, m, lanes.shape[2])
    order = np.argsort(-(groups.view(np.uint16) & 0x7FFF).astype(int), axis=2, kind="stable")
    positions = np.sort(order[:, :, :n], axis=2)
    values = np.take_along_axis(groups, positions, axis=2)
    nibbles = positions.astype(np.uint8)
    return {"values": values, "indices": nibbles[..., 0::2] | nibbles[..., 1::2] << 4}


def block_values(weight, layer, copy):
    """Values of a block-sparse image: [block][channel][lane], rows of blocks of the lanes in order."""
    rows, cols = layer.pattern.rows, layer.pattern.cols
    half = weight.astype(F16)
    present = layer.present if copy == "ff" else layer.present.T
    found = []
    for lane, channel in np.argwhere(present):
        row, column = (lane, channel) if copy == "ff" else (channel, lane)
        block = half[row * rows : (row + 1) * rows, column * cols : (column + 1) * cols]
        found.append(block.T if copy == "ff" else block)
    return np.stack(found)


def meetings(conv, tap):
    """Output and input pixels that meet at a tap: ((oy, ox), (iy, ix)) as index arrays."""
    outputs, inputs = [], []
    for axis in (0, 1):
        out = np.arange(conv.out_hw[axis])
        read = out * conv.stride[axis] + tap[axis] * conv.dilation[axis] - conv.padding[axis]
        inside = (read >= 0) & (read < conv.in_hw[axis])
        outputs.append(out[inside])
        inputs.append(read[inside])
    return np.ix_(*outputs), np.ix_(*inputs)


def forward_sums(x, weight, mask, conv):
    """Tap after tap, channel after channel."""
    sums = np.zeros((conv.batch, *conv.out_hw, len(weight)), F32)
    for tap in np.ndindex(conv.kernel):
        (oy, ox), (iy, ix) = meetings(conv, tap)
        read = np.zeros((conv.batch, *conv.out_hw, x.shape[-1]), F32)
        read[:, oy, ox] = x[:, iy, ix]
        for channel in range(x.shape[-1]):
            entry = weight[:, channel, *tap].astype(F32)
            added = sums + read[..., channel, None] * entry
            sums = np.where(mask[:, channel, *tap], added, sums)
    return sums


def input_sums(dy, weight, mask, conv):
    """The taps that meet a pixel in ascending order, output channel after output channel."""
    sums = np.zeros((conv.batch, *conv.in_hw, weight.shape[1]), F32)
    for tap in np.ndindex(conv.kernel):
        (oy, ox), (iy, ix) = meetings(conv, tap)
        for channel in range(len(weight)):
            entry = weight[channel, :, *tap].astype(F32)
            product = dy[:, oy, ox, channel, None].astype(F32) * entry
            chosen = mask[channel, :, *tap]
            sums[:, iy, ix] = np.where(chosen, sums[:, iy, ix] + product, sums[:, iy, ix])
    return sums


def weight_sums(x, dy, conv):
    """Output pixel after output pixel of image after image: (out, in, *kernel)."""
    edges = [(0, 0), *((pad, pad) for pad in conv.padding), (0, 0)]
    framed = np.pad(x, edges).astype(F32)
    sums = np.zeros((dy.shape[-1], x.shape[-1], *conv.kernel), F32)
    reach = [(taps - 1) * step + 1 for taps, step in zip(conv.kernel, conv.dilation, strict=True)]
    for image, oy, ox in np.ndindex(dy.shape[:3]):
        y, x_first = oy * conv.stride[0], ox * conv.stride[1]
        rows = slice(y, y + reach[0], conv.dilation[0])
        columns = slice(x_first, x_first + reach[1], conv.dilation[1])
        patch = framed[image, rows, columns]
        sums += np.einsum("o,yxc->ocyx", dy[image, oy, ox].astype(F32), patch)
    return sums


def column_sums(rows, tiles):
    """Each tile's rows in order, then the tiles' sums in the same way. tiles: rows of each level."""
    for tile in tiles:
        parts = [rows[first : first + tile] for first in range(0, len(rows), tile)]
        totals = np.zeros((len(parts), rows.shape[1]), F32)
        for total, part in zip(totals, parts, strict=True):
            for row in part:
                total += row.astype(F32)
        rows = totals
    return rows[0]


@dataclass
class ReferenceLayer:
    """layer: the description. tiles: of the bias gradient, see `column_sums`."""

    layer: object
    weight: np.ndarray
    bias: np.ndarray | None
    tiles: tuple[int, ...] = ()
    momenta: dict[str, np.ndarray] = field(default_factory=dict)
    source: np.ndarray | None = None
    output: np.ndarray | None = None

    def __post_init__(self):
        self.weight = np.where(self._present, self.weight, F32(0))
        self.momenta["weight"] = np.zeros_like(self.weight)
        if self.bias is not None:
            self.momenta["bias"] = np.zeros_like(self.bias)

    @property
    def _present(self):
        """Mask of a block-sparse weight; all of another."""
        pattern = getattr(self.layer, "pattern", None)
        if pattern is None:
            return np.ones(self.weight.shape, bool)
        return np.kron(self.layer.present, np.ones((pattern.rows, pattern.cols))) > 0

    def _mask(self, copy):
        if hasattr(self.layer, "present"):
            return self._present[..., None, None]
        return kept(self._taps, getattr(self.layer, copy), AXES[copy])

    @property
    def _taps(self):
        """The weight with a kernel, FP16."""
        half = self.weight.astype(F16)
        return half if half.ndim == 4 else half[..., None, None]

    def forward(self, x):
        conv = geometry(self.layer, len(x))
        self.source = x.reshape(conv.batch, *conv.in_hw, -1)
        sums = forward_sums(self.source, self._taps, self._mask("ff"), conv)
        y = sums.astype(F16)
        if self.bias is not None:
            y = y.astype(F32) + self.bias
            y = (np.where(y > 0, y, F32(0)) if self.layer.relu else y).astype(F16)
        elif self.layer.relu:
            y = np.where(y > 0, y, F16(0))
        self.output = y
        return y

    def backward(self, dy, sgd, wanted):
        """Gradient of the input, if wanted; then the update."""
        conv = geometry(self.layer, len(self.source))
        dy = dy.reshape(self.output.shape)
        dy = np.where(self.output > 0, dy, F16(0)) if self.layer.relu else dy
        dx = None
        if wanted:
            dx = input_sums(dy, self._taps, self._mask("bp"), conv).astype(F16)
        gradient = weight_sums(self.source, dy, conv).reshape(self.weight.shape)
        gradient = np.where(self._present, gradient, F32(0))
        self.weight = self._stepped("weight", self.weight, gradient, sgd)
        if self.bias is not None:
            rows = dy.reshape(-1, dy.shape[-1])
            self.bias = self._stepped("bias", self.bias, column_sums(rows, self.tiles), sgd)
        return dx

    def _stepped(self, name, w, gradient, sgd):
        g = gradient * F32(sgd.scale) + F32(sgd.decay) * w
        v = F32(sgd.momentum) * self.momenta[name] + g
        self.momenta[name] = v
        return w - F32(sgd.rate) * v


def forward(layers, x):
    for layer in layers:
        x = layer.forward(x)
    return x.reshape(len(x), -1)


def backward(layers, dy, sgd):
    for number, layer in reversed(list(enumerate(layers))):
        dy = layer.backward(dy, sgd, wanted=number > 0)
