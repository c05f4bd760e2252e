"""The shipped models: one row a model, each built from its own definition in this package.

The table costs no import of torch; `build` and `sample` load it.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from cosparse.spec.errors import UnsupportedError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MODELS", "ModelEntry", "build", "find_model", "sample"]


@dataclass(frozen=True)
class ModelEntry:
    """What a scenario can know of a model before it is built."""

    name: str
    builder: str
    """`package.module:function`; the function's keyword arguments are the model's options."""
    data: str | None
    """Name of the shipped data set that it trains on by default."""
    task: Literal["classification", "language"]
    input_shape: tuple[int, ...]
    """Shape of one sample, without the batch."""
    summary: str
    input_dtype: Literal["float32", "int64"] = "float32"
    input_limit: int | None = None
    """Exclusive upper bound of token ids."""


_IMAGE = (3, 224, 224)
_CIFAR_IMAGE = (3, 32, 32)

MODELS: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "digits-mlp",
            "algos.models.digits:mlp",
            "digits",
            "classification",
            (64,),
            "multilayer perceptron 64-256-256-10",
        ),
        ModelEntry(
            "digits-cnn",
            "algos.models.digits:cnn",
            "digits",
            "classification",
            (1, 8, 8),
            "three convolutions and two linear layers",
        ),
        ModelEntry(
            "digits-vit",
            "algos.models.vit:digits_vit",
            "digits",
            "classification",
            (1, 8, 8),
            "ViT of 2 layers, width 64, patch 2, for digits",
        ),
        ModelEntry(
            "bytes-lm",
            "algos.models.language:byte_lm",
            "bytes",
            "language",
            (128,),
            "byte-level decoder, 2 layers of width 128",
            input_dtype="int64",
            input_limit=256,
        ),
        ModelEntry(
            "resnet18",
            "algos.models.resnet:resnet18",
            None,
            "classification",
            _IMAGE,
            "ResNet-18 for ImageNet shapes",
        ),
        ModelEntry(
            "resnet50",
            "algos.models.resnet:resnet50",
            None,
            "classification",
            _IMAGE,
            "ResNet-50 (stride in the 3x3) for ImageNet shapes",
        ),
        ModelEntry(
            "vit-b-16",
            "algos.models.vit:vit_b_16",
            None,
            "classification",
            _IMAGE,
            "ViT-B/16 for ImageNet shapes",
        ),
        ModelEntry(
            "bert-base",
            "algos.models.bert:bert_base",
            None,
            "classification",
            (128,),
            "BERT-base, 128 tokens, a classifier on the first",
            input_dtype="int64",
            input_limit=30_522,
        ),
        ModelEntry(
            "resnet9",
            "algos.models.resnet9:resnet9",
            None,
            "classification",
            _CIFAR_IMAGE,
            "ResNet-9 of Page for CIFAR-10 shapes",
        ),
        ModelEntry(
            "vgg19",
            "algos.models.vgg:vgg19",
            None,
            "classification",
            _CIFAR_IMAGE,
            "VGG-19 with batch normalisation for CIFAR-100 shapes",
        ),
        ModelEntry(
            "cifar-vit",
            "algos.models.vit:cifar_vit",
            None,
            "classification",
            _CIFAR_IMAGE,
            "ViT of 7 layers, width 384, patch 4, for CIFAR-100 shapes",
        ),
        ModelEntry(
            "resnet18-64",
            "algos.models.resnet:resnet18_64",
            None,
            "classification",
            (3, 64, 64),
            "ResNet-18 with the 7 x 7 stem for TinyImageNet shapes",
        ),
    )
}


def find_model(name: str) -> ModelEntry:
    """Return the row of that name. Raises UnsupportedError."""
    if name not in MODELS:
        raise UnsupportedError(unknown_name("model", name, MODELS))
    return MODELS[name]


def build(name: str, **options: object) -> "nn.Module":
    """Return the model with fresh random weights. Raises UnsupportedError for a name or option."""
    builder = _resolve(find_model(name).builder)
    valid = inspect.signature(builder).parameters
    for option in options:
        if option not in valid:
            raise UnsupportedError(unknown_name(f"option of model '{name}'", option, valid))
    return builder(**options)


def sample(entry: ModelEntry, batch: int, device: str = "cpu") -> "Tensor":
    """Return a batch of random inputs, the same at every call; on "meta" it takes no memory."""
    import torch

    shape = (batch, *entry.input_shape)
    dtype = getattr(torch, entry.input_dtype)
    if device == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    generator = torch.Generator().manual_seed(math.prod(shape))
    if entry.input_limit is not None:
        ids = torch.randint(entry.input_limit, shape, generator=generator, dtype=dtype)
        return ids.to(device)
    return torch.rand(shape, generator=generator, dtype=dtype).to(device)


def _resolve(reference: str) -> "Callable[..., nn.Module]":
    module, _, function = reference.partition(":")
    return cast("Callable[..., nn.Module]", getattr(importlib.import_module(module), function))
