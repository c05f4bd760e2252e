"""Watch every operator that runs, and hand those that cost something to the trace."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cosparse.spec.errors import UnsupportedError

from .classify import base_name, depends_on_values
from .event import Event, Pass
from .lineage import Lineage
from .meta import join_meta, tensors_in
from .scopes import Scopes
from .trace import Trace


class Recorder(TorchDispatchMode):
    """Runs operators on meta, keeps the lineage of storages, and finds each one's module.

    A backward operator belongs to the module whose forward created its autograd node. A backward
    pass runs without gradient mode and outside of modules; what does not is recomputation.
    """

    def __init__(self, trace: Trace, lineage: Lineage, scopes: Scopes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._trace = trace
        self._lineage = lineage
        self._scopes = scopes
        self._in_backward = False
        self._path_of_node: dict[int, str] = {}

    def run_backward(self, output: Tensor) -> None:
        """Differentiate `output`; its own gradient is given, so it costs nothing."""
        if not output.requires_grad:
            return
        seed = torch.empty_like(output)
        self._lineage.mark_activation(seed)
        self._in_backward = True
        torch.autograd.backward(output, seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = join_meta(args, kwargs or {})
        inputs = (*tensors_in(args), *tensors_in(kwargs))
        event_pass = self._pass()
        node, path = self._place(event_pass)
        scope = self._scopes.label(path)
        if depends_on_values(func, inputs):
            raise UnsupportedError(
                f"capture of '{scope}': {func.name()} depends on the values of a tensor, and "
                "capture runs on shapes alone"
            )
        keys = {self._lineage.key(tensor) for tensor in inputs}
        result = _run(func, args, kwargs, scope)
        outputs = tensors_in(result)
        if not self._is_free(func, inputs, outputs, keys):
            event = Event(base_name(func), event_pass, path, scope, node, args, inputs, outputs)
            self._trace.add(event)
        self._lineage.follow(inputs, outputs)
        return result

    def _is_free(
        self, func: Any, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], keys: set[int]
    ) -> bool:
        """Views, operators without results, and work on constants."""
        if all(self._lineage.is_constant(tensor) for tensor in inputs):
            return True
        writes = func._schema.is_mutable and torch.Tag.inplace_view not in func.tags
        return not writes and all(self._lineage.key(tensor) in keys for tensor in outputs)

    def _pass(self) -> Pass:
        if not self._in_backward:
            return Pass.FORWARD
        recomputing = torch.is_grad_enabled() or self._scopes.running
        return Pass.RECOMPUTATION if recomputing else Pass.BACKWARD

    def _place(self, event_pass: Pass) -> tuple[int, str]:
        """Autograd node of the operator, and the module that it belongs to."""
        if event_pass is Pass.BACKWARD:
            node = _running_node()
            return node, self._path_of_node.get(node, "")
        # Autograd numbers its nodes in order and creates an operator's node just before it runs.
        node = torch._C._autograd._get_sequence_nr() - 1
        path = self._scopes.path
        self._path_of_node.setdefault(node, path)
        return node, path


def _run(func: Any, args: Any, kwargs: dict[str, Any], scope: str) -> Any:
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        raise UnsupportedError(
            f"capture of '{scope}': {func.name()} does not run on meta tensors: {error}"
        ) from error


def _running_node() -> int:
    """Sequence number of the autograd node that is being differentiated."""
    node: Any = torch._C._current_autograd_node()
    return -1 if node is None else int(node._sequence_nr())
