"""The points of sweeps in one SQLite file; `database.SCHEMA` documents every table.

A point's key is the content of everything that decides its figures and the version of the models that
gave them, so a point is computed once, by whichever sweep, and a newer release computes its own. A chunk
of points is one transaction: a process that is killed leaves whole chunks.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from cosparse.spec import CorruptFileError, Workload
from hwsim.config_vector import CONFIG_FIELDS

from .database import connect, guarded
from .evaluate import Evaluated
from .figures import INTEGERS, METRICS, REALS
from .space import FLOWS, Points

_POINT_COLUMNS = (
    "key",
    "version",
    "variant",
    "dataflow",
    *CONFIG_FIELDS,
    *INTEGERS,
    *REALS,
    "refused",
)
_FETCHED = 1000
"""Rows that are read at a time."""
_INSERT = (
    f"INSERT OR IGNORE INTO point ({', '.join(_POINT_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(_POINT_COLUMNS))})"
)
_JOIN = (
    "INSERT INTO sample SELECT ?, ?, id FROM point WHERE key = ? "
    "ON CONFLICT DO UPDATE SET point = excluded.point WHERE point != excluded.point"
)
"""A place of a sweep holds the point of today's models and files, whatever an earlier run put there."""

RESULT_COLUMNS = ("number", "model", "method", "pattern", "batch", "dataflow", *CONFIG_FIELDS,
                  *INTEGERS, *REALS, *METRICS, "diverged_seeds", "refused")  # fmt: skip
"""What every sweep's points have; `columns` has the sweep's own axes beside them."""


@dataclass(frozen=True)
class Variant:
    """A row of the table `variant`, its workload beside it. settings: axis path -> value."""

    id: int
    digest: str
    model: str
    method: str
    pattern: str
    batch: int
    settings: Mapping[str, Any]
    training: str | None
    workload: Workload


class Store:
    """An open store. Use as a context manager. Raises what `database.guarded` says."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str | Path, *, read: bool = False) -> Self:
        """Open a store, or make one; with `read` one that nothing is written to, in any folder.

        Raises SchemaVersionError for another schema, CorruptFileError for a damaged file and for one that
        is no store, InputError where the file cannot be opened.
        """
        path = Path(path)
        with guarded(path):
            connection = connect(path, read=read)
        return cls(path, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is lost: every chunk was committed."""
        self._connection.close()

    # --- what a sweep is made of

    def version(self, digest: str, cosparse: str) -> int:
        """Number of the model version."""
        self._write(
            "INSERT OR IGNORE INTO version (digest, cosparse) VALUES (?, ?)", digest, cosparse
        )
        return int(self._one("SELECT id FROM version WHERE digest = ?", digest))

    def variant(self, digest: str) -> Variant | None:
        """A variant by its digest."""
        query = (
            "SELECT id, digest, model, method, pattern, batch, settings, training, content "
            "FROM variant WHERE digest = ?"
        )
        for number, found, model, method, pattern, batch, settings, training, content in [
            *self.rows(query, digest)
        ]:
            with guarded(self.path):
                workload = Workload.from_json(json.loads(zlib.decompress(content)), str(self.path))
                values = json.loads(settings)
            return Variant(number, found, model, method, pattern, batch, values, training, workload)
        return None

    def add_variant(
        self,
        digest: str,
        source: str,
        names: tuple[str, str, str, int],
        settings: Mapping[str, Any],
        training: str | None,
        workload: Workload,
    ) -> Variant:
        """Keep a lowered workload. names: model, method, pattern, batch."""
        content = zlib.compress(json.dumps(workload.to_json(), sort_keys=True).encode(), 6)
        self._write(
            "INSERT OR IGNORE INTO variant (digest, source, model, method, pattern, batch, settings, "
            "training, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(digest, source, *names, json.dumps(settings, sort_keys=True), training, content),
        )
        found = self.variant(digest)
        assert found is not None
        return found

    def sweep(self, name: str, definition: Mapping[str, Any]) -> int:
        """Number of a sweep, the same for the same definition."""
        text = json.dumps(definition, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._write(
            "INSERT OR IGNORE INTO sweep (digest, name, definition) VALUES (?, ?, ?)",
            *(digest, name, text),
        )
        number = int(self._one("SELECT id FROM sweep WHERE digest = ?", digest))
        with self._transaction() as cursor:
            seeds = ((number, seed) for seed in definition["train"]["seeds"])
            cursor.executemany("INSERT OR IGNORE INTO seed VALUES (?, ?)", seeds)
        return number

    def definition(self, sweep: int) -> dict[str, Any]:
        """The scenario that decides the points of a sweep, its axes by path. Raises CorruptFileError."""
        text = self._one("SELECT definition FROM sweep WHERE id = ?", sweep)
        try:
            found: dict[str, Any] = json.loads(text)
            found["sweep"]["axes"] = dict(found["sweep"]["axes"])
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFileError(f"{self.path}: damaged (sweep {sweep}: {error})") from error
        return found

    def begin(self, sweep: int) -> None:
        """Note that a sweep runs: it is not complete until `finish`."""
        self._write("UPDATE sweep SET begun = ?, finished = NULL WHERE id = ?", _now(), sweep)

    def finish(self, sweep: int) -> None:
        """Note that all points of a sweep are there."""
        self._write("UPDATE sweep SET finished = ? WHERE id = ?", _now(), sweep)

    def add_accuracy(
        self, training: str, method: str, seed: int, metric_name: str, metric: float | None
    ) -> None:
        """Keep what a training run reached; None where it diverged."""
        self._write(
            "INSERT OR REPLACE INTO accuracy VALUES (?, ?, ?, ?, ?)",
            *(training, method, seed, metric_name, metric),
        )

    # --- points

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys whose points are there."""
        found: set[bytes] = set()
        for begin in range(0, len(keys), 30_000):
            some = keys[begin : begin + 30_000]
            marks = ",".join("?" * len(some))
            found |= {
                key for (key,) in self.rows(f"SELECT key FROM point WHERE key IN ({marks})", *some)
            }
        return found

    def add(
        self,
        sweep: int,
        version: int,
        variant: int,
        points: Points,
        keys: Sequence[bytes],
        found: Evaluated,
    ) -> None:
        """Write evaluated points of one variant and dataflow, and that they belong to the sweep."""
        rows = _rows(version, variant, points, keys, found)
        with self._transaction() as cursor:
            cursor.executemany(_INSERT, rows)
            cursor.executemany(_JOIN, ((sweep, n, key) for n, key in _members(points, keys)))

    def join(self, sweep: int, points: Points, keys: Sequence[bytes]) -> None:
        """Note that points which are there belong to the sweep."""
        if not keys:
            return
        with self._transaction() as cursor:
            cursor.executemany(_JOIN, ((sweep, n, key) for n, key in _members(points, keys)))

    def count(self, sweep: int) -> tuple[int, int]:
        """(points, refused ones) of a sweep."""
        (row,) = self.rows(
            "SELECT count(*), count(refused) FROM sample JOIN point ON point.id = point "
            "WHERE sweep = ?",
            sweep,
        )
        return int(row[0]), int(row[1])

    def figures(
        self, sweep: int, keys: Sequence[bytes], columns: Sequence[str]
    ) -> dict[bytes, tuple[Any, ...]]:
        """Columns of the view `result` by key; without points that are refused."""
        found: dict[bytes, tuple[Any, ...]] = {}
        listed = ", ".join(columns)
        for begin in range(0, len(keys), 30_000):
            some = keys[begin : begin + 30_000]
            marks = ",".join("?" * len(some))
            query = (
                f"SELECT key, {listed} FROM result "
                f"WHERE sweep = ? AND refused IS NULL AND key IN ({marks})"
            )
            found |= {key: tuple(values) for key, *values in self.rows(query, sweep, *some)}
        return found

    # --- SQL

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, as they are read; who reads them may stop, and close the store."""
        with guarded(self.path):
            cursor = self._connection.execute(query, values)
        while True:
            with guarded(self.path):
                some = cursor.fetchmany(_FETCHED)
            if not some:
                return
            yield from some

    def _one(self, query: str, *values: Any) -> Any:
        return next(self.rows(query, *values))[0]

    def _write(self, statement: str, *values: Any) -> None:
        with self._transaction() as cursor:
            cursor.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing; waits for another process that writes."""
        with guarded(self.path):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                self._connection.rollback()
                raise
            cursor.execute("COMMIT")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def point_keys(version: str, variants: Mapping[int, str], points: Points) -> list[bytes]:
    """(16 bytes each) of points. variants: digest by number."""
    prefix = {
        (variant, flow): hashlib.blake2b(
            f"{version} {variants[variant]} {FLOWS[flow]} ".encode(), digest_size=16
        )
        for variant, flow in {*zip(points.variants.tolist(), points.flows.tolist(), strict=True)}
    }
    width = points.configs.shape[1] * 8
    content = np.ascontiguousarray(points.configs, "<i8").tobytes()
    keys = []
    pairs = zip(points.variants.tolist(), points.flows.tolist(), strict=True)
    for row, pair in enumerate(pairs):
        digest = prefix[pair].copy()
        digest.update(content[row * width : (row + 1) * width])
        keys.append(digest.digest())
    return keys


def _members(points: Points, keys: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    return zip(points.numbers.tolist(), keys, strict=True)


def _rows(
    version: int, variant: int, points: Points, keys: Sequence[bytes], found: Evaluated
) -> Iterator[tuple[Any, ...]]:
    flow = FLOWS[int(points.flows[0])] if len(points) else ""
    nothing = (None,) * (len(INTEGERS) + len(REALS))
    columns = zip(
        keys, points.configs.tolist(), found.integers.tolist(), found.reals.tolist(), strict=True
    )
    for row, (key, config, integers, reals) in enumerate(columns):
        why = found.refused.get(row)
        if why is None:
            yield key, version, variant, flow, *config, *integers, *reals, None
        else:
            yield key, version, variant, flow, *config, *nothing, why
