"""Give the chosen layers of a model the structure of a method, in place."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import nn

from cosparse.spec import NM, Phase

from ..discovery import Candidate
from ..layers import SparseLinear
from ..methods import Method
from ..plan import LayerPlan, plan_layer
from .parts import BlockLinear, FixedSupportLinear
from .replace import LowRankPlusSparse, Plans, Replacement, replace_weight
from .structures import Structure, why_dense
from .views import Layer


def replace_weights(
    model: nn.Module,
    candidates: Sequence[Candidate],
    why: dict[str, str | None],
    method: Method,
    structure: Structure,
    pattern: NM,
    *,
    select_dtype: str = "float16",
    generator: torch.Generator | None = None,
) -> tuple[Plans, tuple[str, ...]]:
    """candidates: of `model`; why: weight name -> why it stays dense, or None.

    Returns plans by parameter name, those of dense weights too, and the paths of the replaced modules.
    """
    plans: Plans = {}
    replaced = []
    for item in candidates:
        reason = why[item.name] or _no_form(item, structure, pattern)
        plan = LayerPlan(item.name, item.shape, item.conv_groups, select_dtype=select_dtype)
        if reason is not None:
            phases = (Phase.FF, Phase.BP)
            plans[item.name] = replace(plan, dense_because=dict.fromkeys(phases, reason))
            continue
        sparse = partial(_plan_factor, item, method, select_dtype)
        how = Replacement(structure, pattern, plan, sparse, generator)
        plans |= replace_weight(cast("Layer", model.get_submodule(item.owner)), how)
        replaced.append(item.owner)
    return plans, tuple(replaced)


def _no_form(item: Candidate, structure: Structure, pattern: NM) -> str | None:
    if item.kind == "attention":
        return "the projections of MultiheadAttention have no factorised form here"
    return why_dense(structure, item.shape, item.conv_groups, pattern)


def _plan_factor(
    item: Candidate, method: Method, select_dtype: str, shape: tuple[int, ...], pattern: NM
) -> LayerPlan:
    """The plan of a sparse factor of `item`'s weight: the method's phases on the factor's axes."""
    return plan_layer(
        replace(item, shape=shape, conv_groups=1), method, pattern, select_dtype, None
    )


def use_cpu_kernels(model: nn.Module, plans: Plans) -> Plans:
    """Let the linear factors of a model multiply by the CPU kernels, in place; returns the new plans."""
    for module in model.modules():
        if isinstance(module, SparseLinear):
            module.plan = replace(module.plan, kernels="cpu")
        elif isinstance(module, BlockLinear | FixedSupportLinear):
            module.kernels = "cpu"
        elif isinstance(module, LowRankPlusSparse):
            linear = isinstance(module.sparse, FixedSupportLinear)
            module.kernels = "cpu" if linear else None
    return {name: replace(plan, kernels="cpu") for name, plan in plans.items()}
