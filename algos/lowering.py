"""Join a captured, dense workload with the patterns of a sparsified model's layers.

Adds what training with these patterns costs beside the GEMMs: one UPDATE for every trained weight
and one PRUNE for every packed copy that FF and BP read (pre-generated once a step).
"""

from dataclasses import replace
from math import prod

from cosparse.spec import Gemm, Operand, Pattern, Phase, Vector, Workload

from .plan import LayerPlan

UPDATE_BYTES = 20
"""SGD with momentum in FP32: weight and momentum read and written (16), FP16 gradient and copy (4)."""
FP16_BYTES = 2
INDEX_BYTES = 0.5


def lower(workload: Workload, layers: dict[str, LayerPlan]) -> Workload:
    """workload: from `capture`; layers: weight name -> plan. Returns the step that executors run.

    Layers are joined by the weight's parameter name, which is the name of the operand's tensor.
    """
    ops = [_with_patterns(op, layers) if isinstance(op, Gemm) else op for op in workload.ops]
    weights = [tensor for tensor in workload.tensors if tensor.role == "weight"]
    trained = {op.name for op in workload.gemms if op.phase is Phase.WU}
    extra: list[Gemm | Vector] = []
    for tensor in weights:
        elements = prod(tensor.shape)
        extra.append(
            Vector(tensor.name, Phase.UPDATE, "sgd_momentum", elements, UPDATE_BYTES * elements)
        )
        extra += _prunes(tensor.name, elements, layers.get(tensor.name))
    return replace(workload, ops=(*ops, *extra)) if trained else replace(workload, ops=tuple(ops))


def _with_patterns(gemm: Gemm, layers: dict[str, LayerPlan]) -> Gemm:
    plan = layers.get(gemm.rhs.tensor)
    if plan is None or gemm.phase not in (Phase.FF, Phase.BP):
        return gemm
    return replace(
        gemm,
        lhs=_patterned(gemm.lhs, plan.gradient_pattern(gemm.phase)),
        rhs=_patterned(gemm.rhs, plan.weight_pattern(gemm.phase)),
    )


def _patterned(operand: Operand, pattern: Pattern) -> Operand:
    return replace(operand, pattern=pattern)


def _prunes(name: str, elements: int, plan: LayerPlan | None) -> list[Vector]:
    """One pass over the FP16 weights for every packed copy: read them, write values and indices."""
    patterns = {} if plan is None else {"FF": plan.ff, "BP": plan.bp}
    return [
        Vector(
            f"{name}.{copy}", Phase.PRUNE, str(pattern), elements, _prune_bytes(elements, pattern)
        )
        for copy, pattern in patterns.items()
        if pattern is not None
    ]


def _prune_bytes(elements: int, pattern: Pattern) -> int:
    packed = elements * pattern.density * (FP16_BYTES + INDEX_BYTES)
    return FP16_BYTES * elements + round(packed)
