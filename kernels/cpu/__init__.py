"""CPU kernels in Numba. `prepare` repacks a weight once; the products take it or a packed tensor."""

from .copies import StepCopy, step_copies
from .dense import dense_matmul
from .pack import pack_weight
from .prepared import PreparedWeight, prepare
from .products import (
    conv2d,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    matmul,
    matmul_int8,
    weight_gradient,
)

__all__ = [
    "PreparedWeight",
    "StepCopy",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "dense_matmul",
    "matmul",
    "matmul_int8",
    "pack_weight",
    "prepare",
    "step_copies",
    "weight_gradient",
]
