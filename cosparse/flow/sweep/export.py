"""All points of a sweep as one file: CSV, or Parquet with the extra `sweep`."""

import csv
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cosparse.spec import InputError
from cosparse.spec.errors import MissingToolError

from ..store import replacing
from .figures import FIGURES
from .store import RESULT_COLUMNS, Store

SUFFIXES = (".csv", ".parquet")
BATCH = 50_000
"""Rows of a row group."""

_TEXT = ("model", "method", "pattern", "dataflow", "refused")
_REAL = ("accuracy", *(figure.name for figure in FIGURES if figure.kind == "REAL"))


def check_target(path: Path) -> None:
    """Raises InputError for a file that `export` cannot write, before anything is computed."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"expected a file ending in {' or '.join(SUFFIXES)}, got '{path.name}'")
    if not path.parent.is_dir():
        raise InputError(f"'{path}': expected a file in a folder that exists, got '{path.parent}'")
    if path.is_dir():
        raise InputError(f"'{path}': expected a file, got a folder")
    if not os.access(path.parent, os.W_OK):  # the file is replaced as a whole
        raise InputError(f"'{path}': expected a folder that can be written, got '{path.parent}'")


def export(store: Store, sweep: int, path: Path) -> Path:
    """Write the rows of RESULT_COLUMNS.

    Raises InputError for another suffix and a missing folder, MissingToolError, RunError.
    """
    check_target(path)
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    with replacing(path) as partial:
        write(store.results(sweep), partial)
    return path


def _write_csv(rows: Iterator[tuple[Any, ...]], path: Path) -> None:
    """Nothing is written for what a point does not have."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        writer.writerows(rows)


def _write_parquet(rows: Iterator[tuple[Any, ...]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingToolError("Parquet needs pyarrow: pip install 'cosparse[sweep]'") from error
    kinds = {name: pa.string() for name in _TEXT} | dict.fromkeys(_REAL, pa.float64())
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in RESULT_COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, BATCH)):
            columns = [list(column) for column in zip(*some, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
