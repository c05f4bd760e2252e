"""Which layers a method makes sparse, and in which phases. Decides; changes nothing.

A phase is sparse where its grouped axis has at least M entries: FF groups along the inputs of one
convolution group, BP along its outputs. A shorter axis leaves that phase dense, with the reason
kept. Dense by default: the stem (the Conv2d that reads the network's input), the classifier (the
last Linear or Conv2d of the network), tied weights and depthwise convolutions; `include` opts in.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from cosparse.spec import NM, Dense, Pattern, Phase, UnsupportedError
from cosparse.spec.errors import nearest

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


@dataclass(frozen=True)
class Candidate:
    """A weight that a method could prune. `owner` is the module that multiplies by it."""

    name: str
    owner: str
    shape: tuple[int, ...]
    conv_groups: int
    kind: str
    """linear, conv or attention."""


def find_candidates(model: nn.Module) -> list[Candidate]:
    """All weights of Linear, Conv2d and MultiheadAttention modules, in registration order."""
    found: list[Candidate] = []
    inside_attention: set[str] = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, nn.MultiheadAttention):
            inside_attention.add(f"{prefix}out_proj")
            out = module.out_proj.weight
            if module.in_proj_weight is not None:
                shape = tuple(module.in_proj_weight.shape)
                found.append(Candidate(f"{prefix}in_proj_weight", path, shape, 1, "attention"))
            found.append(
                Candidate(f"{prefix}out_proj.weight", path, tuple(out.shape), 1, "attention")
            )
        elif path in inside_attention:
            continue
        elif type(module) is nn.Linear:
            found.append(
                Candidate(f"{prefix}weight", path, tuple(module.weight.shape), 1, "linear")
            )
        elif type(module) is nn.Conv2d:
            shape = tuple(module.weight.shape)
            found.append(Candidate(f"{prefix}weight", path, shape, module.groups, "conv"))
    return found


def default_dense(model: nn.Module, candidates: Sequence[Candidate]) -> dict[str, str]:
    """Weight name -> why it stays dense unless included by name."""
    reasons: dict[str, str] = {}
    stem = next((item for item in candidates if item.kind == "conv"), None)
    head = next((item for item in reversed(candidates) if item.kind != "attention"), None)
    if stem is not None:
        reasons[stem.name] = "stem"
    if head is not None:
        reasons[head.name] = "classifier"
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for item in candidates:
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
    matches nothing raises UnsupportedError.
    """
    included = _matching(candidates, include)
    excluded = _matching(candidates, exclude)
    return {
        item.name: "excluded by name"
        if item.name in excluded
        else (None if item.name in included else dense.get(item.name))
        for item in candidates
    }


def _matching(candidates: Sequence[Candidate], globs: Iterable[str]) -> set[str]:
    matched: set[str] = set()
    for glob in globs:
        hits = {
            item.name
            for item in candidates
            if any(fnmatchcase(name, glob) for name in _names(item))
        }
        if not hits:
            names = [item.owner for item in candidates]
            raise UnsupportedError(
                f"no Linear, Conv2d or attention layer matches '{glob}'{nearest(glob, names)} "
                f"(layers: {', '.join(names)})"
            )
        matched |= hits
    return matched


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
