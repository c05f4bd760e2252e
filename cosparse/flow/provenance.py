"""What is needed to obtain a result again: versions, machine, environment pins, command, date."""

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = (
    "cosparse",
    "numpy",
    "numba",
    "torch",
    "scikit-learn",
    "safetensors",
    "pydantic",
    "plotly",
)
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that change the speed of a dense baseline."""


def versions() -> dict[str, str]:
    """Installed versions; "missing" where a package is not installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows less, but something
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Processor, core count and the environment pins in force."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "pins": {name: os.environ[name] for name in PINS if name in os.environ},
    }


def provenance() -> dict[str, Any]:
    """Everything about this process that a result depends on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions(),
        "machine": machine(),
    }
