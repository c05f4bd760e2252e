"""What every launch wrapper checks and allocates."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import triton
from torch import Tensor

from cosparse.spec import ShapeError, UnsupportedError

from .layouts import GpuWeight

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
MAX_TOKENS = 1 << 20


def check_product(weight: GpuWeight, x: Tensor, *, transposed: bool = False) -> Tensor:
    """x: (tokens, columns), or (tokens, rows) for a transposed product. Returns it contiguous.

    Raises ShapeError for a wrong shape, dtype or device, UnsupportedError without a GPU.
    """
    expected = weight.shape[0 if transposed else 1]
    if x.dim() != 2 or x.shape[1] != expected:
        raise ShapeError(f"expected activations (tokens, {expected}), got {tuple(x.shape)}")
    if not 1 <= len(x) <= MAX_TOKENS:
        raise ShapeError(f"expected 1 to {MAX_TOKENS} tokens, got {len(x)}")
    if x.dtype != weight.values.dtype:
        raise ShapeError(
            f"expected activations in the weight's dtype {weight.values.dtype}, got {x.dtype}"
        )
    if x.device != weight.values.device:
        raise ShapeError(
            f"expected activations on the weight's device {weight.values.device}, got {x.device}"
        )
    check_device(x)
    return x.contiguous()


def check_pair(weight: GpuWeight, dy: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Operands of a weight gradient, (tokens, rows) and (tokens, columns), contiguous. Raises as above."""
    if dy.dim() == x.dim() == 2 and len(dy) != len(x):
        raise ShapeError(f"expected as many tokens in dy as in x, {len(x)}, got {len(dy)}")
    return check_product(weight, dy, transposed=True), check_product(weight, x)


def check_device(x: Tensor) -> None:
    """Raise UnsupportedError unless Triton can run on the tensor's device."""
    check_dtype(x.dtype)
    if not x.is_cuda and not (triton.knobs.runtime.interpret and x.device.type == "cpu"):
        found = "" if torch.cuda.is_available() else "; PyTorch finds none here"
        raise UnsupportedError(f"expected tensors on a CUDA device, got {x.device}{found}")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise UnsupportedError for a dtype that no kernel multiplies."""
    if dtype not in DTYPES:
        names = ", ".join(str(known) for known in DTYPES)
        raise UnsupportedError(f"expected a dtype of {names}, got {dtype}")


@contextmanager
def launch_on(x: Tensor) -> Iterator[None]:
    """Launch on the tensor's device, which need not be the current one."""
    if x.is_cuda:
        with torch.cuda.device(x.device):
            yield
    else:
        yield


def empty_output(x: Tensor, rows: int) -> Tensor:
    return torch.empty((len(x), rows), dtype=x.dtype, device=x.device)


def grid_size(length: int, block: int) -> int:
    return -(-length // block)
