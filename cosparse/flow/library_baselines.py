"""What libraries offer beside a dense product in float32: BF16, and sparse products.

Calls go from x (tokens, in) to (tokens, out) of a linear layer, as the dense ones do. Results in BF16 are
less precise, so they are shown and are no baseline of a ratio.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..spec import Block, PackedTensor
from ..spec.dtypes import Array
from . import dense_worker
from .dense_torch import Call
from .timing import Product

if TYPE_CHECKING:
    from torch import Tensor

MOST_SCIPY_MACS = 1 << 30
"""SciPy's CSR product of more (about a second) is left out."""


def bf16_calls(product: Product) -> dict[str, Call]:
    """PyTorch's products of a linear layer in BF16."""
    import torch

    x, weight = (
        torch.from_numpy(array).bfloat16()
        for array in dense_worker.operands("FF", *product.sizes, False)
    )
    return {
        "torch mm BF16": partial(torch.matmul, x, weight.t()),
        "torch linear BF16": partial(torch.nn.functional.linear, x, weight),
    }


Products = Callable[[Array, int], list[Call]]
"""From x and a number of copies of the weight to a call for each; to none if it would take too long."""


def sparse_products(packed: PackedTensor) -> dict[str, Products]:
    """By library.

    packed: the FF copy of a weight without taps. Only libraries that can hold it and have the product.
    """
    weight = packed.unpack()
    built = {
        "torch CSR (MKL)": _torch_csr(weight),
        "SciPy CSR": _scipy_csr(weight),
        "torch BSR": _torch_bsr(packed, weight),
    }
    return {name: product for name, product in built.items() if product is not None}


def _torch_csr(weight: Array) -> Products | None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is "in beta state"
        return _torch_product(torch.from_numpy(weight).to_sparse_csr())


def _torch_bsr(packed: PackedTensor, weight: Array) -> Products | None:
    import torch

    pattern = packed.pattern
    if not isinstance(pattern, Block) or pattern.rows != pattern.cols:
        return None  # MKL multiplies square blocks only
    if any(size % pattern.rows for size in weight.shape):
        return None  # BSR has whole blocks only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _torch_product(torch.from_numpy(weight).to_sparse_bsr((pattern.rows, pattern.cols)))


def _torch_product(stored: "Tensor") -> Products | None:
    """None where this build of PyTorch lacks the product."""
    import torch

    def calls(x: Array, copies: int) -> list[Call]:
        right = torch.from_numpy(x).t()
        twins = [stored, *(stored.clone() for _ in range(copies - 1))]
        return [partial(_transposed_product, one, right) for one in twins]

    try:
        calls(np.ones((1, stored.shape[1]), np.float32), 1)[0]()
    except RuntimeError:  # NotImplementedError is one
        return None
    return calls


def _transposed_product(left: "Tensor", right: "Tensor") -> "Tensor":
    import torch

    return torch.mm(left, right).t()


def _scipy_csr(weight: Array) -> Products:
    import scipy.sparse

    stored = scipy.sparse.csr_array(weight)

    def calls(x: Array, copies: int) -> list[Call]:
        if stored.nnz * len(x) > MOST_SCIPY_MACS:
            return []
        twins = [stored, *(stored.copy() for _ in range(copies - 1))]
        return [partial(_scipy_product, one, x.T) for one in twins]

    return calls


def _scipy_product(left: Any, right: Array) -> Array:
    product: Array = left @ right
    return product.T
