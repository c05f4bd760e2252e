"""Sparse over the best dense convolution, one thread: `python benchmarks/cpu_conv.py [--phase BP]`.

CPU time of `kernels.conv2d` (or of the input gradient), from images to images, over the fastest dense
contestant of `cosparse bench cpu` (PyTorch's conv2d, plain and packed by oneDNN, contiguous and
channels-last, and its gradients) in the same process. Calls take turns; medians.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

import kernels
from cosparse.flow.bench_cpu import product_of
from cosparse.flow.bench_layers import LayerShape, same_conv
from cosparse.flow.dense_torch import torch_calls
from cosparse.spec import Phase, pack, parse_pattern

sys.path.insert(0, str(Path(__file__).parent))
from cpu_kernels import seconds

POINTWISE = ((64, 256, 56), (512, 128, 28), (128, 512, 28), (256, 1024, 14), (512, 2048, 7))
"""Channels in and out, size of the images."""
PATTERNS = ("2:4", "2:8", "1:8", "1:16", "8:2:8")


def layers(batch: int) -> Iterator[tuple[str, LayerShape]]:
    """Of ResNet-50."""
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        conv = same_conv(batch, size, 3)
        yield f"3x3 {channels}, {size} x {size}", LayerShape(channels, channels, conv)
    for inputs, out, size in POINTWISE:
        conv = same_conv(batch, size, 1)
        yield f"1x1 {inputs} to {out}, {size} x {size}", LayerShape(out, inputs, conv)
    yield "3x3 128, 56 x 56, stride 2", LayerShape(128, 128, same_conv(batch, 56, 3, 2))
    yield "1x1 256 to 512, 56 x 56, stride 2", LayerShape(512, 256, same_conv(batch, 56, 1, 2))


def row(layer: LayerShape, phase: Phase, repeats: int) -> str:
    """The fastest dense contestant, and every pattern's time over its time."""
    conv, forward = layer.conv, phase == Phase.FF
    assert conv is not None
    random = np.random.default_rng(0)
    weight = random.standard_normal(layer.weight_shape, np.float32)
    sizes = (layer.inputs, *conv.in_hw) if forward else (layer.outputs, *conv.out_hw)
    images = random.standard_normal((conv.batch, *sizes), np.float32)
    steps = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
    calls, packed = {}, None
    for pattern in PATTERNS:
        packed = pack(weight, parse_pattern(pattern), axis=int(forward), dtype="float32")
        run = kernels.conv2d if forward else kernels.conv2d_input_gradient
        hw = () if forward else (conv.in_hw,)
        calls[pattern] = partial(run, kernels.prepare(packed), images, *hw, **steps)
    dense = torch_calls(product_of(phase, packed, conv))
    with torch.no_grad():
        taken = seconds(dense | calls, repeats)
    best = min(dense, key=taken.__getitem__)
    ratios = "  ".join(f"{pattern} {taken[pattern] / taken[best]:.2f}" for pattern in PATTERNS)
    return f"{best} {taken[best] * 1e3:.2f} ms: {ratios}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", choices=("FF", "BP"), default="FF")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for batch in arguments.batches:
        for name, layer in layers(batch):
            found = row(layer, Phase(arguments.phase), arguments.repeats)
            print(f"{name}, batch {batch}: {found}", flush=True)


if __name__ == "__main__":
    main()
