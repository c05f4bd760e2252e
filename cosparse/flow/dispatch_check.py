"""Dispatch against the dense baseline once more, by themselves, where a case found it slower than allowed.

The baseline of a case is the fastest of many contestants, chosen by the same samples, so that by chance
alone it looks faster than it is. A miss counts where the pair says so too, in more samples.
"""

from typing import Any

from .bench_text import DISPATCH_LIMIT
from .dense_baselines import Sample
from .timing import figure, time_interleaved, timed_json

REPEATS = 21
BUDGET_S = 4.0


def checked(dispatch: Sample, dense: Sample, first_ratio: float, threads: int) -> dict[str, Any]:
    """`dispatch_ratio` of a row, and under `confirmed` the pair's times where they were taken."""
    if first_ratio <= DISPATCH_LIMIT:
        return {"dispatch_ratio": first_ratio, "confirmed": None}
    pair = {"dispatch": dispatch, "dense": dense}
    again = time_interleaved(pair, repeats=REPEATS, budget_s=BUDGET_S)
    return {
        "dispatch_ratio": figure(again["dispatch"], threads) / figure(again["dense"], threads),
        "confirmed": {name: timed_json(timed) for name, timed in again.items()},
    }
