"""Which side of a dispatch runs, the sparse kernel or a dense product of the same weight, and why."""

import math
from dataclasses import dataclass

MARGIN = 0.97
"""Sparse runs where it takes less than this part of the dense time."""
TIMED_NOW, TIMED_EARLIER = "timed now", "timed earlier"


@dataclass(frozen=True)
class Choice:
    """Which side runs, and why. Times in seconds of one product; infinite where a side does not exist.

    side: sparse or dense; library: the fastest dense one; source: where the times are from.
    """

    shape_class: str
    side: str
    sparse_s: float
    dense_s: float
    library: str
    source: str = TIMED_NOW

    @property
    def kept(self) -> bool:
        """Whether an earlier process timed it."""
        return self.source == TIMED_EARLIER

    @property
    def ratio(self) -> float:
        """Sparse over dense time."""
        return self.sparse_s / self.dense_s

    @property
    def reason(self) -> str:
        """A sentence for people."""
        if math.isinf(self.dense_s):
            return "sparse: no dense library has this product"
        found = f"the sparse kernel takes {self.ratio:.2f} of the time of {self.library}"
        if self.side == "dense" and self.ratio < 1:
            found += f", which is not below {MARGIN}"
        return f"{self.side}: {found} ({self.source})"


def faster_side(sparse_s: float, dense_s: float) -> str:
    """Dense at a tie: it has no surprises."""
    return "sparse" if sparse_s < MARGIN * dense_s else "dense"
