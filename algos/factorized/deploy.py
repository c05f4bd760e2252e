"""What is left of a trained model's layers for inference: factors alone.

A self-guided layer loses its guide, which must have faded. A weight that was trained through its
projection becomes the factors of its last projection. Other layers stay as they are.
"""

from dataclasses import replace
from typing import cast

from torch import nn

from cosparse.spec import RunError

from .chain import Chain
from .guided import SelfGuided
from .projected import Projected
from .pursuit import refresh
from .replace import Plans, become, dictionary_parts, make_sparse
from .views import Layer, as_rows


def deploy(model: nn.Module, plans: Plans) -> Plans:
    """Change the layers of `model` in place. plans: by parameter name; returns those of what is left.

    Raises RunError for a guide whose share is not zero.
    """
    left = dict(plans)
    for path, module in list(model.named_modules()):
        prefix = f"{path}." if path else ""
        if isinstance(module, SelfGuided):
            _drop_guide(module, prefix, left)
        elif isinstance(module, Projected):
            _use_factors(module, prefix, left)
    return left


def _drop_guide(layer: SelfGuided, prefix: str, plans: Plans) -> None:
    if layer.share != 0.0:
        raise RunError(
            f"the guide of '{prefix.removesuffix('.')}' still has a share of {layer.share:g}; "
            "train to the end of its schedule before deploying"
        )
    become(layer, Chain, **dict(layer.factors.named_children()))
    del plans[f"{prefix}guide.weight"]
    inside = f"{prefix}factors."
    for name in [name for name in plans if name.startswith(inside)]:
        own = prefix + name.removeprefix(inside)
        plans[own] = replace(plans.pop(name), name=own)


def _use_factors(layer: Projected, prefix: str, plans: Plans) -> None:
    """The factors of the current weight, from the dictionary of before."""
    factors = refresh(as_rows(layer.weight), layer.dictionary, layer.pattern)
    parts = dictionary_parts(cast("Layer", layer), factors)
    dense = plans.pop(f"{prefix}weight")
    for part, pattern in (("first", None), ("second", layer.pattern)):
        name, shape = f"{prefix}{part}.weight", tuple(parts[part].weight.shape)
        plans[name] = replace(dense, name=name, shape=shape, ff=pattern)
    make_sparse(parts["second"], plans[f"{prefix}second.weight"])
    become(layer, Chain, **parts)
