"""What each training method prunes, and how. One row a method; a row says what it overrides.

The parts lie apart: `cosparse.spec.patterns` (which entries may be present), `masks` (which are kept),
`schedules` (when, how much), `distribution` (which layers), `operands` and `functions` (the three products),
`decay` (pruned weights between steps), `loop`. docs/methods.md has formulas and sources.

    method         FF weight     BP weight     BP dY   WU dY      beside it
    dense          -             -             -       -
    sr-ste         W_FF          W_FF *        -       -          decay 2e-4
    sdgp           -             -             N:M     -
    sdwp           -             W_BP          -       -
    bdwp           W_FF          W_BP          -       -
    pgf            W~            W~ *          -       -          schedule from dense
    dsformer       S_FF D        S_BP D        -       -          W ~ S D, factor space (D dense)
    dsformer-fixed S D           S D *         -       -          the support of the start
    dsformer-weight  S D         S D *         -       -          straight-through to W
    low-rank, block-dense, block-shuffle                          W = U V, V and U dense or block-diagonal
    ...-guided                                                    beside a dense guide that fades
    sltrain        B A + S       B A + S *     -       -          S of random fixed support
    sltrain-nm     B A + S       B A + S       -       -          S of fixed support, N:M along both axes

    * the same values, not N:M along the outputs: hardware runs that product dense.

dW reaches every weight, kept or not (straight-through), unless a row says "chain".
"""

from dataclasses import dataclass
from typing import Literal

from cosparse.spec import NM, Pattern, Phase
from cosparse.spec.errors import UnsupportedError, unknown_name

from .factorized.structures import (
    BlockDense,
    BlockShuffle,
    Dictionary,
    LowRank,
    LowRankSparse,
    Structure,
)
from .schedules import Schedule


@dataclass(frozen=True)
class Method:
    """What a method prunes, by which rules, and the decay of pruned weights that it applies by default."""

    name: str
    summary: str
    prunes_ff: bool = False
    """FF uses W_FF, N:M along the inputs."""
    prunes_bp: bool = False
    """BP uses W_BP, N:M along the outputs."""
    reuses_ff_in_bp: bool = False
    """BP multiplies by W_FF, the exact gradient of the pruned forward product."""
    prunes_gradient: bool = False
    """BP uses the output gradient, N:M along the outputs."""
    decay: float = 0.0
    """Default of lambda in lambda * (1 - mask_FF) * W, applied once an optimizer step."""
    mask: str = "magnitude"
    """Rule of mask_FF: a name in `masks.MASK_RULES`."""
    gradients: Literal["ste", "chain"] = "ste"
    """dW of a dropped weight: straight-through, or times the share with which it passes (chain rule)."""
    schedule: Schedule | None = None
    """None: the pattern holds from the first step."""
    patterns: tuple[type[Pattern], ...] = (NM,)
    """Kinds of pattern that the method is defined for."""
    structure: Structure | None = None
    """What weights are replaced by; the patterns are then those of its sparse factor."""

    def sparse_operand(self, phase: Phase) -> str | None:
        """The operand that an executor may run sparse: "weight", "gradient" or None."""
        if (phase is Phase.FF and self.prunes_ff) or (phase is Phase.BP and self.prunes_bp):
            return "weight"
        return "gradient" if phase is Phase.BP and self.prunes_gradient else None


_ROWS = (
    Method("dense", "no pruning"),
    Method(
        "sr-ste",
        "N:M weights in FF, decay of the pruned ones",
        prunes_ff=True,
        reuses_ff_in_bp=True,
        decay=2e-4,
    ),
    Method("sdgp", "N:M output gradients in BP", prunes_gradient=True),
    Method("sdwp", "N:M weights in BP", prunes_bp=True),
    Method(
        "bdwp",
        "N:M weights in FF and BP, each along its own axis",
        prunes_ff=True,
        prunes_bp=True,
    ),
    Method(
        "pgf",
        "N:M weights in FF, reached by a decay from dense",
        prunes_ff=True,
        reuses_ff_in_bp=True,
        schedule=Schedule(),
    ),
    Method(
        "dsformer",
        "weights as sparse x dense dictionary, straight-through to every coefficient",
        prunes_ff=True,
        prunes_bp=True,
        structure=Dictionary(),
    ),
    Method(
        "dsformer-fixed",
        "weights as sparse x dense dictionary, on the support of the start",
        prunes_ff=True,
        structure=Dictionary(training="fixed"),
    ),
    Method(
        "dsformer-weight",
        "weights projected to sparse x dense dictionary, straight-through to the weight",
        prunes_ff=True,
        structure=Dictionary(training="weight"),
    ),
    Method("low-rank", "weights as two skinny factors", structure=LowRank()),
    Method(
        "low-rank-guided",
        "weights as two skinny factors, self-guided",
        structure=LowRank(guided=True),
    ),
    Method("block-dense", "weights as dense x block-diagonal", structure=BlockDense()),
    Method(
        "block-dense-guided",
        "weights as dense x block-diagonal, self-guided",
        structure=BlockDense(guided=True),
    ),
    Method("block-shuffle", "weights as two shuffled block-diagonals", structure=BlockShuffle()),
    Method(
        "block-shuffle-guided",
        "weights as two shuffled block-diagonals, self-guided",
        structure=BlockShuffle(guided=True),
    ),
    Method("sltrain", "low-rank + sparse of random support", structure=LowRankSparse()),
    Method(
        "sltrain-nm",
        "low-rank + sparse of random support, N:M along both axes",
        prunes_ff=True,
        prunes_bp=True,
        structure=LowRankSparse(support="strided"),
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _ROWS}


def find_method(method: str | Method) -> Method:
    """Return the method itself or the row of that name. Raises UnsupportedError."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise UnsupportedError(unknown_name("method", method, METHODS))
    return METHODS[method]
