"""What each storage holds: something computed from the sample, or from parameters alone.

Meta tensors have no data pointer; a storage is identified by its implementation's address, and
every storage seen is kept alive so that no address is used twice.
"""

from typing import Any

from torch import Tensor, nn

from .meta import tensors_in


class Lineage:
    """Storages of activations (and gradients), and storages of weights with their parameter.

    A cast, a copy or a mask of a parameter is still that parameter's weight. A storage that is in
    neither set is a constant.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self._alive: dict[int, Any] = {}
        self._activations: set[int] = set()
        self._weights: dict[int, str] = {}
        self._names: dict[str, list[str]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            first = self._weights.setdefault(self.key(parameter), name)
            self._names.setdefault(first, []).append(name)
            self._shapes.setdefault(first, tuple(parameter.shape))
        for args in inputs:
            for tensor in tensors_in(args):
                self.mark_activation(tensor)

    def key(self, tensor: Tensor) -> int:
        """Identity of the tensor's storage."""
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        self._alive.setdefault(key, storage)
        return key

    def weight(self, tensor: Tensor) -> str | None:
        """First name of the parameter that the tensor was made from, if no activation was."""
        return self._weights.get(self.key(tensor))

    def names(self, parameter: str) -> list[str]:
        """All names of a parameter: more than one when it is tied."""
        return self._names[parameter]

    def shape(self, parameter: str) -> tuple[int, ...]:
        return self._shapes[parameter]

    def is_constant(self, tensor: Tensor) -> bool:
        key = self.key(tensor)
        return key not in self._activations and key not in self._weights

    def mark_activation(self, tensor: Tensor) -> None:
        key = self.key(tensor)
        if key not in self._weights:
            self._activations.add(key)

    def follow(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
        """Give an operator's outputs what its inputs hold."""
        if any(self.key(tensor) in self._activations for tensor in inputs):
            for tensor in outputs:
                self.mark_activation(tensor)
            return
        weights = [name for name in map(self.weight, inputs) if name is not None]
        if weights:
            for tensor in outputs:
                self._weights.setdefault(self.key(tensor), weights[0])
