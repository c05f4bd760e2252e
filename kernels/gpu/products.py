"""One entry point a product: the kernel of the weight's layout with its configuration."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cosparse.spec import UnsupportedError

from .block_sparse import block_gradient, block_rows, block_rows_transposed
from .configs import Config, TileConfig, config_for
from .decoded import decoded, decoded_gradient, decoded_transposed
from .gather_nm import gather_nm
from .gather_rows import gather_rows
from .layouts import BitmapRows, BlockRows, GpuWeight, NMRows, SparseRows, VectorWise
from .vector_wise import vector_gradient, vector_wise

_FORWARD: dict[type, Any] = {
    NMRows: gather_nm,
    SparseRows: gather_rows,
    VectorWise: vector_wise,
    BlockRows: block_rows,
    BitmapRows: decoded,
}
_TRANSPOSED: dict[type, Any] = {
    NMRows: decoded_transposed,
    BitmapRows: decoded_transposed,
    BlockRows: block_rows_transposed,
}
_GRADIENT: dict[type, Any] = {
    NMRows: decoded_gradient,
    BitmapRows: decoded_gradient,
    VectorWise: vector_gradient,
    BlockRows: block_gradient,
}


def multiply(weight: GpuWeight, x: Tensor, config: Config | None = None) -> Tensor:
    """Y = x W^T by the sparse kernel. x: (tokens, columns); returns (tokens, rows).

    An N:M weight is gathered with a GatherConfig and decoded by tiles with a TileConfig.
    """
    chosen = config_for(weight, len(x)) if config is None else config
    if isinstance(weight, NMRows) and isinstance(chosen, TileConfig):
        return decoded(weight, x, chosen)
    result: Tensor = _FORWARD[type(weight)](weight, x, chosen)
    return result


def multiply_transposed(weight: GpuWeight, dy: Tensor, config: Config | None = None) -> Tensor:
    """Dx = dy W from the forward copy. dy: (tokens, rows); returns (tokens, columns).

    Raises UnsupportedError for layouts whose W^T needs a copy of its own (vector-wise, rows): multiply
    by that copy.
    """
    run = _kernel(_TRANSPOSED, weight, "input gradient from the forward copy")
    chosen = config_for(weight, len(dy), "transposed") if config is None else config
    result: Tensor = run(weight, dy, chosen)
    return result


def weight_gradient(
    weight: GpuWeight, dy: Tensor, x: Tensor, config: Config | None = None
) -> Tensor:
    """DW of the stored entries, like `weight.values`. dy: (tokens, rows), x: (tokens, columns).

    Raises UnsupportedError for layouts without such a kernel (rows: use a bitmap).
    """
    run = _kernel(_GRADIENT, weight, "gradient of stored entries")
    chosen = config_for(weight, len(x), "gradient") if config is None else config
    result: Tensor = run(weight, dy, x, chosen)
    return result


def has_transposed(weight: GpuWeight) -> bool:
    """Whether `multiply_transposed` has a kernel for this layout."""
    return type(weight) in _TRANSPOSED


def _kernel(table: Mapping[type, Any], weight: GpuWeight, product: str) -> Any:
    if type(weight) not in table:
        valid = ", ".join(kind.__name__ for kind in table)
        raise UnsupportedError(
            f"no {product} for {type(weight).__name__} '{weight.name}' (valid: {valid})"
        )
    return table[type(weight)]
