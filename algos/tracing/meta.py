"""Copies of a model and its inputs on the meta device: shapes and dtypes without memory."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map_only

from cosparse.spec.errors import UnsupportedError

Sample = Tensor | tuple[Tensor, ...] | Mapping[str, Any]


def meta_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy whose tensors are on meta, without gradients; tied ones stay tied.

    Raises UnsupportedError when an attribute of the model cannot be copied.
    """
    memo: dict[int, Any] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        memo[id(tensor)] = _meta_like(tensor)
    try:
        with _MetaDeepcopy():
            return copy.deepcopy(model, memo)
    except Exception as error:
        raise UnsupportedError(
            f"capture of {type(model).__name__}: the model cannot be copied to the meta device: "
            f"{error}"
        ) from error


def call_arguments(sample: Sample) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return (args, kwargs) with every tensor on meta. Raises UnsupportedError for other types."""
    if isinstance(sample, Tensor):
        return (_meta_like(sample),), {}
    if isinstance(sample, Mapping):
        return (), tree_map_only(Tensor, _meta_like, dict(sample))
    if isinstance(sample, tuple | list):
        return tuple(tree_map_only(Tensor, _meta_like, item) for item in sample), {}
    raise UnsupportedError(
        f"sample: expected a tensor, a tuple of tensors or a dict, got {type(sample).__name__}"
    )


def join_meta(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Move the tensors of one operator call to meta if any of them is there.

    Constants that a forward creates without naming a device start on the CPU.
    """
    if not tree_any(_is_meta, (args, kwargs)):
        return args, kwargs
    moved: tuple[Any, Any] = tree_map_only(Tensor, _to_meta, (args, kwargs))
    return moved


def tensors_in(value: Any) -> tuple[Tensor, ...]:
    """Tensors of an operator's arguments or results, in order."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(_flatten(value))
    if isinstance(value, dict):
        return tuple(_flatten(value.values()))
    return ()


def _flatten(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        yield from tensors_in(value)


class _MetaDeepcopy(TorchFunctionMode):
    """Deep copies tensors that are neither parameter nor buffer to meta as well."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = _meta_like(tensor)
        return memo[id(tensor)]


def _meta_like(tensor: Tensor) -> Tensor:
    with torch.no_grad():
        meta = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(meta, requires_grad=tensor.requires_grad)
    return meta.requires_grad_(tensor.requires_grad)


def _is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else torch.empty_like(tensor, device="meta")
