"""Join a captured, dense workload with the patterns of a sparsified model's layers.

Adds what training with these patterns costs beside the GEMMs: one UPDATE for every trained weight
and one PRUNE for every packed copy that FF and BP read (pre-generated once a step).
"""

from dataclasses import dataclass, replace
from math import prod

from cosparse.spec import (
    NM,
    Block,
    Gemm,
    Operand,
    Pattern,
    Phase,
    UnsupportedError,
    Vector,
    Workload,
)
from cosparse.spec.errors import unknown_name
from cosparse.spec.formats import LANE_ALIGNMENT
from cosparse.spec.formats.nm import NIBBLE_MAX_M
from cosparse.spec.layout import Layout
from cosparse.spec.patterns import kept_count, padded

from .plan import LayerPlan, at_stage
from .schedules import Stage, Timeline

FP16_BYTES = 2
FP32_BYTES = 4
INDEX_BYTES = 4


@dataclass(frozen=True)
class Update:
    """An optimizer's pass over one weight. moments: FP32 values it keeps for each entry."""

    kind: str
    moments: int

    @property
    def bytes_per_entry(self) -> int:
        """Weight and moments read and written, FP32 gradient read, FP16 copy written."""
        return 2 * FP32_BYTES * (1 + self.moments) + FP32_BYTES + FP16_BYTES


UPDATES: dict[str, Update] = {
    "sgd": Update("sgd_momentum", moments=1),
    "adam": Update("adam", moments=2),
    "adamw": Update("adamw", moments=2),
}
"""Optimizer -> its update. SGD is priced with its momentum, also where that is zero."""


def lower(workload: Workload, layers: dict[str, LayerPlan], *, optimizer: str = "sgd") -> Workload:
    """workload: from `capture`; layers: weight name -> plan. Returns the step that executors run.

    Layers are joined by the weight's parameter name, which is the name of the operand's tensor.
    Without WU nothing is trained: weights are packed once, before the step. Raises UnsupportedError
    for an optimizer that UPDATES lacks.
    """
    if optimizer not in UPDATES:
        raise UnsupportedError(unknown_name("optimizer", optimizer, UPDATES))
    ops = [_with_patterns(op, layers) if isinstance(op, Gemm) else op for op in workload.ops]
    trained = _trained_weights(workload)
    read = {(op.rhs.tensor, op.phase) for op in workload.gemms}
    extra: list[Vector] = []
    for tensor in workload.tensors:
        if tensor.name in trained:
            elements = prod(tensor.shape)
            extra.append(_update(tensor.name, elements, UPDATES[optimizer]))
            extra += _prunes(tensor.name, elements, layers.get(tensor.name), read)
    return replace(workload, ops=(*ops, *extra))


def lower_stages(
    workload: Workload, layers: dict[str, LayerPlan], timeline: Timeline, *, optimizer: str = "sgd"
) -> list[tuple[Stage, Workload]]:
    """The step of every stage of a schedule: dense while dropped weights still pass.

    A stage stands for its `end - begin` steps. Raises as `lower`.
    """
    return [
        (stage, lower(workload, _plans_in(stage, layers), optimizer=optimizer))
        for stage in timeline.stages
    ]


def _plans_in(stage: Stage, layers: dict[str, LayerPlan]) -> dict[str, LayerPlan]:
    exploited = Stage(stage.begin, stage.end, stage.hardware_pattern)
    return {name: at_stage(plan, exploited, stage.begin) for name, plan in layers.items()}


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


def _update(name: str, elements: int, update: Update) -> Vector:
    return Vector(name, Phase.UPDATE, update.kind, elements, update.bytes_per_entry * elements)


def _prunes(
    name: str, elements: int, plan: LayerPlan | None, read: set[tuple[str, Phase]]
) -> list[Vector]:
    """One pass over the FP16 weights for every packed copy: read them, write values and indices.

    read: (weight, phase) of every product, so that no copy is packed that none of them reads.
    """
    if plan is None:
        return []
    copies = [(Phase.FF, 1, plan.ff), (Phase.BP, 0, plan.bp)]
    vectors = []
    for phase, axis, pattern in copies:
        if pattern is not None and (name, phase) in read:
            written = packed_bytes(Layout(plan.shape, axis, plan.conv_groups), pattern)
            moved = FP16_BYTES * elements + written
            vectors.append(Vector(f"{name}.{phase}", Phase.PRUNE, str(pattern), elements, moved))
    return vectors


def packed_bytes(layout: Layout, pattern: Pattern) -> int:
    """Bytes of an FP16 image, tails and lane padding included (see cosparse.spec.formats)."""
    if isinstance(pattern, Block):
        return _block_bytes(layout, pattern)
    assert isinstance(pattern, NM)
    groups = padded(layout.reduction, pattern.m) // pattern.m
    lanes = padded(layout.lanes, LANE_ALIGNMENT)
    entries = layout.conv_groups * layout.taps * groups * pattern.n * lanes
    index_bytes = entries // 2 if pattern.m <= NIBBLE_MAX_M else entries
    return FP16_BYTES * entries + index_bytes


def _block_bytes(layout: Layout, pattern: Block) -> int:
    """Values of the kept blocks, a column each, and a pointer a block row; 32 bits an index."""
    rows = layout.conv_groups * (padded(layout.lanes, pattern.rows) // pattern.rows)
    columns = layout.taps * (padded(layout.reduction, pattern.cols) // pattern.cols)
    blocks = kept_count(pattern.density, rows * columns)
    entries = blocks * pattern.rows * pattern.cols
    return FP16_BYTES * entries + INDEX_BYTES * (blocks + rows + 1)
