"""Which module is running: the path that `named_modules` gives it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Scopes:
    """A stack of module paths, kept by forward hooks on the (copied) model."""

    def __init__(self, model: nn.Module) -> None:
        self._stack: list[str] = []
        self._root = type(model).__name__.lower()
        for path, module in model.named_modules():
            self._hook(module, path)

    @property
    def path(self) -> str:
        """Path of the innermost running module; "" for the model itself or outside of it."""
        return self._stack[-1] if self._stack else ""

    @property
    def running(self) -> bool:
        """Whether a module's forward is on the stack."""
        return bool(self._stack)

    def label(self, path: str) -> str:
        """`path`, or the model's class in lower case for the model itself."""
        return path or self._root

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Run a block under a path of the caller's choice."""
        self._stack.append(path)
        try:
            yield
        finally:
            self._stack.pop()

    def _hook(self, module: nn.Module, path: str) -> None:
        def enter(_module: nn.Module, _args: Any) -> None:
            self._stack.append(path)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            self._stack.pop()

        module.register_forward_pre_hook(enter, prepend=True)
        module.register_forward_hook(leave, always_call=True)
