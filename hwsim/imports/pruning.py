"""Patterns for the weights of an imported workload, which has no model to sparsify."""

from collections.abc import Mapping
from dataclasses import replace

from cosparse.spec import Dense, Gemm, Pattern, PatternError, Phase, UnsupportedError, Workload

PRUNED_PHASES = (Phase.FF, Phase.BP)


def prune(workload: Workload, pattern: Pattern, *, ends: bool = False) -> Workload:
    """Give `pattern` to every weight in FF and BP; the same choices as `algos.sparsify` makes.

    The stem (the first convolution) and the classifier (the last product with a weight) stay dense
    unless `ends`; so does a weight that has a pattern already, and a phase whose reduction axis the
    pattern does not fit. Raises UnsupportedError when nothing at all takes the pattern.
    """
    weights = _weights(workload)
    dense = {} if ends else _ends(workload)
    own = {gemm.rhs.tensor for gemm in workload.gemms if not isinstance(gemm.rhs.pattern, Dense)}
    chosen = {name: pattern for name in weights if name not in dense and name not in own}
    pruned = assign(workload, chosen)
    pruned.provenance["dense"] |= {name: why for name, why in dense.items() if name not in own}
    if pruned.issued_macs() == workload.issued_macs() and pattern.density < 1:
        reasons = "; ".join(f"{name}: {why}" for name, why in pruned.provenance["dense"].items())
        raise UnsupportedError(
            f"pattern '{pattern}' prunes no weight ({reasons or 'the workload has no weight'})"
        )
    return pruned


def without_patterns(workload: Workload) -> Workload:
    """The same workload with every weight dense."""
    return assign(workload, dict.fromkeys(_weights(workload), Dense()))


def assign(workload: Workload, patterns: Mapping[str, Pattern]) -> Workload:
    """Give each named weight its pattern in FF and BP.

    A phase that the pattern does not fit stays dense; `provenance["dense"]` says why.
    """
    dense = dict(workload.provenance.get("dense", {}))
    ops = []
    for op in workload.ops:
        pattern = patterns.get(op.rhs.tensor) if isinstance(op, Gemm) else None
        if isinstance(op, Gemm) and pattern is not None and op.phase in PRUNED_PHASES:
            reason = misfit(op, pattern)
            if reason is not None:
                dense[f"{op.rhs.tensor} ({op.phase})"] = reason
            else:
                op = replace(op, rhs=replace(op.rhs, pattern=pattern))
        ops.append(op)
    return replace(workload, ops=tuple(ops), provenance={**workload.provenance, "dense": dense})


def misfit(gemm: Gemm, pattern: Pattern) -> str | None:
    """Why the pattern does not fit the GEMM's weight along its reduction axis, or None."""
    if gemm.batch > 1:
        return "one matrix for each product of the batch has no packed form"
    try:
        pattern.validate((gemm.n, gemm.channels))
    except PatternError as error:
        return str(error)
    return None


def _weights(workload: Workload) -> list[str]:
    """Parameters in the order of their first use."""
    layers = workload.provenance["layers"].values()
    return list(dict.fromkeys(layer["parameter"] for layer in layers))


def _ends(workload: Workload) -> dict[str, str]:
    """Weight -> which end of the network it is."""
    layers = workload.provenance["layers"]
    forward = [g for g in workload.gemms if g.phase is Phase.FF and g.name in layers]
    stems = [gemm.rhs.tensor for gemm in forward if gemm.conv is not None][:1]
    classifiers = [gemm.rhs.tensor for gemm in forward][-1:]
    return dict.fromkeys(stems, "stem") | dict.fromkeys(classifiers, "classifier")
