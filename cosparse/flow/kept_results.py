"""Measurements that are kept with the package: benchmarks/results, `_data/measured` in a wheel."""

import json
from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError

_PACKAGE = Path(__file__).resolve().parents[1]


def kept_results(device: str, rows: str, command: str) -> list[dict[str, Any]]:
    """The documents of <device>-*.json. rows: the key of what was measured; command: what wrote them.

    Raises CorruptFileError for a damaged one.
    """
    installed = _PACKAGE / "_data" / "measured"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "benchmarks" / "results"
    return [_read(path, rows, command) for path in sorted(folder.glob(f"{device}-*.json"))]


def _read(path: Path, rows: str, command: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFileError(f"{path}: damaged, expected JSON ({error})") from error
    if document.get("kind") != "measured" or not document.get(rows):
        raise CorruptFileError(f"{path}: expected {rows} measured by {command}, got none")
    return document
