"""Every weight of a model that multiplies activations, and why some have no sparse form here.

A sparse layer is made by swapping a module's class, which is safe for exactly Linear, Conv2d and
MultiheadAttention: a subclass may compute something else. Any other module's parameter with two or
more axes is listed too, so that no product stays dense unseen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from cosparse.spec import InputError

_KINDS: dict[type[nn.Module], str] = {
    nn.Linear: "linear",
    nn.Conv2d: "conv",
    nn.MultiheadAttention: "attention",
}
_NORMS = (nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Candidate:
    """A weight that multiplies activations. `owner` is the path of the module that uses it."""

    name: str
    owner: str
    shape: tuple[int, ...]
    conv_groups: int
    kind: str
    """linear, conv, attention or other."""
    no_sparse_form: str | None = None
    """Why no method can prune it."""


def find_candidates(model: nn.Module) -> list[Candidate]:
    """All candidates in registration order. Raises InputError for a lazy module without a shape."""
    found: list[Candidate] = []
    inside: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if f"{path}.".startswith(inside):
            continue
        prefix = f"{path}." if path else ""
        kind = _kind(module)
        if kind == "attention":
            inside += (f"{prefix}out_proj.",)
        if parametrize.is_parametrized(module):
            inside += (f"{prefix}parametrizations.",)
        reason = _no_sparse_form(module)
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        for name, shape in _weights(module, path):
            found.append(Candidate(f"{prefix}{name}", path, shape, groups, kind, reason))
    return found


def _kind(module: nn.Module) -> str:
    return next((kind for base, kind in _KINDS.items() if isinstance(module, base)), "other")


def _no_sparse_form(module: nn.Module) -> str | None:
    base = next((base for base in _KINDS if isinstance(module, base)), None)
    if parametrize.is_parametrized(module) or _recomputes_weight(module):
        return "parametrized weight"
    if base is None:
        return f"{type(module).__name__} has no sparse form here"
    if type(module) is not base:
        return f"{type(module).__name__} is a subclass of {base.__name__}"
    if isinstance(module, nn.MultiheadAttention):
        return _attention_variant(module)
    return None


def _recomputes_weight(module: nn.Module) -> bool:
    """Whether `weight` is set before every forward pass, as torch.nn.utils.weight_norm does."""
    return isinstance(vars(module).get("weight"), Tensor)


def _attention_variant(module: nn.MultiheadAttention) -> str | None:
    """What `SparseMultiheadAttention` does not compute."""
    variants = {
        "kdim or vdim different from embed_dim": module.in_proj_weight is None,
        "bias_k and bias_v": module.bias_k is not None,
        "add_zero_attn": module.add_zero_attn,
        "a parametrized out_proj": "weight" not in module.out_proj._parameters,
    }
    used = next((name for name, present in variants.items() if present), None)
    return None if used is None else f"attention with {used} has no sparse form here"


def _weights(module: nn.Module, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names inside the module and shapes. What parametrized weights are made from is left out."""
    if isinstance(module, _NORMS):
        return
    if _recomputes_weight(module):
        shape = tuple(vars(module)["weight"].shape)
        if _multiplies("weight", shape):
            yield "weight", shape
        return
    if parametrize.is_parametrized(module):
        yield from _parametrized_weights(module)
    for name, parameter in module.named_parameters(recurse=False):
        if isinstance(parameter, UninitializedParameter):
            raise InputError(
                f"'{path}' is lazy and has no shape yet; call the model once before sparsifying it"
            )
        if _multiplies(name, tuple(parameter.shape)):
            yield name, tuple(parameter.shape)
    if isinstance(module, nn.MultiheadAttention):
        yield "out_proj.weight", (module.embed_dim, module.embed_dim)


def _parametrized_weights(module: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """With the shape of the largest tensor that each is made from: computing it may have effects."""
    for name, source in module.parametrizations.items():  # type: ignore[operator, union-attr]
        tensors = [*source.parameters(recurse=False), *source.buffers(recurse=False)]
        shape = max((tuple(tensor.shape) for tensor in tensors), key=prod)
        if _multiplies(name, shape):
            yield name, shape


def _multiplies(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter can be a matrix: a leading axis of one is broadcast, unless it is a weight."""
    return len(shape) >= 2 and (shape[0] > 1 or "weight" in name)
