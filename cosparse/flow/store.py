"""The folder of a run: ./results/<scenario>-<hash8>/, written so that a killed run loses nothing.

results.json    the whole result (schema RESULTS_SCHEMA)
report.html, report.md
workload-<method>.json
trainings/<method>-seed<k>.json and .safetensors, reused by the next run of the same scenario
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError, InputError, SchemaVersionError

from .scenario import Scenario

RESULTS_SCHEMA = 1
RESULTS_ROOT = Path("results")


@dataclass(frozen=True)
class RunFolder:
    """Where one run writes."""

    path: Path

    @property
    def results_path(self) -> Path:
        return self.path / "results.json"

    def training_path(self, method: str, seed: int, suffix: str) -> Path:
        return self.path / "trainings" / f"{method}-seed{seed}{suffix}"


def open_folder(scenario: Scenario, out: str | Path | None) -> RunFolder:
    """Create the run's folder. Raises InputError at once when it cannot be written."""
    default = RESULTS_ROOT / f"{scenario.name}-{scenario.content_hash()[:8]}"
    path = writable_folder(Path(out) if out is not None else default)
    (path / "trainings").mkdir(exist_ok=True)
    return RunFolder(path)


def writable_folder(path: Path) -> Path:
    """Create a folder and prove that it can be written. Raises InputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write results to '{path}': {error.strerror}; choose another folder with --out"
        ) from error
    return path


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the whole text."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON with sorted keys, so that equal data gives equal bytes."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours. Raises InputError and CorruptFileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except ValueError as error:
        raise CorruptFileError(f"{path}: not JSON: {error}") from error


def read_results(path: str | Path) -> dict[str, Any]:
    """Read results.json, given itself or its folder. Raises SchemaVersionError for another schema."""
    location = Path(path)
    location = location / "results.json" if location.is_dir() else location
    data = read_json(location)
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != RESULTS_SCHEMA:
        raise SchemaVersionError(
            f"{location}: results of schema {schema}, this release reads {RESULTS_SCHEMA}; "
            "run the scenario again (trainings of the same version are reused)"
        )
    return data  # type: ignore[no-any-return]
