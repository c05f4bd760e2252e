"""`cosparse list`: every name a scenario can use."""

from algos.methods import METHODS
from algos.models import MODELS
from cosparse.spec import FORMATS, PATTERNS
from cosparse.spec.patterns import PATTERN_FORMS
from hwsim import DATAFLOWS, PRESETS, AcceleratorConfig

from .scenario import shipped_scenarios
from .scenario_schema import BACKENDS, SHIPPED_DATA
from .yamlfile import read_yaml


def names() -> dict[str, dict[str, str]]:
    """Category -> name -> one line."""
    return {
        "scenarios": {name: _description(name) for name in shipped_scenarios()},
        "methods": {name: method.summary for name, method in METHODS.items()},
        "models": {name: entry.summary for name, entry in MODELS.items()},
        "data": dict.fromkeys(SHIPPED_DATA, "shipped, no download"),
        "patterns": {name: (kind.__doc__ or "").split("\n")[0] for name, kind in PATTERNS.items()},
        "pattern forms": {"in a scenario": PATTERN_FORMS},
        "formats": {name: (kind.__doc__ or "").split(";")[0] for name, kind in FORMATS.items()},
        "accelerators": {name: _accelerator(name) for name in PRESETS},
        "dataflows": dict.fromkeys(DATAFLOWS, ""),
        "backends": BACKENDS,
    }


def _description(name: str) -> str:
    description = read_yaml(shipped_scenarios()[name]).data.get("description", "")
    return str(description)


def _accelerator(name: str) -> str:
    config = AcceleratorConfig.preset(name)
    note = ", simulation only" if config.simulation_only else ""
    return f"{config.rows} x {config.cols} array, groups up to {config.group_max}{note}"
