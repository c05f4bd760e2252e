"""A scenario's workloads: the dense step captured once, and what each method makes of it.

A method that replaces weights by factors has products of its own, captured on a copy without values.
"""

from algos.lowering import lower
from algos.plan import LayerPlan
from algos.sparsified import Sparsified, outline
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
    sample = network.sample(batch or scenario.timed_batch)
    phases = tuple(map(Phase, scenario.phases))
    step = capture(model, sample).only(phases)
    workloads, plans = {}, {}
    for method in dict.fromkeys((*spec.methods, DENSE)):
        outlined = outline(
            model,
            spec.row(method),
            spec.pattern,
            include=spec.include,
            exclude=spec.exclude,
            select_dtype=spec.select_dtype,
            sample=network.sample(SAMPLES),
        )
        if method != DENSE:
            _check_changes(outlined, spec.pattern, network.name)
        replaced = outlined.method.structure is not None
        own = capture(outlined.model, sample).only(phases) if replaced else step
        plans[method] = outlined.layers
        workloads[method] = lower(own, outlined.layers, optimizer=spec.optimizer)
    return workloads, plans[spec.method]


def _check_changes(outlined: Sparsified, pattern: str, model: str) -> None:
    if outlined.replaced:
        return
    method, plans = outlined.method.name, outlined.layers
    reasons = [
        f"{name}: {', '.join(dict.fromkeys(plan.dense_because.values()))}"
        for name, plan in plans.items()
    ]
    does = "prunes" if outlined.method.structure is None else "factorises"
    raise UnsupportedError(
        f"method '{method}' with pattern '{pattern}' {does} no layer of model '{model}' "
        f"({'; '.join(reasons) or 'it has no Linear, Conv2d or MultiheadAttention'})"
    )
