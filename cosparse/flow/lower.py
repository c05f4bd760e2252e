"""A scenario's workloads: the dense step captured once, and what each method makes of it."""

from algos.lowering import lower
from algos.plan import LayerPlan
from algos.sparsified import plan_layers
from algos.tracing import capture
from cosparse.spec import Phase, Workload

from .network import Network
from .scenario import Scenario

DENSE = "dense"
"""The method that every other one is compared with."""


def lower_all(
    scenario: Scenario, network: Network
) -> tuple[dict[str, Workload], dict[str, LayerPlan]]:
    """The step of every method of the scenario and of dense, and the plans of its own method."""
    spec = scenario.train
    model = network.build(spec.seeds[0])
    step = capture(model, network.sample(scenario.timed_batch))
    step = step.only(tuple(map(Phase, scenario.phases)))
    plans = {
        method: plan_layers(
            model,
            method,
            spec.pattern,
            include=spec.include,
            exclude=spec.exclude,
            select_dtype=spec.select_dtype,
        )
        for method in dict.fromkeys((*spec.methods, DENSE))
    }
    return {method: lower(step, plan) for method, plan in plans.items()}, plans[spec.method]
