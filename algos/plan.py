"""What a method makes of one layer: its phases and their patterns. Decides; changes nothing.

A phase is sparse where its grouped axis has at least M entries: FF groups along the inputs of one
convolution group, BP along its outputs. A shorter axis leaves that phase dense, with the reason
kept.
"""

from dataclasses import dataclass, field, replace

from cosparse.spec import NM, Block, Dense, Pattern, Phase

from .discovery import Candidate
from .methods import METHODS, Method
from .schedules import Stage

KERNELS = ("cpu", "gpu")
"""Backends that train on packed copies."""


@dataclass(frozen=True)
class LayerPlan:
    """One weight of the model and what the method does to it.

    name: the weight's parameter name in the model; shape: (out, in / conv_groups, *taps).
    """

    name: str
    shape: tuple[int, ...]
    conv_groups: int
    ff: Pattern | None = None
    bp: Pattern | None = None
    gradient: Pattern | None = None
    update: Pattern | None = None
    reuses_ff_in_bp: bool = False
    select_dtype: str = "float16"
    method: Method = METHODS["dense"]
    passed: float = 0.0
    """The share of its dropped weights that FF multiplies by: above 0 in a mask decay."""
    dense_because: dict[Phase, str] = field(default_factory=dict)
    kernels: str | None = None
    """What multiplies: None for torch on masked weights, or a name in `KERNELS` for packed copies."""

    @property
    def is_sparse(self) -> bool:
        return any(
            pattern is not None for pattern in (self.ff, self.bp, self.gradient, self.update)
        )

    def weight_pattern(self, phase: Phase) -> Pattern:
        """Pattern of the weight operand in a phase."""
        chosen = {Phase.FF: self.ff, Phase.BP: self.bp}.get(phase)
        return Dense() if chosen is None else chosen

    def gradient_pattern(self, phase: Phase) -> Pattern:
        """Pattern of the output-gradient operand in a phase; executors run WU dense."""
        return self.gradient if phase is Phase.BP and self.gradient is not None else Dense()


def plan_layer(
    item: Candidate, method: Method, pattern: Pattern, select_dtype: str, dense_because: str | None
) -> LayerPlan:
    """Decide the phases of one weight. `dense_because`: a reason that holds for every phase."""
    plan = LayerPlan(
        item.name, item.shape, item.conv_groups, select_dtype=select_dtype, method=method
    )
    wanted = [phase for phase in (Phase.FF, Phase.BP) if method.sparse_operand(phase)]
    if dense_because is not None or isinstance(pattern, Dense):
        reasons = dict.fromkeys(wanted, dense_because or "dense pattern")
        return replace(plan, dense_because=reasons)
    return _with_pattern(plan, pattern)


def at_stage(plan: LayerPlan, stage: Stage, step: int) -> LayerPlan:
    """The plan of a pruned layer in one step of a stage; a dense layer's own."""
    if not plan.is_sparse:
        return plan
    blank = replace(plan, ff=None, bp=None, gradient=None, update=None, dense_because={})
    if isinstance(stage.pattern, Dense):
        return blank
    return replace(_with_pattern(blank, stage.pattern), passed=stage.passed(step))


def _with_pattern(plan: LayerPlan, pattern: Pattern) -> LayerPlan:
    """Give every phase that the method prunes its pattern, or the reason why it stays dense."""
    method = plan.method
    operands = {phase: method.sparse_operand(phase) for phase in (Phase.FF, Phase.BP)}
    found = {phase: _phase_pattern(plan, phase, pattern) for phase, of in operands.items() if of}
    reasons = {phase: why for phase, why in found.items() if isinstance(why, str)}
    if reasons and method.one_support:  # one mask for both phases, or none
        reasons = dict.fromkeys(found, next(iter(reasons.values())))
    chosen: dict[tuple[Phase, str | None], Pattern] = {
        (phase, operands[phase]): one
        for phase, one in found.items()
        if phase not in reasons and not isinstance(one, str)
    }
    return replace(
        plan,
        ff=chosen.get((Phase.FF, "weight")),
        bp=chosen.get((Phase.BP, "weight")),
        gradient=chosen.get((Phase.BP, "gradient")),
        update=pattern if method.prunes_update else None,
        reuses_ff_in_bp=method.reuses_ff_in_bp,
        dense_because=reasons,
    )


def _phase_pattern(plan: LayerPlan, phase: Phase, pattern: Pattern) -> Pattern | str:
    """The pattern as a phase sees it, or why the layer is too small for it."""
    outputs, inputs = plan.shape[0] // plan.conv_groups, plan.shape[1]
    if isinstance(pattern, Block):
        if outputs < pattern.rows or inputs < pattern.cols:
            return (
                f"{outputs} outputs x {inputs} inputs are less than a block of "
                f"{pattern.rows} x {pattern.cols}"
            )
        turned = Block(pattern.cols, pattern.rows, pattern.density)
        return pattern if phase is Phase.FF else turned
    assert isinstance(pattern, NM)
    length = inputs if phase is Phase.FF else outputs
    if length < pattern.m:
        return f"grouped axis has {length} < M = {pattern.m} entries"
    return pattern
