"""Sparse-training methods: a model and a pattern in, trained masks and a workload out.

Names load on first use, so that tables (METHODS, MODELS) can be read without importing torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "METHODS": "algos.methods",
    "MODELS": "algos.models",
    "LayerPlan": "algos.plan",
    "Method": "algos.methods",
    "Sparsified": "algos.sparsified",
    "capture": "algos.tracing",
    "lower": "algos.lowering",
    "nm_mask": "algos.selection",
    "sparsify": "algos.sparsified",
    "with_options": "algos.method_options",
}

__all__ = [
    "METHODS",
    "MODELS",
    "LayerPlan",
    "Method",
    "Sparsified",
    "capture",
    "lower",
    "nm_mask",
    "sparsify",
    "with_options",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'algos' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
