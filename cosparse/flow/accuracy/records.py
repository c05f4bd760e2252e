"""Finished runs as JSON lines, one a run: appended and flushed at once, read back whatever a kill left.

Files of several shards or machines lie side by side in one folder (`*.jsonl`), and may be committed.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError


@dataclass(frozen=True)
class Record:
    """One finished run.

    metric: accuracy in percent or bits per byte, None if diverged. one_shot: pattern -> metric of the
    trained dense weights pruned without training. steps: those done; cost: multiply-accumulates of the
    run over those of dense training for as many steps. cpu_seconds: of the process. about: versions,
    machine, device.
    """

    key: str
    task: str
    method: str
    pattern: str
    budget: str
    seed: int
    metric_name: str
    metric: float | None
    steps: int
    cost: float
    cpu_seconds: float
    stopped: str | None = None
    one_shot: dict[str, float] = field(default_factory=dict)
    windows: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


def read_records(folder: Path) -> dict[str, Record]:
    """All records of a folder by key; the line that a kill cut short is left out.

    Raises CorruptFileError for any other line that is no record.
    """
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    continue  # without its newline: written when the process was killed
                raise CorruptFileError(
                    f"{path}:{number}: expected a record, got {error}"
                ) from error
            found[record.key] = record
    return found


def append(path: Path, record: Record) -> None:
    """Write one record; a line that was cut short before it is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(record), sort_keys=True, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                _drop_last_line(file)
        file.seek(0, os.SEEK_END)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _drop_last_line(file: Any) -> None:
    file.seek(0)
    whole = file.read()
    file.truncate(whole.rfind(b"\n") + 1)


def of_keys(records: dict[str, Record], keys: Iterable[str]) -> list[Record]:
    """The records that are there, in the order of the keys."""
    return [records[key] for key in keys if key in records]
