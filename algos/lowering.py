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
    Without WU nothing is trained: weights are packed once, before the step.
    """
    ops = [_with_patterns(op, layers) if isinstance(op, Gemm) else op for op in workload.ops]
    trained = _trained_weights(workload)
    read = {(op.rhs.tensor, op.phase) for op in workload.gemms}
    extra: list[Vector] = []
    for tensor in workload.tensors:
        if tensor.name in trained:
            elements = prod(tensor.shape)
            extra.append(_update(tensor.name, elements))
            extra += _prunes(tensor.name, elements, layers.get(tensor.name), read)
    return replace(workload, ops=(*ops, *extra))


def _trained_weights(workload: Workload) -> set[str]:
    """Names of the weights whose gradient the step computes; WU has its forward product's name."""
    weight_of = {op.name: op.rhs.tensor for op in workload.gemms if op.phase is Phase.FF}
    recorded = workload.provenance.get("layers", {})
    weight_of |= {name: layer["parameter"] for name, layer in recorded.items()}
    return {
        weight_of[op.name] for op in workload.gemms if op.phase is Phase.WU and op.name in weight_of
    }


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


def _update(name: str, elements: int) -> Vector:
    return Vector(name, Phase.UPDATE, "sgd_momentum", elements, UPDATE_BYTES * elements)


def _prunes(
    name: str, elements: int, plan: LayerPlan | None, read: set[tuple[str, Phase]]
) -> list[Vector]:
    """One pass over the FP16 weights for every packed copy: read them, write values and indices.

    read: (weight, phase) of every product, so that no copy is packed that none of them reads.
    """
    patterns = {} if plan is None else {Phase.FF: plan.ff, Phase.BP: plan.bp}
    return [
        Vector(
            f"{name}.{phase}", Phase.PRUNE, str(pattern), elements, _prune_bytes(elements, pattern)
        )
        for phase, pattern in patterns.items()
        if pattern is not None and (name, phase) in read
    ]


def _prune_bytes(elements: int, pattern: Pattern) -> int:
    packed = elements * pattern.density * (FP16_BYTES + INDEX_BYTES)
    return FP16_BYTES * elements + round(packed)
