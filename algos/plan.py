"""Which layers a method makes sparse, and in which phases. Decides; changes nothing.

A phase is sparse where its grouped axis has at least M entries: FF groups along the inputs of one
convolution group, BP along its outputs. A shorter axis leaves that phase dense, with the reason
kept. Dense by default: stem and classifier (see `ends`), tied weights and depthwise convolutions;
`include` opts in. What has no sparse form here (see `discovery`) is always dense.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from cosparse.spec import NM, Dense, Pattern, Phase, UnsupportedError
from cosparse.spec.errors import nearest

from .discovery import Candidate
from .ends import Ends
from .methods import Method


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


def default_dense(model: nn.Module, candidates: Sequence[Candidate], ends: Ends) -> dict[str, str]:
    """Weight name -> why it stays dense unless included by name."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    reasons: dict[str, str] = {}
    for item in candidates:
        if item.no_sparse_form is not None:
            continue
        if item.owner in ends.stems:
            reasons[item.name] = "stem"
        if item.owner in ends.classifiers:
            reasons[item.name] = "classifier"
        if uses[id(parameters[item.name])] > 1:
            reasons[item.name] = "tied weight"
        if item.kind == "conv" and item.shape[1] == 1 and item.conv_groups > 1:
            reasons[item.name] = "depthwise convolution"
    return reasons


def choose(
    candidates: Sequence[Candidate],
    dense: dict[str, str],
    include: Iterable[str],
    exclude: Iterable[str],
) -> dict[str, str | None]:
    """Weight name -> None (to be pruned) or why it stays dense.

    include, exclude: module or weight names, shell wildcards allowed; exclude wins. A name that
    matches nothing, or is included and matches only what has no sparse form, raises
    UnsupportedError.
    """
    included = {item.name for item in _matching(candidates, include, pruned=True)}
    excluded = {item.name for item in _matching(candidates, exclude, pruned=False)}

    def reason(item: Candidate) -> str | None:
        if item.no_sparse_form is not None:
            return item.no_sparse_form
        if item.name in excluded:
            return "excluded by name"
        return None if item.name in included else dense.get(item.name)

    return {item.name: reason(item) for item in candidates}


def _matching(
    candidates: Sequence[Candidate], globs: Iterable[str], *, pruned: bool
) -> list[Candidate]:
    """What the names match. pruned: each must match a layer that has a sparse form."""
    matched: list[Candidate] = []
    for glob in globs:
        hits = [item for item in candidates if any(fnmatchcase(n, glob) for n in _names(item))]
        if not hits:
            raise UnsupportedError(_no_match(candidates, glob))
        if pruned and all(item.no_sparse_form is not None for item in hits):
            reasons = "; ".join(f"{item.name}: {item.no_sparse_form}" for item in hits)
            raise UnsupportedError(f"include '{glob}' cannot be pruned ({reasons})")
        matched += hits
    return matched


def _no_match(candidates: Sequence[Candidate], glob: str) -> str:
    owners = dict.fromkeys(item.owner for item in candidates if item.no_sparse_form is None)
    return (
        f"no Linear, Conv2d or attention layer matches '{glob}'{nearest(glob, owners)} "
        f"(layers: {', '.join(owners)})"
    )


def _names(item: Candidate) -> tuple[str, str, str]:
    return item.name, item.name.removesuffix(".weight"), item.owner


def plan_layer(
    item: Candidate, method: Method, pattern: Pattern, select_dtype: str, dense_because: str | None
) -> LayerPlan:
    """Decide the phases of one weight. `dense_because`: a reason that holds for every phase."""
    wanted = [phase for phase in (Phase.FF, Phase.BP) if method.sparse_operand(phase)]
    if dense_because is not None or not isinstance(pattern, NM):
        reasons = dict.fromkeys(wanted, dense_because or "dense pattern")
        return LayerPlan(item.name, item.shape, item.conv_groups, dense_because=reasons)
    lengths = {Phase.FF: item.shape[1], Phase.BP: item.shape[0] // item.conv_groups}
    reasons = {
        phase: f"grouped axis has {lengths[phase]} < M = {pattern.m} entries"
        for phase in wanted
        if lengths[phase] < pattern.m
    }
    sparse = {phase: method.sparse_operand(phase) for phase in wanted if phase not in reasons}
    return LayerPlan(
        item.name,
        item.shape,
        item.conv_groups,
        ff=pattern if sparse.get(Phase.FF) == "weight" else None,
        bp=pattern if sparse.get(Phase.BP) == "weight" else None,
        gradient=pattern if sparse.get(Phase.BP) == "gradient" else None,
        reuses_ff_in_bp=method.reuses_ff_in_bp,
        select_dtype=select_dtype,
        dense_because=reasons,
    )
