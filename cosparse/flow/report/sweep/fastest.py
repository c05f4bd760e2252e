"""The fastest points once more, operation by operation."""

from functools import lru_cache

from cosparse.spec import Workload
from hwsim import AcceleratorConfig, LayerTiming, price

from ...sweep.store import Store
from .points import SweepPoints


def fastest(points: SweepPoints, model: str) -> int:
    """Row of a model's fastest point."""
    times = points.columns["milliseconds"].copy()
    times[points.of_variant("model") != model] = float("inf")
    return int(times.argmin())


@lru_cache(maxsize=8)
def priced(
    points: SweepPoints, row: int
) -> tuple[Workload, AcceleratorConfig, tuple[LayerTiming, ...]]:
    """Workload, accelerator and timings of a point, each product in its better dataflow."""
    digest = points.variants[int(points.variant[row])].digest
    with Store.open(points.path, read=True) as store:
        variant = store.variant(digest)
    assert variant is not None
    config = points.config(row)
    return variant.workload, config, tuple(price(variant.workload, config))
