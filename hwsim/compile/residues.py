"""A strided BP as sub-convolutions: which input positions meet which taps, along one axis."""

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True)
class Residue:
    """One axis of a sub-convolution of a strided BP: the input positions of one remainder.

    Positions phase, phase + stride, ... (`count` of them) meet the taps first, first + tap_step, ...
    (`taps` of them); position i meets at tap j the output origin + i + j * step. No taps: none is met.
    """

    phase: int
    count: int
    first: int
    tap_step: int
    taps: int
    origin: int
    step: int


def residues(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Residue]:
    """The sub-convolutions along one axis of an input of `size`."""
    common = gcd(stride, dilation)
    found = []
    for phase in range(min(stride, size)):
        matching = [k for k in range(kernel) if (phase + padding - k * dilation) % stride == 0]
        count = -(-(size - phase) // stride)
        first = matching[0] if matching else 0
        origin = (phase + padding - first * dilation) // stride
        tap_step, step = stride // common, -(dilation // common)
        found.append(Residue(phase, count, first, tap_step, len(matching), origin, step))
    return found
