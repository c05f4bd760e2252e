"""A study: several networks and patterns on one accelerator, and its ideas taken away one by one.

Nothing is trained. Every figure is a function of shapes, patterns and the configuration.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cosparse.spec import Phase, Workload
from hwsim import AcceleratorConfig, LayerTiming, price, total

from .lower import DENSE, lower_all
from .network import resolve_network
from .progress import Reporter
from .scenario import Scenario, load_scenario

Timings = list[LayerTiming]
Pricer = Callable[[Workload, AcceleratorConfig], Timings]


@dataclass(frozen=True)
class Variant:
    """The accelerator with one idea taken away."""

    name: str
    meaning: str
    price: Pricer


def _without_interleave(workload: Workload, config: AcceleratorConfig) -> Timings:
    return price(workload, replace(config, interleave=1))


def _without_pregeneration(workload: Workload, config: AcceleratorConfig) -> Timings:
    return price(workload, config, pregenerate=False)


def _fixed(dataflow: str) -> Pricer:
    def fixed(workload: Workload, config: AcceleratorConfig) -> Timings:
        return price(workload, config, dataflows=(dataflow,), fallback="OS")

    return fixed


VARIANTS: tuple[Variant, ...] = (
    Variant("no interleave", "one output in a PE at a time: Ic = Ir = 1", _without_interleave),
    Variant(
        "no pre-generation",
        "SORE packs the dense FP16 weight again before FF and before BP",
        _without_pregeneration,
    ),
    Variant("OS only", "no offline choice of the dataflow", _fixed("OS")),
    Variant(
        "WS only", "no offline choice of the dataflow; WU, which WS cannot run, in OS", _fixed("WS")
    ),
)
"""The ablation, each row against the complete accelerator."""


def run_study(scenario: Scenario, config: AcceleratorConfig, reporter: Reporter) -> dict[str, Any]:
    """The "study" section of the results: a row for each network and pattern."""
    study = scenario.study
    if study is None:
        raise ValueError("the scenario has no study")
    rows = []
    for model in study.models:
        for pattern in study.patterns:
            reporter.stage(f"pricing {model} at {pattern} on {config.name}")
            steps = _steps(scenario, model, pattern)
            ablated = study.ablation and pattern == scenario.train.pattern
            rows.append(_row(model, pattern, steps, scenario.train.method, config, ablated))
    return {"method": scenario.train.method, "batch": scenario.timed_batch, "rows": rows}


def _steps(scenario: Scenario, model: str, pattern: str) -> dict[str, Workload]:
    """The dense step and the method's, of one network."""
    train = {"method": scenario.train.method, "pattern": pattern, "compare": [DENSE], "epochs": 0}
    mapping = {
        "schema": scenario.schema_version,
        "model": model,
        "train": train | {"optimizer": scenario.train.optimizer, "options": scenario.train.options},
        "phases": list(scenario.phases),
        "batch": scenario.timed_batch,
        "accelerator": scenario.accelerator,
        "backends": ["simulator"],
    }
    one = load_scenario(mapping)
    return lower_all(one, resolve_network(one, trust=False))[0]


def _row(
    model: str,
    pattern: str,
    steps: Mapping[str, Workload],
    method: str,
    config: AcceleratorConfig,
    ablated: bool,
) -> dict[str, Any]:
    dense, sparse = price(steps[DENSE], config), price(steps[method], config)
    return {
        "model": model,
        "pattern": pattern,
        "dense_cycles": total(dense),
        "cycles": total(sparse),
        "macs": steps[DENSE].macs(),
        "issued_macs": steps[method].issued_macs(),
        "explanation": list(explain(steps, method, dense, sparse, config)),
        "ablation": [
            {
                "variant": variant.name,
                "meaning": variant.meaning,
                "cycles": total(variant.price(steps[method], config)),
                "dense_cycles": total(variant.price(steps[DENSE], config)),
            }
            for variant in (VARIANTS if ablated else ())
        ],
    }


COMPONENTS: dict[str, str] = {
    "edges": "edges: rows and columns without a result, idle slots",
    "adder": "adder: fewer outputs in a PE than its loop is long",
    "data": "feeder: activations not there yet",
    "drain": "drain, skew, partial sums, start of a MATMUL",
    "waiting": "memory: the array waits for loads and stores",
    "prune": "online pruning of gradients",
    "UPDATE": "weight update and packed copies",
    "vector": "vector work (modelled)",
}
"""Losses in the order in which they are taken off the operation bound."""


def explain(
    steps: Mapping[str, Workload],
    method: str,
    dense: Timings,
    sparse: Timings,
    config: AcceleratorConfig,
) -> Iterator[dict[str, Any]]:
    """The speedup as the operation bound minus one loss after the other; they sum to the figure.

    Each row is the speedup of a machine that has the losses down to it, and how much it fell. Factors
    have no dense counterpart layer by layer: their bound is that of the step.
    """
    pes = config.rows * config.cols
    before, after = (_components(timings, pes) for timings in (dense, sparse))
    workload, dense_macs = steps[method], steps[DENSE].macs()
    speedup = dense_macs / workload.issued_macs()
    same_products = workload.macs() == dense_macs
    top = _bound_of_sparse_layers(workload) if same_products else speedup
    yield {"name": "bound: the pruned layers alone, FF, BP and WU", "speedup": top, "loss": 0.0}
    yield {"name": "layers that stay dense", "speedup": speedup, "loss": top - speedup}
    long, short = before["issue"], after["issue"]
    for key, name in COMPONENTS.items():
        long, short = long + before[key], short + after[key]
        loss, speedup = speedup - long / short, long / short
        yield {"name": name, "speedup": speedup, "loss": loss}


def _bound_of_sparse_layers(workload: Workload) -> float:
    """Dense over issued MACs of the layers that have a sparse product, all their phases together."""
    sparse = {gemm.name for gemm in workload.gemms if gemm.sparse_operand is not None}
    gemms = [gemm for gemm in workload.gemms if gemm.name in sparse]
    issued = sum(gemm.issued_macs for gemm in gemms)
    return sum(gemm.macs for gemm in gemms) / issued if issued else 1.0


def _components(timings: Timings, pes: int) -> dict[str, float]:
    """Cycles of the step by cause."""
    found = dict.fromkeys(("issue", *COMPONENTS), 0.0)
    for timing in timings:
        if timing.phase in (Phase.UPDATE, Phase.PRUNE):
            found["UPDATE"] += timing.cycles
        elif not timing.array:
            found["vector"] += timing.cycles
        else:
            for cause, pe_cycles in timing.array.items():
                found["drain" if cause == "start" else cause] += pe_cycles / pes
            found["waiting"] += timing.cycles - timing.prune_cycles - timing.array_cycles
            found["prune"] += timing.prune_cycles
    return found
