"""Which layers a method prunes: the part of a method that looks at the whole network.

Every pruned layer gets the method's pattern. Dense by default: stem and classifier (see `ends`), tied
weights and depthwise convolutions; `include` opts in. What has no sparse form here (see `discovery`) is
always dense.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from cosparse.spec import UnsupportedError
from cosparse.spec.errors import nearest

from .discovery import Candidate
from .ends import Ends


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
