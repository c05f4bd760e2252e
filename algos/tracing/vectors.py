"""Traffic of streaming operators, as if every element had two bytes (FP16)."""

import math

from torch import Tensor

from cosparse.spec import Phase, Vector

from .classify import GATHERS

BYTES_PER_ELEMENT = 2


def streaming(
    name: str,
    phase: Phase,
    base: str,
    kind: str,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
) -> Vector:
    """Return the Vector of one operator: it reads its inputs and writes its outputs once."""
    written = sum(tensor.numel() for tensor in outputs)
    if base in GATHERS:
        read = outputs[0].numel() + sum(stored(tensor) for tensor in inputs[1:])
    else:
        read = sum(stored(tensor) for tensor in inputs)
    elements = outputs[0].numel()
    return Vector(name, phase, kind, elements, (read + written) * BYTES_PER_ELEMENT)


def bias_gradient(name: str, output_grad: Tensor, channels: int) -> Vector:
    """Return the sum that a convolution's backward takes over everything but the channels."""
    read_and_written = output_grad.numel() + channels
    return Vector(name, Phase.BP, "sum", channels, read_and_written * BYTES_PER_ELEMENT)


def stored(tensor: Tensor) -> int:
    """Elements in memory: an expanded axis is stored once."""
    axes = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(1 if stride == 0 and size > 1 else size for size, stride in axes)
