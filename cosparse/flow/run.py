"""A whole run: scenario -> train -> lower -> backends -> results.json -> report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from algos.loop import TrainingResult
from algos.plan import LayerPlan
from algos.sparsified import Sparsified
from cosparse.spec import GEMM_PHASES, NM, PackedTensor, Phase, Workload

from .lower import DENSE, lower_all
from .measurement import measure_cpu
from .network import Network, resolve_network
from .progress import Reporter
from .provenance import provenance
from .report import write_reports
from .scenario import Scenario, load_scenario
from .simulation import simulate_steps
from .statistics import summarise
from .store import RESULTS_SCHEMA, RunFolder, open_folder, write_json
from .report.facts import summary_lines
from .trainings import train_all, trained_model


@dataclass(frozen=True)
class Results:
    """A finished run. `document` is what results.json holds."""

    folder: Path
    document: dict[str, Any]

    @property
    def report_path(self) -> Path:
        return self.folder / "report.html"

    def summary(self) -> list[str]:
        """The run in five lines."""
        return summary_lines(self.document)


def run(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    out: str | Path | None = None,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> Results:
    """Run a scenario (a shipped name, a file, a mapping) and write its folder.

    out: the folder, default ./results/<name>-<hash8>; trust: allow code that the scenario names.
    Finished trainings in the folder are reused. Raises InputError and its kinds for bad input, and
    RunError; what was computed before an error stays in the folder.
    """
    checked = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    reporter = reporter or Reporter()
    folder = open_folder(checked, out)
    network = resolve_network(checked, trust=trust)
    document = _begin(checked, network)
    if checked.train.trains:
        reporter.stage(
            f"training {network.name}: {', '.join(checked.train.methods)}, "
            f"seeds {', '.join(map(str, checked.train.seeds))}"
        )
        document["training"] = _training(train_all(checked, network, folder, reporter))
        write_json(folder.results_path, document)
    workloads, plans = lower_all(checked, network)
    for method, workload in workloads.items():
        workload.save(folder.path / f"workload-{method}.json")
    document["layers"] = [_layer(plan) for plan in plans.values()]
    document["workload"] = {name: _operations(step) for name, step in workloads.items()}
    model = trained_model(checked, network, folder, checked.train.method, checked.train.seeds[0])
    document["storage"] = [_storage(*packed) for packed in _packed(model)]
    _run_backends(checked, document, workloads, model, folder, reporter)
    write_json(folder.results_path, document)
    write_reports(document, folder.path)
    return Results(folder.path, document)


def _begin(scenario: Scenario, network: Network) -> dict[str, Any]:
    return {
        "schema": RESULTS_SCHEMA,
        "scenario": scenario.resolved(),
        "scenario_hash": scenario.content_hash(),
        "source": scenario.source,
        "provenance": provenance(),
        "model": network.name,
        "data": None if network.data is None else network.data.describe(),
        "training": None,
        "layers": [],
        "workload": {},
        "storage": [],
        "measured": None,
        "simulated": None,
        "not_measured": [],
    }


def _training(results: list[TrainingResult]) -> dict[str, Any]:
    return {
        "runs": [asdict(result) for result in results],
        "accuracy": [asdict(row) for row in summarise(results, DENSE)],
    }


def _run_backends(
    scenario: Scenario,
    document: dict[str, Any],
    workloads: dict[str, Workload],
    model: Sparsified,
    folder: RunFolder,
    reporter: Reporter,
) -> None:
    method = scenario.train.method
    if "simulator" in scenario.backends:
        config = scenario.accelerator_config()
        reporter.stage(f"simulating {len(workloads)} training steps on {config.name}")
        document["simulated"] = simulate_steps(workloads, config)
        write_json(folder.results_path, document)
    if "cpu" in scenario.backends:
        reporter.stage(f"measuring the {method} step on CPU kernels, {scenario.threads} thread(s)")
        document["measured"] = measure_cpu(workloads[method], model, scenario.threads, reporter)
    document["not_measured"] = _not_measured(scenario)


def _not_measured(scenario: Scenario) -> list[dict[str, str]]:
    """What a reader could expect in the report and does not find, and why."""
    missing = [
        ("GPU kernels", "this release has none"),
        ("RTL", "this release has none; cycles are simulated, not counted in RTL"),
        ("energy and area", "this release does not model them"),
        ("vector work on the CPU", "only matrix products are timed there"),
        (
            "clock frequency of the accelerator",
            "assumed in its configuration, not from timing closure",
        ),
    ]
    if "cpu" not in scenario.backends:
        missing.append(("CPU kernels", "the scenario does not list the backend 'cpu'"))
    if "simulator" not in scenario.backends:
        missing.append(("accelerator", "the scenario does not list the backend 'simulator'"))
    if not scenario.train.trains:
        missing.append(("accuracy", "the scenario has `epochs: 0`: nothing was trained"))
    return [{"what": what, "why": why} for what, why in missing]


def _layer(plan: LayerPlan) -> dict[str, Any]:
    def text(pattern: NM | None) -> str | None:
        return None if pattern is None else str(pattern)

    return {
        "name": plan.name,
        "shape": list(plan.shape),
        "conv_groups": plan.conv_groups,
        "FF": text(plan.ff),
        "BP": text(plan.bp),
        "output_gradient": text(plan.gradient),
        "dense_because": {phase.value: why for phase, why in plan.dense_because.items()},
    }


def _operations(workload: Workload) -> dict[str, dict[str, int]]:
    return {
        "macs": {phase.value: workload.macs(phase) for phase in GEMM_PHASES},
        "issued_macs": {phase.value: workload.issued_macs(phase) for phase in GEMM_PHASES},
    }


def _packed(model: Sparsified) -> list[tuple[PackedTensor, Phase, str]]:
    return [
        (model.pack(name, phase), phase, name)
        for name, plan in model.sparse_layers.items()
        for phase in (Phase.FF, Phase.BP)
        if isinstance(plan.weight_pattern(phase), NM)
    ]


def _storage(packed: PackedTensor, phase: Phase, name: str) -> dict[str, Any]:
    """Bits of one packed copy beside those of the dense FP16 weight."""
    return {
        "layer": name,
        "phase": phase.value,
        "pattern": str(packed.pattern),
        "packed_bits": packed.storage_bits,
        "dense_bits": 16 * packed.layout.size,
    }
