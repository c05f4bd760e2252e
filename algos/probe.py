"""Run a model once on a sample, and leave no trace of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def call(model: nn.Module, sample: Any) -> Any:
    """Call a model with a tensor, a tuple of tensors or a dict of keyword tensors."""
    if isinstance(sample, dict):
        return model(**sample)
    if isinstance(sample, tuple | list):
        return model(*sample)
    return model(sample)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Restore buffers, train/eval modes and the random state of the CPU on the way out."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    random_state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(random_state)
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
