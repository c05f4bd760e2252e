"""What a method makes of one layer: its phases and their patterns. Decides; changes nothing.

A phase is sparse where its grouped axis has at least M entries: FF groups along the inputs of one
convolution group, BP along its outputs. A shorter axis leaves that phase dense, with the reason
kept.
"""

from dataclasses import dataclass, field, replace

from cosparse.spec import NM, Dense, Pattern, Phase

from .discovery import Candidate
from .methods import METHODS, Method
from .schedules import Stage


@dataclass(frozen=True)
class LayerPlan:
    """One weight of the model and what the method does to it.

    name: the weight's parameter name in the model; shape: (out, in / conv_groups, *taps).
    """

    name: str
    shape: tuple[int, ...]
    conv_groups: int
    ff: NM | None = None
    bp: NM | None = None
    gradient: NM | None = None
    reuses_ff_in_bp: bool = False
    select_dtype: str = "float16"
    method: Method = METHODS["dense"]
    passed: float = 0.0
    """The share of its dropped weights that FF multiplies by: above 0 in a mask decay."""
    dense_because: dict[Phase, str] = field(default_factory=dict)

    @property
    def is_sparse(self) -> bool:
        return any(pattern is not None for pattern in (self.ff, self.bp, self.gradient))

    def weight_pattern(self, phase: Phase) -> Pattern:
        """Pattern of the weight operand in a phase."""
        chosen = {Phase.FF: self.ff, Phase.BP: self.bp}.get(phase)
        return Dense() if chosen is None else chosen

    def gradient_pattern(self, phase: Phase) -> Pattern:
        """Pattern of the output-gradient operand in a phase (WU always reads it dense)."""
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
    blank = replace(plan, ff=None, bp=None, gradient=None, dense_because={})
    if isinstance(stage.pattern, Dense):
        return blank
    return replace(_with_pattern(blank, stage.pattern), passed=stage.passed(step))


def _with_pattern(plan: LayerPlan, pattern: Pattern) -> LayerPlan:
    """Give every phase that the method prunes its pattern, or the reason why it stays dense."""
    method = plan.method
    wanted = [phase for phase in (Phase.FF, Phase.BP) if method.sparse_operand(phase)]
    assert isinstance(pattern, NM)
    lengths = {Phase.FF: plan.shape[1], Phase.BP: plan.shape[0] // plan.conv_groups}
    reasons = {
        phase: f"grouped axis has {lengths[phase]} < M = {pattern.m} entries"
        for phase in wanted
        if lengths[phase] < pattern.m
    }
    sparse = {phase: method.sparse_operand(phase) for phase in wanted if phase not in reasons}
    return replace(
        plan,
        ff=pattern if sparse.get(Phase.FF) == "weight" else None,
        bp=pattern if sparse.get(Phase.BP) == "weight" else None,
        gradient=pattern if sparse.get(Phase.BP) == "gradient" else None,
        reuses_ff_in_bp=method.reuses_ff_in_bp,
        dense_because=reasons,
    )
