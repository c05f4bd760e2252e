"""Dense float32 products into slices of an array, by PyTorch where it is installed, else by NumPy.

Both take operands and results with any distance between rows, so that a block of a matrix is neither
copied in nor out, and both can add to what is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from cosparse.spec import ShapeError
from cosparse.spec.dtypes import Array

from .dense import torch_module


def add_product(
    out: Array, left: Array, right: Array, *, alpha: float = 1.0, beta: float = 0.0
) -> None:
    """Let `out` be beta * out + alpha * left @ right; with beta 0 what it held is ignored, NaN too.

    Raises ShapeError for matrices that do not fit.
    """
    (rows, inner), columns = left.shape, right.shape[-1]
    if right.shape != (inner, columns) or out.shape != (rows, columns):
        raise ShapeError(f"dense product: {left.shape} @ {right.shape} is not {out.shape}")
    torch = torch_module()
    if torch is None:
        product = left @ right
        product *= np.float32(alpha)
        out[...] = product if beta == 0 else np.float32(beta) * out + product
        return
    target, *operands = (torch.from_numpy(array) for array in (out, left, right))
    with torch.no_grad():
        torch.addmm(target, *operands, beta=beta, alpha=alpha, out=target)


@contextmanager
def dense_threads(threads: int) -> Iterator[None]:
    """PyTorch's number of threads inside; as it was before afterwards. NumPy's is left alone."""
    torch = torch_module()
    found = threads if torch is None else torch.get_num_threads()
    if found == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(found)
