"""CPU kernels in Numba. `prepare` repacks a weight once; the products take it or a packed tensor."""

from .prepared import PreparedWeight, prepare
from .products import (
    conv2d,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    matmul,
    weight_gradient,
)

__all__ = [
    "PreparedWeight",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "matmul",
    "prepare",
    "weight_gradient",
]
