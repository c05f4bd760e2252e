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
from .columns import Columns
from .figures import FIGURES, METRICS
from .store import Store

SUFFIXES = (".csv", ".parquet")
BATCH = 50_000
"""Rows of a row group."""

_TEXT = ("model", "method", "pattern", "dataflow", "refused")
_REAL = (*METRICS, *(figure.name for figure in FIGURES if figure.kind == "REAL"))


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
    """Write all columns of a sweep.

    Raises InputError for another suffix and a missing folder, MissingToolError, RunError.
    """
    check_target(path)
    columns = Columns(store.definition(sweep))
    rows = columns.rows(store, sweep, columns.names)
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    with replacing(path) as partial:
        write(columns, rows, partial)
    return path


def _write_csv(columns: Columns, rows: Iterator[tuple[Any, ...]], path: Path) -> None:
    """Nothing is written for what a point does not have."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns.names)
        writer.writerows(rows)


def _write_parquet(columns: Columns, rows: Iterator[tuple[Any, ...]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingToolError("Parquet needs pyarrow: pip install 'cosparse[sweep]'") from error
    kinds = {name: pa.string() for name in _TEXT} | dict.fromkeys(_REAL, pa.float64())
    of = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    kinds |= {name: of[columns.kind(name)] for name in columns.axes}
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in columns.names])
    texts = [place for place, name in enumerate(columns.names) if kinds.get(name) == pa.string()]
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, BATCH)):
            parts = [list(column) for column in zip(*some, strict=True)]
            for place in texts:  # of an axis whose values are of several kinds
                parts[place] = [None if value is None else str(value) for value in parts[place]]
            writer.write_table(pa.table(parts, schema=schema))
