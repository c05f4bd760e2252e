"""The folder of a run: ./results/<scenario>-<hash8>/, written so that a killed run loses nothing.

results.json    the whole result (schema RESULTS_SCHEMA), once it is whole
report.html, report.md
timeline.json   trace of one product, where the scenario simulates
workload-<method>.json
trainings/<method>-seed<k>.json and .safetensors, reused by the next run of the same scenario
"""

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError, InputError, RunError, SchemaVersionError

from .scenario import Scenario

RESULTS_SCHEMA = 4
RESULTS_ROOT = Path("results")
SECTIONS: dict[str, tuple[type, ...]] = {
    "scenario": (dict,),
    "scenario_hash": (str,),
    "source": (str,),
    "provenance": (dict,),
    "model": (str,),
    "data": (dict, type(None)),
    "training": (dict, type(None)),
    "layers": (list,),
    "workload": (dict,),
    "storage": (list,),
    "measured": (dict, type(None)),
    "simulated": (dict, type(None)),
    "rtl": (dict, type(None)),
    "timeline": (dict, type(None)),
    "study": (dict, type(None)),
    "on_accelerator": (dict, type(None)),
    "not_measured": (list,),
}
"""What results.json holds beside `schema`; None where a scenario leaves a part out."""


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
    writable_folder(path / "trainings")
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; it takes the place of `path` in one step when the context ends well.

    The path is this writer's own, so that two runs may write to one folder; the last one wins.
    Raises RunError when the file system refuses (no space, folder gone).
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write '{path}': {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old or the whole text."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON with sorted keys, so that equal data gives equal bytes."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours. Raises InputError and CorruptFileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path}: not JSON: {error}") from error


def read_results(path: str | Path) -> dict[str, Any]:
    """Read results.json, given itself or its folder.

    Raises SchemaVersionError for another schema, CorruptFileError where parts are missing.
    """
    location = Path(path)
    if not (location / "results.json").exists() and (location / "sweep.sqlite").exists():
        raise InputError(
            f"{location}: expected the results of `cosparse run`, got the store of a sweep, which "
            f"`cosparse report {location}` shows"
        )
    location = location / "results.json" if location.is_dir() else location
    data = read_json(location)
    if not isinstance(data, dict) or "schema" not in data:
        raise CorruptFileError(f"{location}: expected results of cosparse, got other JSON")
    if data["schema"] != RESULTS_SCHEMA:
        raise SchemaVersionError(
            f"{location}: results of schema {data['schema']}, this release reads {RESULTS_SCHEMA}; "
            "run the scenario again (trainings of the same version are reused)"
        )
    wrong = [key for key, kinds in SECTIONS.items() if not isinstance(data.get(key, ...), kinds)]
    if wrong:
        raise CorruptFileError(f"{location}: missing or damaged in the results: {', '.join(wrong)}")
    return data
