"""Sparse matrix products on real machines: a NumPy oracle and one package a backend.

    matmul(weight, x)                                  FF with an axis-1 copy, BP with an axis-0 copy
    matmul_int8(weight, x)                             the same, weight and activations in INT8
    weight_gradient(dy, x)                             WU, dense
    conv2d, conv2d_input_gradient, conv2d_weight_gradient
    Dispatched(packed)                                 sparse or dense, whichever is faster, and why

Weights are packed tensors of cosparse.spec. Names load on first use: `import kernels` imports
neither Numba nor PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .choice import Choice
    from .dispatch import (
        KERNELS,
        conv2d,
        conv2d_input_gradient,
        conv2d_weight_gradient,
        matmul,
        matmul_int8,
        prepare,
        weight_gradient,
    )
    from .dispatched import Dispatched

__all__ = [
    "KERNELS",
    "Choice",
    "Dispatched",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "matmul",
    "matmul_int8",
    "prepare",
    "weight_gradient",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kernels' has no attribute '{name}'")
    module = {"Choice": ".choice", "Dispatched": ".dispatched"}.get(name, ".dispatch")
    return getattr(import_module(module, __name__), name)


def __dir__() -> list[str]:
    return __all__
