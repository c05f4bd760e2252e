"""How a weight array is seen by one phase: matrices (lanes x K), one per convolution group and tap.

A weight has shape (out, in / conv_groups, *taps). FF reduces over axis 1 and its lanes are the
outputs; BP reduces over axis 0 inside each convolution group and its lanes are the inputs. Groups
of a pattern never cross a convolution group or a tap.
"""

import math
from dataclasses import dataclass

from .dtypes import Array
from .errors import ShapeError


@dataclass(frozen=True)
class Layout:
    """The phase's view of a weight: `axis` 1 for FF, 0 for BP."""

    shape: tuple[int, ...]
    axis: int
    conv_groups: int = 1

    def __post_init__(self) -> None:
        if len(self.shape) < 2:
            raise ShapeError(
                f"expected a weight of shape (out, in/conv_groups, *taps), got {self.shape}"
            )
        if self.axis not in (0, 1):
            raise ShapeError(
                f"expected axis 0 (groups along outputs, BP) or 1 (along inputs, FF), got {self.axis}"
            )
        if self.conv_groups < 1 or self.shape[0] % self.conv_groups:
            raise ShapeError(
                f"expected conv_groups that divides {self.shape[0]} outputs, got {self.conv_groups}"
            )

    @property
    def size(self) -> int:
        """Entries of the dense weight."""
        return math.prod(self.shape)

    @property
    def taps(self) -> int:
        return math.prod(self.shape[2:])

    @property
    def outputs(self) -> int:
        """Outputs in one convolution group."""
        return self.shape[0] // self.conv_groups

    @property
    def lanes(self) -> int:
        return self.outputs if self.axis == 1 else self.shape[1]

    @property
    def reduction(self) -> int:
        return self.shape[1] if self.axis == 1 else self.outputs

    @property
    def matrix_shape(self) -> tuple[int, int, int, int]:
        """(conv_groups, taps, lanes, K)."""
        return (self.conv_groups, self.taps, self.lanes, self.reduction)

    def to_matrices(self, array: Array) -> Array:
        """View the weight as (conv_groups, taps, lanes, K)."""
        split = array.reshape(self.conv_groups, self.outputs, self.shape[1], self.taps)
        return split.transpose((0, 3, 1, 2) if self.axis == 1 else (0, 3, 2, 1))

    def from_matrices(self, matrices: Array) -> Array:
        """Inverse of `to_matrices`."""
        order = (0, 2, 3, 1) if self.axis == 1 else (0, 3, 2, 1)
        return matrices.transpose(order).reshape(self.shape)
