"""A scenario's workloads: the dense step captured once, and what each method makes of it."""

from algos.lowering import lower
from algos.plan import LayerPlan
from algos.sparsified import plan_layers
from algos.tracing import capture
from cosparse.spec import Phase, UnsupportedError, Workload

from .network import SAMPLES, Network
from .scenario import Scenario

DENSE = "dense"
"""The method that every other one is compared with."""


def lower_all(
    scenario: Scenario, network: Network, batch: int | None = None
) -> tuple[dict[str, Workload], dict[str, LayerPlan]]:
    """The step of every method of the scenario and of dense, and the plans of its own method.

    batch: in place of the scenario's. Raises UnsupportedError for a method that would leave every layer
    dense.
    """
    spec = scenario.train
    model = network.build(spec.seeds[0])
    step = capture(model, network.sample(batch or scenario.timed_batch))
    step = step.only(tuple(map(Phase, scenario.phases)))
    plans = {
        method: plan_layers(
            model,
            method,
            spec.pattern,
            include=spec.include,
            exclude=spec.exclude,
            select_dtype=spec.select_dtype,
            sample=network.sample(SAMPLES),
        )
        for method in dict.fromkeys((*spec.methods, DENSE))
    }
    for method in spec.methods:
        if method != DENSE:
            _check_prunes(method, spec.pattern, network.name, plans[method])
    workloads = {
        method: lower(step, plan, optimizer=spec.optimizer) for method, plan in plans.items()
    }
    return workloads, plans[spec.method]


def _check_prunes(method: str, pattern: str, model: str, plans: dict[str, LayerPlan]) -> None:
    if any(plan.is_sparse for plan in plans.values()):
        return
    reasons = [
        f"{name}: {', '.join(dict.fromkeys(plan.dense_because.values()))}"
        for name, plan in plans.items()
    ]
    raise UnsupportedError(
        f"method '{method}' with pattern '{pattern}' prunes no layer of model '{model}' "
        f"({'; '.join(reasons) or 'it has no Linear, Conv2d or MultiheadAttention'})"
    )
