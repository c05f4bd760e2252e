"""The accelerator's share of a result: every operation of every method's step, priced by hwsim.

A function of the workloads and the configuration alone: the same scenario gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cosparse.spec import GEMM_PHASES, InputError, Kind, Phase, Workload
from hwsim import (
    AcceleratorConfig,
    EnergyTable,
    EventCounts,
    LayerTiming,
    estimate,
    estimate_area,
    price,
    total,
)

from .imported import DENSE, ImportOptions, read_steps
from .priced import Simulation


def simulate(
    target: Any,
    method: str = "bdwp",
    accelerator: str | Mapping[str, Any] | AcceleratorConfig = "sat-8x8",
    *,
    pattern: str | None = None,
    sample: Any = None,
    batch: int = 32,
) -> Simulation:
    """Price one training step, beside the same step dense.

        cs.simulate("resnet50", "bdwp 2:8", "sat-32x32", batch=256)

    target: a Workload, priced with the patterns it has; a torch module, whose step on `sample` is
    captured and lowered with `method` and its pattern (the module stays as it is); the name of a
    shipped model, on `batch` samples; or what `sparsify` returned, with its own layers. method: a
    name, with the pattern behind it or in `pattern` (2:8 where neither says). The baseline is the model's own
    dense step; that of a Sparsified has the same products, so factors stay factors. accelerator: a preset's
    name, a mapping of fields, or a configuration. Raises UnsupportedError for what the accelerator
    refuses, InputError for a model without a sample, for two patterns and for another kind of value.
    """
    config = _config(accelerator)
    if isinstance(target, Workload):
        return Simulation("workload", config, tuple(price(target, config)))
    from torch import nn

    from algos.lowering import lower
    from algos.sparsified import Sparsified, outline
    from algos.tracing import capture

    name, chosen = _method_and_pattern(method, pattern)
    what = type(target).__name__
    if isinstance(target, str):
        what, target, sample = target, *_shipped(target, batch)
    if not isinstance(target, Sparsified | nn.Module):
        raise InputError(
            "simulate: expected a Workload, a torch.nn.Module, a shipped model's name or a Sparsified, "
            f"got {type(target).__name__}"
        )
    if sample is None:
        raise InputError("simulate: a model needs `sample`, an input whose shape sets the batch")
    if isinstance(target, Sparsified):
        step = dense_step = capture(target.model, sample)
        plans = target.layers
        what = f"{type(target.model).__name__}, {target.method.name}"
    else:
        step = dense_step = capture(target, sample)
        outlined = outline(target, name, chosen, sample=_probe(target, sample))
        plans = outlined.layers
        if outlined.method.structure is not None:
            step = capture(outlined.model, sample)
        what = f"{what}, {name} {chosen}" if name != DENSE else f"{what}, {DENSE}"
    dense = {key: replace(plan, ff=None, bp=None, gradient=None) for key, plan in plans.items()}
    timings, baseline = (
        tuple(price(lower(*own), config)) for own in ((step, plans), (dense_step, dense))
    )
    return Simulation(what, config, timings, baseline)


def _method_and_pattern(method: str, pattern: str | None) -> tuple[str, str]:
    """`"bdwp 2:8"` as (name, pattern). Raises InputError for two patterns."""
    if not isinstance(method, str):
        raise InputError(f"simulate: expected a method's name such as 'bdwp 2:8', got {method!r}")
    name, _, behind = method.strip().partition(" ")
    if behind and pattern is not None:
        raise InputError(f"simulate: expected one pattern, got '{method}' and pattern='{pattern}'")
    return name, behind.strip() or pattern or "2:8"


def _shipped(name: str, batch: int) -> tuple[Any, Any]:
    """(model, sample) on the meta device. Raises UnsupportedError for an unknown name."""
    import torch

    from algos import models

    entry = models.find_model(name)
    with torch.device("meta"):
        return models.build(name), models.sample(entry, batch, "meta")


def _probe(model: Any, sample: Any) -> Any:
    """What to run through the model to find its ends; None for a model without memory.

    The first element of a batch is enough and keeps the pass short.
    """
    from torch import Tensor

    if any(parameter.is_meta for parameter in model.parameters()):
        return None
    return sample[:1] if isinstance(sample, Tensor) and sample.dim() > 1 else sample


def simulate_scenario(source: str, accelerator: str | None, *, trust: bool) -> dict[str, Any]:
    """The simulated section of a scenario's methods, without training."""
    return simulate_steps(*scenario_steps(source, accelerator, trust=trust))


def scenario_steps(
    source: str, accelerator: str | None, *, trust: bool
) -> tuple[dict[str, Workload], AcceleratorConfig]:
    """The lowered step of every method of a scenario, its own first, and the accelerator."""
    from .lower import lower_all
    from .network import resolve_network
    from .scenario import load_scenario

    scenario = load_scenario(source)
    config = _config(accelerator) if accelerator else scenario.accelerator_config()
    network = resolve_network(scenario, trust=trust)
    with network.blamed():
        workloads, _ = lower_all(scenario, network)
    return workloads, config


def simulate_workload(
    path: Path, accelerator: str | None, options: ImportOptions | None = None
) -> dict[str, Any]:
    """The simulated section of one file: a workload, a SCALE-Sim topology or an ONNX graph.

    A foreign file's provenance stands beside it, under "imported".
    """
    steps, config = workload_steps(path, accelerator, options)
    section = simulate_steps(steps, config)
    provenance = next(iter(steps.values())).provenance
    return {**section, "imported": provenance} if "derived" in provenance else section


def workload_steps(
    path: Path, accelerator: str | None, options: ImportOptions | None = None
) -> tuple[dict[str, Workload], AcceleratorConfig]:
    """The steps of a workload file or an import, and the accelerator."""
    return read_steps(path, options or ImportOptions()), _config(accelerator or "sat-8x8")


def _config(accelerator: str | Mapping[str, Any] | AcceleratorConfig) -> AcceleratorConfig:
    if isinstance(accelerator, AcceleratorConfig):
        return accelerator
    if isinstance(accelerator, str):
        return AcceleratorConfig.preset(accelerator)
    if not isinstance(accelerator, Mapping):
        raise InputError(
            "accelerator: expected a preset's name, a mapping of fields or an AcceleratorConfig, got "
            f"{accelerator!r}"
        )
    return AcceleratorConfig.from_mapping(dict(accelerator))


def simulate_steps(workloads: Mapping[str, Workload], config: AcceleratorConfig) -> dict[str, Any]:
    """workloads: method -> lowered step. Returns the "simulated" section of a result."""
    return {
        "accelerator": config.to_mapping(),
        "simulation_only": config.simulation_only,
        "area": _area(config),
        "methods": {name: _step(workload, config) for name, workload in workloads.items()},
    }


def _area(config: AcceleratorConfig) -> dict[str, Any]:
    """FPGA resources with their ranges, and how they were obtained."""
    area = estimate_area(config)
    amounts = {"LUT": area.lut, "FF": area.ff, "DSP": area.dsp, "BRAM36": area.bram36}
    return {
        "label": area.label,
        "extrapolated": area.extrapolated,
        "resources": {name: asdict(amount) for name, amount in amounts.items()},
    }


def _step(workload: Workload, config: AcceleratorConfig) -> dict[str, Any]:
    timings = price(workload, config)
    phases = [phase for phase in Phase if any(t.phase is phase for t in timings)]
    cycles = total(timings)
    return {
        "layers": [_row(timing) for timing in timings],
        "cycles": cycles,
        "milliseconds": cycles / (config.clock_mhz * 1e3),
        "cycles_by_phase": {phase.value: _by_kind(timings, phase) for phase in phases},
        "macs": workload.macs(),
        "issued_macs": workload.issued_macs(),
        "dataflow_wins": _wins(timings),
        "energy": _energy(timings, config),
    }


def _row(timing: LayerTiming) -> dict[str, Any]:
    return {
        "name": timing.name,
        "phase": timing.phase.value,
        "kind": timing.kind.value,
        "dataflow": timing.dataflow,
        "interleave": _interleave(timing),
        "cycles": timing.cycles,
        "array_cycles": timing.array_cycles,
        "bandwidth_cycles": timing.bandwidth_cycles,
        "prune_cycles": timing.prune_cycles,
        "macs": timing.macs,
        "issued_macs": timing.issued_macs,
        "dram_bytes": timing.dram_bytes,
        "utilisation": timing.utilisation,
        "bound": timing.bound,
        "array": dict(timing.array),
        "candidates": dict(timing.candidates),
    }


def _interleave(timing: LayerTiming) -> str | None:
    """Ic x Ir as text."""
    chosen = timing.interleave
    return None if chosen is None else f"{chosen.columns}x{chosen.rows}"


def _energy(timings: Sequence[LayerTiming], config: AcceleratorConfig) -> dict[str, Any]:
    """Joules of the step with their range, and what they go into."""
    events = sum((timing.events for timing in timings), EventCounts())
    found = estimate(events, total(timings), config, EnergyTable.default())
    return {
        "joules": found.value_j,
        "low": found.low_j,
        "high": found.high_j,
        "static": found.static_j,
        "by_event": dict(found.by_event_j),
    }


def _by_kind(timings: Sequence[LayerTiming], phase: Phase) -> dict[str, int]:
    """Cycles of a phase: GEMMs (simulated) and vector work (modelled) apart."""
    split = {Kind.SIMULATED.value: 0, Kind.MODELLED.value: 0}
    for timing in timings:
        if timing.phase is phase:
            split[timing.kind.value] += timing.cycles
    return split


def _wins(timings: Sequence[LayerTiming]) -> dict[str, dict[str, int]]:
    """How many GEMMs of each phase each dataflow wins."""
    wins: dict[str, dict[str, int]] = {}
    for timing in timings:
        if timing.dataflow is not None and timing.phase in GEMM_PHASES:
            row = wins.setdefault(timing.phase.value, {})
            row[timing.dataflow] = row.get(timing.dataflow, 0) + 1
    return wins
