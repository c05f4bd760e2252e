"""Products with factorised weights on the CPU, forward and gradients, on dense slices and sparse kernels.

    block-diagonal (StructuredFFN)   W = diag(R_b)       y_b = x_b R_b^T           `block_diagonal`
    dense x sparse (DSFormer)        W = S D             y = (x D^T) S^T           `dense_sparse`
    low rank + sparse (SLTrain)      W = s B A + S       y = x S^T + s (x A^T) B^T `low_rank_sparse`

Nothing of W is formed. A block is multiplied where it lies in x and y. The low-rank part adds to the sparse
one inside the dense product, in both directions, and only the entries of S have a gradient.
Arrays are float32; x is (tokens, in), dy (tokens, out). Raises ShapeError.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cosparse.spec import ShapeError
from cosparse.spec.dtypes import Array

from .dispatch import matmul
from .geometry import as_float32
from .strided import add_product, dense_threads

if TYPE_CHECKING:
    from cosparse.spec import PackedTensor

    from .cpu import PreparedWeight


class SparsePart(Protocol):
    """A sparse weight with values of its own, as `kernels.cpu.support.Support` is."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def matmul(self, values: Array, x: Array, *, threads: int = 1) -> Array: ...

    def input_gradient(self, values: Array, dy: Array, *, threads: int = 1) -> Array: ...

    def gradient(self, dy: Array, x: Array, *, threads: int = 1) -> Array: ...


def block_diagonal(blocks: Array, x: Array, *, threads: int = 1) -> Array:
    """Y of a block-diagonal weight. blocks: (parts, out, in of a part)."""
    parts, outputs, inputs = blocks.shape
    x = _tokens("x", x, parts * inputs)
    y = np.empty((len(x), parts * outputs), np.float32)
    with dense_threads(threads):
        for block, source, target in zip(blocks, _split(x, parts), _split(y, parts), strict=True):
            add_product(target, source, block.T)
    return y


def block_diagonal_input_gradient(blocks: Array, dy: Array, *, threads: int = 1) -> Array:
    """The dX of `block_diagonal`."""
    return block_diagonal(blocks.swapaxes(1, 2), dy, threads=threads)


def block_diagonal_gradient(dy: Array, x: Array, parts: int, *, threads: int = 1) -> Array:
    """Of the blocks of `block_diagonal`: (parts, out, in of a part)."""
    dy, x = _tokens("dy", dy, dy.shape[-1]), _tokens("x", x, x.shape[-1])
    if len(dy) != len(x) or dy.shape[1] % parts or x.shape[1] % parts:
        raise ShapeError(
            f"block-diagonal: {dy.shape} and {x.shape} do not split into {parts} parts"
        )
    found = np.empty((parts, dy.shape[1] // parts, x.shape[1] // parts), np.float32)
    with dense_threads(threads):
        for target, error, source in zip(found, _split(dy, parts), _split(x, parts), strict=True):
            add_product(target, error.T, source)
    return found


def dense_sparse(
    dense: Array, sparse: "PackedTensor | PreparedWeight", x: Array, *, threads: int = 1
) -> Array:
    """Y of S D. dense: (inner, in); sparse: the FF copy of S (out, inner)."""
    inner = sparse.layout.conv_groups * sparse.layout.reduction
    if dense.shape[0] != inner:
        raise ShapeError(f"dense factor: expected ({inner}, in), got {dense.shape}")
    return matmul(sparse, product(x, dense.T, threads=threads), threads=threads)


@dataclass(frozen=True)
class DenseSparseGradients:
    """x: dX; dense: dD; sparse: dS of every position, as straight-through training takes it."""

    x: Array
    dense: Array
    sparse: Array


def dense_sparse_gradients(
    dense: Array, sparse: "PackedTensor | PreparedWeight", dy: Array, x: Array, *, threads: int = 1
) -> DenseSparseGradients:
    """Of `dense_sparse`. sparse: the BP copy of S."""
    inner_dy = matmul(sparse, dy, threads=threads)
    inner = product(x, dense.T, threads=threads)
    return DenseSparseGradients(
        product(inner_dy, dense, threads=threads),
        product(inner_dy.T, x, threads=threads),
        product(dy.T, inner, threads=threads),
    )


@dataclass(frozen=True)
class LowRankSparse:
    """W = scale * up @ down + S. down: (rank, in), up: (out, rank); values: those of S."""

    down: Array
    up: Array
    support: SparsePart
    values: Array
    scale: float = 1.0

    def __post_init__(self) -> None:
        outputs, inputs = self.support.shape
        rank = len(self.down)
        if self.down.shape != (rank, inputs) or self.up.shape != (outputs, rank):
            raise ShapeError(
                f"low rank + sparse: expected (rank, {inputs}) and ({outputs}, rank), got "
                f"{self.down.shape} and {self.up.shape}"
            )


def low_rank_sparse(weight: LowRankSparse, x: Array, *, threads: int = 1) -> tuple[Array, Array]:
    """(y, x A^T). The second is what the gradients need again."""
    y = weight.support.matmul(weight.values, x, threads=threads)
    inner = product(x, weight.down.T, threads=threads)
    with dense_threads(threads):
        add_product(y, inner, weight.up.T, alpha=weight.scale, beta=1.0)
    return y, inner


@dataclass(frozen=True)
class LowRankSparseGradients:
    """x: dX; down, up: dA, dB; values: of the entries of S."""

    x: Array
    down: Array
    up: Array
    values: Array


def low_rank_sparse_gradients(
    weight: LowRankSparse, dy: Array, x: Array, inner: Array, *, threads: int = 1
) -> LowRankSparseGradients:
    """Of `low_rank_sparse`. inner: its second result."""
    scale = weight.scale
    inner_dy = product(dy, weight.up, alpha=scale, threads=threads)
    dx = weight.support.input_gradient(weight.values, dy, threads=threads)
    with dense_threads(threads):
        add_product(dx, inner_dy, weight.down, beta=1.0)
    return LowRankSparseGradients(
        dx,
        product(inner_dy.T, x, threads=threads),
        product(dy.T, inner, alpha=scale, threads=threads),
        weight.support.gradient(dy, x, threads=threads),
    )


def product(left: Array, right: Array, *, alpha: float = 1.0, threads: int = 1) -> Array:
    """A new array alpha * left @ right."""
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ShapeError(f"dense product: {left.shape} and {right.shape} do not fit")
    out = np.empty((len(left), right.shape[1]), np.float32)
    with dense_threads(threads):
        add_product(out, left, right, alpha=alpha)
    return out


def _split(array: Array, parts: int) -> list[Array]:
    width = array.shape[1] // parts
    return [array[:, part * width : (part + 1) * width] for part in range(parts)]


def _tokens(name: str, x: Array, columns: int) -> Array:
    if x.ndim != 2 or x.shape[1] != columns:
        raise ShapeError(f"{name}: expected (tokens, {columns}), got {x.shape}")
    return as_float32(name, x)
