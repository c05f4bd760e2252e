"""One entry point a product: the kernel of the weight's layout with its configuration."""

from typing import Any

from torch import Tensor

from .block_sparse import block_gradient, block_rows
from .configs import Config, config_for
from .gather_nm import gather_nm
from .gather_rows import gather_rows
from .layouts import BlockRows, GpuWeight, NMRows, SparseRows, VectorWise
from .vector_wise import vector_wise

_FORWARD: dict[type, Any] = {
    NMRows: gather_nm,
    SparseRows: gather_rows,
    VectorWise: vector_wise,
    BlockRows: block_rows,
}


def multiply(weight: GpuWeight, x: Tensor, config: Config | None = None) -> Tensor:
    """Y = x W^T by the sparse kernel. x: (tokens, columns); returns (tokens, rows)."""
    chosen = config_for(weight, len(x)) if config is None else config
    result: Tensor = _FORWARD[type(weight)](weight, x, chosen)
    return result


def multiply_transposed(weight: BlockRows, dy: Tensor, config: Config | None = None) -> Tensor:
    """Dx = dy W from the forward blocks. dy: (tokens, rows); returns (tokens, columns)."""
    chosen: Any = config_for(weight, len(dy), "transposed") if config is None else config
    return block_rows(weight, dy, chosen, transposed=True)


def weight_gradient(
    weight: BlockRows, dy: Tensor, x: Tensor, config: Config | None = None
) -> Tensor:
    """DW of the stored blocks, like `weight.values`. dy: (tokens, rows), x: (tokens, columns)."""
    chosen: Any = config_for(weight, len(x), "gradient") if config is None else config
    return block_gradient(weight, dy, x, chosen)
