"""The GPU products as torch operators, which torch.compile traces and autograd differentiates.

    linear(x, weight)                      y = x W^T, with gradients of x and of the stored values
    prune_planes(weight, n, m, ...)        both packed copies of a dense weight, without gradients
    nm_product(x, values, positions, ...)  y = x W^T by a copy of this step, without gradients

Operators take tensors and numbers, so that a layout travels as its planes; `flatten` and `unflatten`
convert. Without gradients means that the caller's autograd function defines them.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .choice import choose
from .expand import expand_nm
from .layouts import (
    BitmapRows,
    BlockRows,
    GpuWeight,
    NMRows,
    SparseRows,
    VectorWise,
    nm_words,
    to_dense,
)
from .products import has_transposed, multiply, multiply_transposed, weight_gradient
from .prune_nm import prune_nm

KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (NMRows, SparseRows, VectorWise, BlockRows, BitmapRows)
}


def flatten(weight: GpuWeight) -> tuple[str, list[Tensor], list[int]]:
    """(layout, its planes, `values` first, its numbers)."""
    parts = [getattr(weight, entry.name) for entry in fields(weight)]
    planes = [part for part in parts if isinstance(part, Tensor)]
    numbers = [part for part in parts if isinstance(part, int)]
    return type(weight).__name__, planes, [*numbers, *weight.shape]


def unflatten(kind: str, planes: Sequence[Tensor], numbers: Sequence[int]) -> GpuWeight:
    """Inverse of `flatten`."""
    left, plain = list(planes), list(numbers[:-2])
    parts: dict[str, Any] = {}
    for entry in fields(KINDS[kind]):
        if entry.name == "shape":
            parts["shape"] = (numbers[-2], numbers[-1])
        else:
            parts[entry.name] = plain.pop(0) if entry.type in (int, "int") else left.pop(0)
    weight: GpuWeight = KINDS[kind](**parts)
    return weight


def linear(x: Tensor, weight: GpuWeight) -> Tensor:
    """Y = x W^T. x: (..., columns) in the values' dtype; returns (..., rows).

    The gradient of `values` is dW of the stored entries. Raises ShapeError, UnsupportedError.
    """
    kind, planes, numbers = flatten(weight)
    rows = x.reshape(-1, x.shape[-1])
    y: Tensor = torch.ops.cosparse.gpu_linear(rows, planes[0], planes[1:], kind, numbers)
    return y.reshape(*x.shape[:-1], y.shape[-1])


@torch.library.custom_op("cosparse::gpu_linear", mutates_args=())
def _linear(
    x: Tensor, values: Tensor, planes: Sequence[Tensor], kind: str, numbers: Sequence[int]
) -> Tensor:
    return multiply(unflatten(kind, [values, *planes], numbers), x)


@_linear.register_fake
def _(
    x: Tensor, values: Tensor, planes: Sequence[Tensor], kind: str, numbers: Sequence[int]
) -> Tensor:
    return x.new_empty(x.shape[0], numbers[-2])


@torch.library.custom_op("cosparse::gpu_linear_dx", mutates_args=())
def _linear_dx(
    dy: Tensor, values: Tensor, planes: Sequence[Tensor], kind: str, numbers: Sequence[int]
) -> Tensor:
    weight = unflatten(kind, [values, *planes], numbers)
    if has_transposed(weight):
        return multiply_transposed(weight, dy)
    return dy @ to_dense(weight)


@_linear_dx.register_fake
def _(
    dy: Tensor, values: Tensor, planes: Sequence[Tensor], kind: str, numbers: Sequence[int]
) -> Tensor:
    return dy.new_empty(dy.shape[0], numbers[-1])


@torch.library.custom_op("cosparse::gpu_linear_dw", mutates_args=())
def _linear_dw(
    dy: Tensor,
    x: Tensor,
    values: Tensor,
    planes: Sequence[Tensor],
    kind: str,
    numbers: Sequence[int],
) -> Tensor:
    return weight_gradient(unflatten(kind, [values, *planes], numbers), dy, x)


@_linear_dw.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    values: Tensor,
    planes: Sequence[Tensor],
    kind: str,
    numbers: Sequence[int],
) -> Tensor:
    return torch.empty_like(values)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, planes, kind, numbers = inputs
    ctx.save_for_backward(x, values, *planes)
    ctx.kind, ctx.numbers = kind, numbers


def _backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    x, values, *planes = ctx.saved_tensors
    dy, dx, dw = dy.contiguous(), None, None
    if ctx.needs_input_grad[0]:
        dx = torch.ops.cosparse.gpu_linear_dx(dy, values, planes, ctx.kind, ctx.numbers)
    if ctx.needs_input_grad[1]:
        dw = torch.ops.cosparse.gpu_linear_dw(dy, x, values, planes, ctx.kind, ctx.numbers)
    return dx, dw, [None] * len(planes), None, None


_linear.register_autograd(_backward, setup_context=_setup)


Planes = tuple[Tensor, Tensor]
"""values and positions of NMRows; empty tensors where a copy was not asked for."""


def prune_planes(
    weight: Tensor,
    n: int,
    m: int,
    dtype: torch.dtype,
    select_dtype: str,
    forward: bool,
    backward: bool,
) -> tuple[Planes, Planes]:
    """`prune_nm` as an operator: the planes of both copies, without gradients."""
    first, second, third, fourth = torch.ops.cosparse.gpu_prune(
        weight.detach(), n, m, dtype, select_dtype, forward, backward
    )
    return (first, second), (third, fourth)


@torch.library.custom_op("cosparse::gpu_prune", mutates_args=())
def _prune(
    weight: Tensor,
    n: int,
    m: int,
    dtype: torch.dtype,
    select_dtype: str,
    forward: bool,
    backward: bool,
) -> list[Tensor]:
    copies = prune_nm(
        weight, n, m, dtype=dtype, select_dtype=select_dtype, forward=forward, backward=backward
    )
    planes = []
    for copy in (copies.forward, copies.backward):
        if copy is None:
            planes += [weight.new_empty(0, dtype=dtype), weight.new_empty(0, dtype=torch.int32)]
        else:
            planes += [copy.values, copy.positions]
    return planes


@_prune.register_fake
def _(
    weight: Tensor,
    n: int,
    m: int,
    dtype: torch.dtype,
    select_dtype: str,
    forward: bool,
    backward: bool,
) -> list[Tensor]:
    planes = []
    for (rows, columns), wanted in ((weight.shape, forward), (weight.shape[::-1], backward)):
        words = nm_words(columns, n, m)
        sizes = ((rows, words * 8), (rows, words)) if wanted else ((0,), (0,))
        kinds = (dtype, torch.int32)
        planes += [
            weight.new_empty(size, dtype=kind) for size, kind in zip(sizes, kinds, strict=True)
        ]
    return planes


def nm_product(
    x: Tensor,
    values: Tensor,
    positions: Tensor,
    n: int,
    m: int,
    rows: int,
    columns: int,
    *,
    transposed: bool = False,
) -> Tensor:
    """Y = x W^T with the planes of a copy (rows, columns), or dx = dy W with `transposed`.

    x: (..., columns), or (..., rows) if transposed. Gathers or goes through a dense scratch copy;
    `choice.choose` says which way runs and why.
    """
    flat = x.reshape(-1, x.shape[-1])
    y: Tensor = torch.ops.cosparse.gpu_nm_linear(
        flat, values, positions, n, m, rows, columns, transposed
    )
    return y.reshape(*x.shape[:-1], y.shape[-1])


@torch.library.custom_op("cosparse::gpu_nm_linear", mutates_args=())
def _nm_linear(
    x: Tensor,
    values: Tensor,
    positions: Tensor,
    n: int,
    m: int,
    rows: int,
    columns: int,
    transposed: bool,
) -> Tensor:
    weight = NMRows(values, positions, n, m, (rows, columns))
    if choose(weight, len(x), transposed=transposed).side == "sparse":
        return multiply(weight, x)
    dense = expand_nm(weight)
    return x @ dense if transposed else F.linear(x, dense)


@_nm_linear.register_fake
def _(
    x: Tensor,
    values: Tensor,
    positions: Tensor,
    n: int,
    m: int,
    rows: int,
    columns: int,
    transposed: bool,
) -> Tensor:
    return x.new_empty(x.shape[0], columns if transposed else rows)
