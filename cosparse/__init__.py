"""cosparse: co-design of sparse neural-network training, from algorithm to accelerator.

    import cosparse as cs
    cs.run("quickstart")                      # train, lower, run on every backend, write the report
    cs.capture(model, sample)                 # the dense workload of one training step
    cs.simulate("resnet50", "bdwp 2:8", "sat-32x32")   # price the step on an accelerator
    cs.sweep("sweep-bandwidth")               # price every point of a design space

Names load on first use: `import cosparse` imports neither torch nor numba.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AcceleratorConfig": "hwsim",
    "Results": "cosparse.flow.run",
    "Simulation": "cosparse.flow.priced",
    "SweepResult": "cosparse.flow.sweep.result",
    "Workload": "cosparse.spec",
    "capture": "algos.tracing",
    "load_scenario": "cosparse.flow.scenario",
    "pack": "cosparse.spec",
    "parse_pattern": "cosparse.spec",
    "run": "cosparse.flow.run",
    "select": "cosparse.spec",
    "simulate": "cosparse.flow.simulation",
    "sparsify": "algos.sparsified",
    "sweep": "cosparse.flow.sweep.run",
}

__all__ = [
    "AcceleratorConfig",
    "Results",
    "Simulation",
    "SweepResult",
    "Workload",
    "capture",
    "load_scenario",
    "pack",
    "parse_pattern",
    "run",
    "select",
    "simulate",
    "sparsify",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cosparse' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
