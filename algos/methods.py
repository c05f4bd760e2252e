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
    bi-mask        W_FF          W_FF&BP       -       -          decay 2e-4
    transposable   W_T           W_T           -       -
    mvue           -             -             -       unbiased
    s-ste          beta S(W)     beta S(W) *   -       unbiased
    pgf, pgf-...   W~            W~ *          -       -          schedule from dense
    block          W_B           W_B           -       -          decay 2e-4
    block-prox     W_B           W_B           -       -          proximal steps, then W_B
    fixed          W_FF          W_FF *        -       -          dW masked: the first mask stays
    random         W_FF          W_FF *        -       -          the same with a random mask
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

from dataclasses import dataclass, replace
from typing import Literal

from cosparse.spec import NM, Block, Pattern, Phase
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

_FORMS: dict[type[Pattern], str] = {
    NM: "N:M patterns such as '2:8'",
    Block: "block patterns such as 'block 16x16 @ 0.25'",
}


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
    prunes_update: bool = False
    """WU uses the output gradient, N:M along the tokens, unbiased."""
    mask: str = "magnitude"
    """Rule of mask_FF: a name in `masks.MASK_RULES`."""
    intersects: bool = False
    """mask_BP is chosen within mask_FF."""
    start: Literal["given", "magnitude", "random"] = "given"
    """Weights that training begins with: as they are, or zero outside a mask of that choice."""
    proximal: float = 0.0
    """Strength of the envelope's proximal step after each optimizer step, times lr; 0: none."""
    gradients: Literal["ste", "chain"] = "ste"
    """dW of a dropped weight: straight-through, or times the share with which it passes (chain rule)."""
    schedule: Schedule | None = None
    """None: the pattern holds from the first step."""
    patterns: tuple[type[Pattern], ...] = (NM,)
    """Kinds of pattern that the method is defined for."""
    structure: Structure | None = None
    """What weights are replaced by; the patterns are then those of its sparse factor."""
    refuses: tuple[tuple[str, str], ...] = ()
    """(kind of layer, why the method has no form for it)."""

    @property
    def takes(self) -> str:
        """The kinds of pattern in words."""
        return " or ".join(_FORMS[kind] for kind in self.patterns)

    @property
    def one_support(self) -> bool:
        """FF and BP read the same entries, and both run sparse."""
        return self.prunes_bp and self.reuses_ff_in_bp

    def sparse_operand(self, phase: Phase) -> str | None:
        """The operand that an executor may run sparse: "weight", "gradient" or None."""
        if (phase is Phase.FF and self.prunes_ff) or (phase is Phase.BP and self.prunes_bp):
            return "weight"
        return "gradient" if phase is Phase.BP and self.prunes_gradient else None


_PGF = Method(
    "pgf",
    "N:M weights in FF, reached by a decay from dense",
    prunes_ff=True,
    reuses_ff_in_bp=True,
    schedule=Schedule("exponential"),
)
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
        "bi-mask",
        "N:M weights in FF, in BP those of them that are N:M along the outputs",
        prunes_ff=True,
        prunes_bp=True,
        intersects=True,
        decay=2e-4,
    ),
    Method(
        "transposable",
        "weights that are N:M along both axes, in FF and BP",
        prunes_ff=True,
        prunes_bp=True,
        reuses_ff_in_bp=True,
        mask="transposable",
    ),
    Method("mvue", "N:M output gradients in WU, unbiased", prunes_update=True),
    Method(
        "s-ste",
        "N:M weights by a soft threshold in FF, unbiased N:M output gradients in WU",
        prunes_ff=True,
        reuses_ff_in_bp=True,
        prunes_update=True,
        mask="soft",
        refuses=(("attention", "s-ste keeps a scale beside each weight; use Linear projections"),),
    ),
    _PGF,
    replace(
        _PGF,
        name="pgf-linear",
        summary="the same, dropped weights fading linearly",
        schedule=Schedule("linear"),
    ),
    replace(
        _PGF,
        name="pgf-stepwise",
        summary="the same, N halved in equal frames",
        schedule=Schedule("stepwise"),
    ),
    replace(
        _PGF,
        name="pgf-geometric",
        summary="the same, groups halved in equal frames",
        schedule=Schedule("geometric"),
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
    Method(
        "block",
        "block-sparse weights in FF and BP, the largest blocks of each step",
        prunes_ff=True,
        prunes_bp=True,
        reuses_ff_in_bp=True,
        decay=2e-4,
        patterns=(Block,),
    ),
    Method(
        "block-prox",
        "block-sparse weights, reached by proximal steps of the group sparse envelope",
        prunes_ff=True,
        prunes_bp=True,
        reuses_ff_in_bp=True,
        schedule=Schedule("none", dense=0.0, final=0.2),
        proximal=2e-2,
        patterns=(Block,),
    ),
    Method(
        "fixed",
        "N:M weights in FF whose mask, of the weights given, never changes",
        prunes_ff=True,
        reuses_ff_in_bp=True,
        gradients="chain",
        start="magnitude",
    ),
    Method(
        "random",
        "N:M weights in FF with a random mask that never changes",
        prunes_ff=True,
        reuses_ff_in_bp=True,
        gradients="chain",
        start="random",
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
