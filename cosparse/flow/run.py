"""A whole run: scenario -> lower -> simulate -> train -> measure -> results.json -> report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from algos.loop import TrainingResult
from algos.methods import METHODS
from algos.plan import LayerPlan
from algos.sparsified import Sparsified
from cosparse.spec import GEMM_PHASES, Dense, PackedTensor, Pattern, Phase, Workload

from .cosim import count_rtl
from .lower import DENSE, lower_all
from .measurement import measure_cpu
from .network import Network, check_forward, resolve_network
from .on_accelerator import check_on_accelerator, train_on_accelerator
from .progress import Reporter
from .provenance import provenance
from .report import write_reports
from .report.facts import accuracy_lines, summary_lines
from .scenario import Scenario, load_scenario
from .simulation import simulate_steps
from .statistics import MethodAccuracy, summarise
from .store import RESULTS_SCHEMA, RunFolder, open_folder, read_results, write_json
from .study import run_study
from .timeline import trace_step
from .trainings import backend_model, train_all, usable_seed


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

    def accuracies(self) -> list[str]:
        """Every method's accuracy, a line each; empty with fewer than three methods."""
        return accuracy_lines(self.document)


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
    folder = open_folder(checked, out)
    network = resolve_network(checked, trust=trust)
    with torch.random.fork_rng(devices=()), network.blamed():
        document = _compute(checked, network, folder, reporter or Reporter())
    write_json(folder.results_path, document)
    written = read_results(folder.results_path)  # so that `cosparse report` gives the same report
    write_reports(written, folder.path)
    return Results(folder.path, written)


def train_only(
    scenario: Scenario, *, out: str | Path | None, trust: bool, reporter: Reporter
) -> tuple[list[MethodAccuracy], Path]:
    """Every training run of a scenario, kept for `run`. Returns accuracies and where they lie."""
    folder = open_folder(scenario, out)
    network = resolve_network(scenario, trust=trust)
    with torch.random.fork_rng(devices=()), network.blamed():
        check_forward(network)
        results = train_all(scenario, network, folder, reporter)
    return summarise(results, DENSE), folder.path / "trainings"


def _compute(
    scenario: Scenario, network: Network, folder: RunFolder, reporter: Reporter
) -> dict[str, Any]:
    """The document. What can be refused is lowered and simulated before hours of training."""
    check_forward(network)
    if scenario.train.on:
        check_on_accelerator(scenario, network)
    document = _begin(scenario, network)
    workloads, plans = lower_all(scenario, network)
    document["layers"] = [_layer(plan) for plan in plans.values()]
    document["workload"] = {name: _operations(step) for name, step in workloads.items()}
    for method, workload in workloads.items():
        write_json(folder.path / f"workload-{method}.json", workload.to_json())
    if "simulator" in scenario.backends:
        config = scenario.accelerator_config()
        reporter.stage(f"simulating {len(workloads)} training steps on {config.name}")
        document["simulated"] = simulate_steps(workloads, config)
        step = workloads[scenario.train.method]
        document["timeline"] = trace_step(step, config, folder.path)
        if scenario.study is not None:
            document["study"] = run_study(scenario, config, reporter)
    seed = None
    if scenario.train.trains:
        results = _train(scenario, network, folder, reporter)
        document["training"] = _training(results)
        seed = usable_seed(results, scenario.train.method)
        if scenario.train.on:
            document["on_accelerator"] = train_on_accelerator(scenario, network, reporter)
    model = backend_model(scenario, network, folder, seed)
    step = workloads[scenario.train.method]
    document["storage"] = [_storage(*packed) for packed in _packed(step, model)]
    if "cpu" in scenario.backends:
        reporter.stage(
            f"measuring the {scenario.train.method} step on CPU kernels, "
            f"{scenario.threads} thread(s)"
        )
        document["measured"] = measure_cpu(step, model, scenario.threads, reporter)
    if "rtl" in scenario.backends:
        document["rtl"] = count_rtl(scenario, network, model, reporter)
    document["not_measured"] = _not_measured(scenario, seed, document["rtl"])
    return document


def _train(
    scenario: Scenario, network: Network, folder: RunFolder, reporter: Reporter
) -> list[TrainingResult]:
    spec = scenario.train
    reporter.stage(
        f"training {network.name}: {', '.join(spec.methods)}, "
        f"seeds {', '.join(map(str, spec.seeds))}"
    )
    return train_all(scenario, network, folder, reporter)


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
        "on_accelerator": None,
        "layers": [],
        "workload": {},
        "storage": [],
        "measured": None,
        "simulated": None,
        "rtl": None,
        "timeline": None,
        "study": None,
        "not_measured": [],
    }


def _training(results: list[TrainingResult]) -> dict[str, Any]:
    return {
        "runs": [asdict(result) for result in results],
        "accuracy": [asdict(row) for row in summarise(results, DENSE)],
    }


def _not_measured(
    scenario: Scenario, trained_seed: int | None, rtl: dict[str, Any] | None
) -> list[dict[str, str]]:
    """What a reader could expect in the report and does not find, and why."""
    method = scenario.train.method
    missing = [
        ("this network on a GPU", "`cosparse bench gpu` times layers, not networks"),
        ("power and resources on a board", "energy and area are modelled from tables"),
        ("vector work on the CPU", "only matrix products are timed there"),
        (
            "clock frequency of the accelerator",
            "assumed in its configuration, not from timing closure",
        ),
    ]
    if rtl is None and "rtl" not in scenario.train.on:
        why = "neither the backend 'rtl' nor `train: {on: [rtl]}` is in the scenario"
        missing.append(("RTL", why))
    elif rtl is not None and rtl["skipped"]:
        missing.append(("RTL", rtl["skipped"]))
    if "cpu" not in scenario.backends:
        missing.append(("CPU kernels", "the scenario does not list the backend 'cpu'"))
    if "simulator" not in scenario.backends:
        missing.append(("accelerator", "the scenario does not list the backend 'simulator'"))
    if not scenario.train.trains:
        missing.append(("accuracy", "the scenario has `epochs: 0`: nothing was trained"))
    elif trained_seed is None:
        why = f"every run of {method} diverged; the backends ran its initial weights"
        missing.append(("trained weights", why))
    if "cpu" in scenario.backends and METHODS[method].prunes_gradient:
        why = f"{method} prunes output gradients, for which there is no CPU kernel: timed dense"
        missing.append((f"BP of {method} on the CPU", why))
    return [{"what": what, "why": why} for what, why in missing]


def _layer(plan: LayerPlan) -> dict[str, Any]:
    def text(pattern: Pattern | None) -> str | None:
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


def _packed(step: Workload, model: Sparsified) -> list[tuple[PackedTensor, Phase, str]]:
    """Every packed copy that a product of the step reads, once."""
    copies = {
        (gemm.rhs.tensor, gemm.phase): None
        for gemm in step.gemms
        if not isinstance(gemm.rhs.pattern, Dense) and gemm.phase is not Phase.WU
    }
    return [(model.pack(name, phase), phase, name) for name, phase in copies]


def _storage(packed: PackedTensor, phase: Phase, name: str) -> dict[str, Any]:
    """Bits of one packed copy beside those of the dense FP16 weight."""
    return {
        "layer": name,
        "phase": phase.value,
        "pattern": str(packed.pattern),
        "packed_bits": packed.storage_bits,
        "dense_bits": 16 * packed.layout.size,
    }
