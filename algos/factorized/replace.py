"""Replace a layer's weight by its factors, in place: the module keeps its identity and its hooks.

    structure      parts of the module, each with a plan
    low-rank       first.weight (V), second.weight (U)
    block-dense    first.weight (V_b), second.weight (U)
    block-shuffle  first.weight (V_b), second.weight (U_b)
    dictionary     first.weight (D), second.weight (S) or second.values (fixed support)
                   weight (trained through its projection)
    sltrain        low_rank.first.weight (A), low_rank.second.weight (B), sparse.values (S)

A convolution is factorised so that one factor has the taps and the other is 1 x 1. The bias is the
parameter object of before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from cosparse.spec import NM, Phase

from ..layers import SparseConv2d, SparseLinear
from ..plan import LayerPlan
from . import spectral
from .chain import Chain, materialise
from .guided import SelfGuided
from .parts import Bias, BlockLinear, Shuffle, fix_support, weight_of
from .projected import project_layer
from .pursuit import Factors, factorize, with_runners_up
from .structures import (
    BlockDense,
    BlockShuffle,
    Dictionary,
    LowRank,
    LowRankSparse,
    Structure,
)
from .support import random_support, strided_support
from .views import Layer, as_matrix, as_rows, from_rows, set_bias, with_taps, without_taps

Plans = dict[str, LayerPlan]


@dataclass(frozen=True)
class Replacement:
    """How one layer is replaced.

    plan: of its weight, dense; sparse: the plan of a factor of this shape with this pattern.
    """

    structure: Structure
    pattern: NM
    plan: LayerPlan
    sparse: Callable[[tuple[int, ...], NM], LayerPlan]
    generator: torch.Generator | None = None

    @property
    def owner(self) -> str:
        """Prefix of the parts' names."""
        return self.plan.name.removesuffix("weight")


def replace_weight(layer: Layer, how: Replacement) -> Plans:
    """Turn `layer` into the factors of its weight. Returns the plans by parameter name.

    A weight on the meta device gives factors there, of the same shapes.
    """
    plans = _BUILDERS[type(how.structure)](layer, how)
    named = {f"{how.owner}{part}": plan for part, plan in plans.items()}
    return {name: replace(plan, name=name) for name, plan in named.items()}


def _low_rank(layer: Layer, how: Replacement) -> Plans:
    structure = how.structure
    assert isinstance(structure, LowRank)
    weight = layer.weight.detach()
    v, u = _spectral(weight, spectral.low_rank, structure.rank(how.plan.shape))
    if structure.initialisation == "orthonormal":
        v, u = spectral.polar(v), spectral.polar(u)
    first = with_taps(layer, v.view(-1, *weight.shape[1:]))
    chain = _chain(first=first, second=set_bias(without_taps(layer, u), layer.bias))
    return _structured(layer, chain, how, structure)


def _block_dense(layer: Layer, how: Replacement) -> Plans:
    structure = how.structure
    assert isinstance(structure, BlockDense)
    weight = layer.weight.detach()
    rank, blocks = structure.rank(how.plan.shape), structure.blocks
    v, u = _spectral(weight, spectral.block_dense, rank, blocks)
    if structure.initialisation == "orthonormal":
        v, u = spectral.polar(v), spectral.polar(u)
    second = set_bias(without_taps(layer, u), layer.bias)
    return _structured(layer, _chain(first=_blocks(layer, v), second=second), how, structure)


def _block_shuffle(layer: Layer, how: Replacement) -> Plans:
    structure = how.structure
    assert isinstance(structure, BlockShuffle)
    weight = layer.weight.detach()
    v, u = _spectral(
        weight, spectral.block_shuffle, structure.inner(how.plan.shape), structure.blocks
    )
    if structure.initialisation == "orthonormal":
        v, u = spectral.polar(v), spectral.polar(u)
    axis = -1 if isinstance(layer, nn.Linear) else -3
    parts: dict[str, nn.Module] = {
        "first": _blocks(layer, v),
        "shuffle": Shuffle(structure.blocks, axis),
        "second": BlockLinear(u) if axis == -1 else without_taps(layer, u.flatten(0, 1), len(u)),
        "unshuffle": Shuffle(structure.blocks, axis, inverse=True),
    }
    if layer.bias is not None:
        parts["offset"] = Bias(cast("nn.Parameter", layer.bias), axis)
    return _structured(layer, _chain(**parts), how, structure)


def _dictionary(layer: Layer, how: Replacement) -> Plans:
    structure = how.structure
    assert isinstance(structure, Dictionary)
    weight, shape = layer.weight.detach(), how.plan.shape
    pattern = structure.pattern(shape, how.pattern)
    atoms = structure.atoms(shape, how.pattern)
    factors = _pursued(weight, atoms, pattern, structure.alternations, how.generator)
    if structure.training == "weight":
        project_layer(layer, factors, pattern, structure.every)
        return {"weight": _runs_dense(how.plan, "trained at dense cost; its factors are deployed")}
    if structure.training == "factors" and not weight.is_meta:
        dense = with_runners_up(as_rows(weight), factors, pattern)
        factors = replace(factors, coefficients=dense)
    parts = dictionary_parts(layer, factors)
    second = parts["second"]
    plan = how.sparse(tuple(second.weight.shape), pattern)
    plans = {"first.weight": _dense(how.plan, parts["first"].weight)}
    if structure.training == "fixed":
        kept = from_rows(factors.support, tuple(weight.shape))
        fix_support(second, _positions(kept, pattern))
        reason = "the fixed support is not N:M along the outputs"
        plans["second.values"] = replace(plan, bp=None, dense_because={Phase.BP: reason})
    else:
        make_sparse(second, replace(plan, name=f"{how.owner}second.weight"))
        plans["second.weight"] = plan
    become(layer, Chain, **parts)
    return plans


def dictionary_parts(layer: Layer, factors: Factors) -> dict[str, Layer]:
    """D and S as layers; S has the layer's taps and bias."""
    second = with_taps(layer, from_rows(factors.coefficients, tuple(layer.weight.shape)))
    set_bias(second, layer.bias)
    return {"first": without_taps(layer, factors.dictionary), "second": second}


def make_sparse(layer: Layer, plan: LayerPlan) -> None:
    """Let a layer's products follow a plan, in place."""
    layer.__class__ = SparseLinear if isinstance(layer, nn.Linear) else SparseConv2d
    assert isinstance(layer, SparseLinear | SparseConv2d)
    layer.plan = plan


def _low_rank_sparse(layer: Layer, how: Replacement) -> Plans:
    structure, shape = how.structure, how.plan.shape
    assert isinstance(structure, LowRankSparse)
    weight, rank = layer.weight.detach(), structure.rank(shape)
    a = torch.empty((rank, *weight.shape[1:]), dtype=weight.dtype, device=weight.device)
    nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=how.generator)
    b = torch.zeros((weight.shape[0], rank), dtype=weight.dtype, device=weight.device)
    low_rank = _chain(first=with_taps(layer, a), second=without_taps(layer, b))
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    full = torch.empty_like(weight).uniform_(-bound, bound, generator=how.generator)
    sparse = set_bias(with_taps(layer, full), layer.bias)
    strided = structure.support == "strided"
    fix_support(
        sparse,
        strided_support(shape, how.pattern, how.generator)
        if strided
        else random_support(shape, structure.density, how.generator),
    )
    become(layer, LowRankPlusSparse, low_rank=low_rank, sparse=sparse)
    assert isinstance(layer, LowRankPlusSparse)
    layer.scale = structure.alpha / rank
    return {
        "low_rank.first.weight": _dense(how.plan, low_rank[0].weight),
        "low_rank.second.weight": _dense(how.plan, low_rank[1].weight),
        "sparse.values": _supported(how)
        if strided
        else _runs_dense(how.plan, "random positions have no groups"),
    }


class LowRankPlusSparse(nn.Module):
    """y = scale * low_rank(x) + sparse(x)."""

    low_rank: Chain
    sparse: nn.Module
    scale: float
    kernels: str | None = None
    """As `LayerPlan.kernels`."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernels == "cpu" and not x.is_meta and self.low_rank.merged is None:
            from ..factor_products import low_rank_support_linear

            down, up = (weight_of(part) for part in self.low_rank)
            return low_rank_support_linear(x, down, up, self.scale, self.sparse)
        y: Tensor = self.sparse(x) + self.scale * self.low_rank(x)
        return y


def _structured(
    layer: Layer, chain: Chain, how: Replacement, structure: LowRank | BlockDense | BlockShuffle
) -> Plans:
    """The chain in the layer's place, with a guide beside it where the structure asks for one."""
    parts = {
        f"{name}.weight": _dense(how.plan, part.weight)
        for name, part in chain.named_children()
        if name in ("first", "second")
    }
    if not structure.guided:
        become(layer, Chain, **dict(chain.named_children()))
        return parts
    guide = with_taps(layer, materialise(chain).detach().reshape(layer.weight.shape))
    become(layer, SelfGuided, factors=chain, guide=set_bias(guide, layer.bias))
    assert isinstance(layer, SelfGuided)
    layer.saves_work, layer.share = structure.saves_work, 1.0
    layer.register_buffer("blend", torch.ones((), dtype=torch.float64, device=guide.weight.device))
    plans = {f"factors.{name}": plan for name, plan in parts.items()}
    return plans | {"guide.weight": _dense(how.plan, guide.weight)}


def become(layer: nn.Module, kind: type[nn.Module], **parts: nn.Module) -> None:
    """Change the layer's class; its parameters, buffers and modules make way for the parts."""
    layer.__class__ = kind
    for owned in (layer._parameters, layer._buffers, layer._modules):
        owned.clear()
    for name, part in parts.items():
        layer.add_module(name, part.train(layer.training))


def _chain(**parts: nn.Module) -> Chain:
    chain = Chain()
    for name, part in parts.items():
        chain.add_module(name, part)
    return chain


def _blocks(layer: Layer, v: Tensor) -> nn.Module:
    """The block-diagonal factor with the layer's taps. v: (blocks, width, in / blocks * taps)."""
    if isinstance(layer, nn.Linear):
        return BlockLinear(v)
    taps = layer.weight.shape[2:]
    return with_taps(layer, v.flatten(0, 1).unflatten(1, (-1, *taps)), groups=len(v))


def _spectral(weight: Tensor, fit: Callable[..., Any], *sizes: int) -> tuple[Tensor, Tensor]:
    v, u = fit(as_matrix(weight), *sizes)
    return v, u


def _pursued(
    weight: Tensor, atoms: int, pattern: NM, alternations: int, generator: torch.Generator | None
) -> Factors:
    rows = as_rows(weight)
    if not weight.is_meta:
        return factorize(rows, atoms, pattern, alternations=alternations, generator=generator)
    shape = (rows.shape[0], atoms)
    return Factors(
        torch.empty(shape, device="meta", dtype=weight.dtype),
        torch.empty(shape, device="meta", dtype=torch.bool),
        torch.empty((atoms, rows.shape[1]), device="meta", dtype=weight.dtype),
    )


def _positions(kept: Tensor, pattern: NM) -> Tensor:
    if kept.is_meta:
        count = kept.numel() // pattern.m * pattern.n
        return torch.empty(count, dtype=torch.int64, device="meta")
    return kept.flatten().nonzero().squeeze(1)


def _dense(plan: LayerPlan, weight: Any) -> LayerPlan:
    """The plan of a factor that no method prunes."""
    return replace(plan, shape=tuple(weight.shape), dense_because={})


def _runs_dense(plan: LayerPlan, reason: str) -> LayerPlan:
    return replace(plan, dense_because=dict.fromkeys((Phase.FF, Phase.BP), reason))


def _supported(how: Replacement) -> LayerPlan:
    """A strided support is N:M along both axes."""
    plan = how.sparse(how.plan.shape, how.pattern)
    return replace(plan, ff=how.pattern, bp=how.pattern, reuses_ff_in_bp=False, dense_because={})


_BUILDERS: dict[type, Callable[[Layer, Replacement], Plans]] = {
    LowRank: _low_rank,
    BlockDense: _block_dense,
    BlockShuffle: _block_shuffle,
    Dictionary: _dictionary,
    LowRankSparse: _low_rank_sparse,
}
"""A structure -> how it replaces a layer."""
