"""Which operand each training method prunes. One row a method; the layers read nothing else.

    method   FF weight   BP weight   BP output gradient   decay   source
    dense    -           -           -                    -
    sr-ste   W_FF        W_FF *      -                    2e-4    Zhou et al., ICLR 2021
    sdgp     -           -           N:M                  -       McDanel et al., ICPR 2022
    sdwp     -           W_BP        -                    -       Fang et al., TCAD 2023 (baseline)
    bdwp     W_FF        W_BP        -                    0       Fang et al., TCAD 2023

    * the same values, not N:M along the outputs: hardware runs that product dense.

WU is dense in all of them: dW = dY^T X reaches every weight (straight-through).
"""

from dataclasses import dataclass

from cosparse.spec import Phase
from cosparse.spec.errors import UnsupportedError, unknown_name


@dataclass(frozen=True)
class Method:
    """What a method prunes, and the decay of pruned weights that it applies by default."""

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

    def sparse_operand(self, phase: Phase) -> str | None:
        """The operand that an executor may run sparse: "weight", "gradient" or None."""
        if (phase is Phase.FF and self.prunes_ff) or (phase is Phase.BP and self.prunes_bp):
            return "weight"
        return "gradient" if phase is Phase.BP and self.prunes_gradient else None


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
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
    )
}


def find_method(method: str | Method) -> Method:
    """Return the method itself or the row of that name. Raises UnsupportedError."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise UnsupportedError(unknown_name("method", method, METHODS))
    return METHODS[method]
