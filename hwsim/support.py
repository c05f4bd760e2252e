"""What the accelerator can run, and why it refuses the rest."""

from cosparse.spec import (
    NM,
    VNM,
    Block,
    Dense,
    Gemm,
    Pattern,
    PatternError,
    Phase,
    Unstructured,
)

from .config import AcceleratorConfig
from .isa import Flow

DATAFLOWS: dict[str, Flow] = {"OS": Flow.OS, "WS": Flow.WS}
"""Output and weight stationary."""


def supports(gemm: Gemm, config: AcceleratorConfig) -> str | None:
    """Why the accelerator cannot run the GEMM, or None when it can."""
    for side in (gemm.lhs, gemm.rhs):
        if side.dtype != "float16":
            return f"operands are float16, got {side.dtype} ('{side.tensor}')"
    if gemm.batch > 1 and gemm.groups > 1:
        return f"one product has a batch or groups, got batch {gemm.batch} and groups {gemm.groups}"
    lhs, rhs = gemm.lhs.pattern, gemm.rhs.pattern
    if not isinstance(lhs, Dense) and not isinstance(rhs, Dense):
        return f"one operand of a product may be sparse, got {lhs} and {rhs}"
    if gemm.sparse_operand is None:
        return None
    if gemm.phase is Phase.WU:
        return f"WU runs dense, got {gemm.sparse_operand.pattern}"
    if not isinstance(lhs, Dense | NM):
        return f"activations and gradients are pruned online to N:M only, got {lhs}"
    pattern = gemm.sparse_operand.pattern
    return _pattern_limit(pattern, config) or _shape_limit(gemm, pattern)


def _shape_limit(gemm: Gemm, pattern: Pattern) -> str | None:
    """Why the pattern does not fit the operand's lanes and reduction axis, or None."""
    try:
        pattern.validate((gemm.n if gemm.sparse_operand is gemm.rhs else gemm.m, gemm.channels))
    except PatternError as error:
        return str(error)
    return None


def _pattern_limit(pattern: Pattern, config: AcceleratorConfig) -> str | None:
    """Why a sparse operand of this pattern cannot be selected by the array, or None."""
    if isinstance(pattern, Block):
        return _block_limit(pattern, config)
    if isinstance(pattern, Unstructured):
        return f"{pattern} has no bounded group to select from (valid: dense, N:M, V:N:M, block)"
    if not isinstance(pattern, NM | VNM):
        return f"no array mode for pattern {pattern} (valid: dense, N:M, V:N:M, block)"
    if config.group_max % pattern.m:
        valid = ", ".join(str(2**p) for p in range(config.group_max.bit_length()))
        return f"M of {pattern} must divide group_max = {config.group_max} (valid M: {valid})"
    if pattern.n > config.n_max:
        return f"N of {pattern} is above n_max = {config.n_max}"
    return None


def _block_limit(pattern: Block, config: AcceleratorConfig) -> str | None:
    """A present block is read as whole activation words, or lies inside one."""
    lanes = config.activation_lanes
    if pattern.cols % lanes and lanes % pattern.cols:
        return f"blocks of {pattern} have {pattern.cols} columns, expected a divisor or multiple of {lanes}"
    return None
