"""Scenarios: what a user writes to say what to train, what to lower and where to run it.

`load_scenario` reads and checks one; it executes no code that the scenario names.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from cosparse.spec.errors import ScenarioError, unknown_name

from .document import Document, document_from
from .scenario_check import find_problems, version_problem
from .scenario_schema import (
    SCENARIO_SCHEMA,
    DataSource,
    ModelSource,
    Origin,
    Scenario,
    Train,
    is_file,
)
from .yamlfile import read_yaml

__all__ = [
    "SCENARIO_SCHEMA",
    "DataSource",
    "ModelSource",
    "Scenario",
    "Train",
    "load_scenario",
    "shipped_scenarios",
]

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")


def shipped_scenarios() -> dict[str, Path]:
    """Name and file of each scenario that comes with cosparse, by name."""
    installed = _PACKAGE / "_data" / "scenarios"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_scenario(
    source: str | Path | Mapping[str, Any], *, folder: Path | None = None
) -> Scenario:
    """Read a file, a shipped scenario by name, or a mapping.

    A text is a file where one exists, else a shipped scenario's name. `folder` is where a mapping's
    relative paths start, by default the working directory; a file's start beside the file. Raises
    ScenarioError with every problem found.
    """
    if isinstance(source, Mapping):
        return _checked(document_from(source), Origin(folder or Path.cwd()), "scenario")
    path = _find(source)
    document = read_yaml(path)
    return _checked(document, Origin(path.parent.resolve(), document.text), _name_from(path))


def _find(source: str | Path) -> Path:
    path = Path(source)
    shipped = shipped_scenarios()
    if is_file(path):
        return path
    if str(source) in shipped:
        return shipped[str(source)]
    if isinstance(source, Path) or path.suffix in _SUFFIXES or len(path.parts) > 1:
        return path
    raise ScenarioError([f"{unknown_name('scenario', source, shipped)}, or a YAML file's path"])


def _name_from(path: Path) -> str:
    """The file's stem, as far as a name may have its characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-")[:64] or "scenario"


def _checked(document: Document, origin: Origin, name: str) -> Scenario:
    version = version_problem(document.data)
    if version:
        document.refuse([version])
    scenario, problems = find_problems({"name": name} | document.data, origin)
    document.refuse([*document.problems, *problems])
    return cast("Scenario", scenario)
