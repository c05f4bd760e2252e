"""The two ends of a network, which stay dense by default: its stem and its classifier."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from .discovery import Candidate
from .probe import call, undisturbed


@dataclass(frozen=True)
class Ends:
    """Paths of modules."""

    stems: frozenset[str]
    classifiers: frozenset[str]


def ends_by_registration(candidates: Sequence[Candidate]) -> Ends:
    """The first Conv2d, and the last Linear or Conv2d."""
    return Ends(
        stems=frozenset([item.owner for item in candidates if item.kind == "conv"][:1]),
        classifiers=frozenset([i.owner for i in candidates if i.kind in ("linear", "conv")][-1:]),
    )


def ends_by_data_flow(model: nn.Module, candidates: Sequence[Candidate], sample: Any) -> Ends:
    """Ends as one forward pass in eval mode shows them; the model is as before afterwards.

    Stems are all Conv2d that read the sample itself (or a view of it), else the first one called.
    The classifier gives the output (its `logits`, or first floating tensor) or what it is a view
    of, else it is the last Linear or Conv2d called. Errors of the model's forward are passed on.
    """
    kinds = {item.owner: item.kind for item in candidates if item.kind in ("linear", "conv")}
    calls, output = _watch(model, list(kinds), sample)
    samples, result = _storages(sample), _storages(_main(output))
    convolutions = [made for made in calls if kinds[made.path] == "conv"]
    reading = [made.path for made in convolutions if made.read & samples]
    giving = [made.path for made in calls if made.gave & result]
    return Ends(
        stems=frozenset(reading or [made.path for made in convolutions[:1]]),
        classifiers=frozenset(giving or [made.path for made in calls[-1:]]),
    )


@dataclass(frozen=True)
class _Call:
    """What a module was called with and gave."""

    path: str
    read: set[StorageWeakRef]
    gave: set[StorageWeakRef]


def _watch(model: nn.Module, paths: Sequence[str], sample: Any) -> tuple[list[_Call], Any]:
    """The calls of the modules at `paths` in one forward pass, in order, and the output."""
    calls: list[_Call] = []

    def watcher(path: str) -> Any:
        def watch(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            calls.append(_Call(path, _storages((args, kwargs)), _storages(output)))

        return watch

    with undisturbed(model), torch.no_grad(), ExitStack() as hooks:
        for path in paths:
            module = model.get_submodule(path)
            hook = module.register_forward_hook(watcher(path), with_kwargs=True)
            hooks.callback(hook.remove)
        return calls, call(model.eval(), sample)


def _main(output: Any) -> Tensor | None:
    """The logits, or the first floating tensor."""
    return next(iter(_floating(getattr(output, "logits", output))), None)


def _storages(value: Any) -> set[StorageWeakRef]:
    """Storages of floating tensors. A weak reference frees the memory and keeps its identity."""
    return {StorageWeakRef(tensor.untyped_storage()) for tensor in _floating(value)}


def _floating(value: Any) -> list[Tensor]:
    leaves = tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
