"""The points of sweeps in one SQLite file; SCHEMA documents every table.

A point's key is the content of everything that decides its figures and the version of the models that
gave them, so a point is computed once, by whichever sweep, and a newer release computes its own. A chunk
of points is one transaction: a process that is killed leaves whole chunks.
"""

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from cosparse.spec import CorruptFileError, InputError, RunError, SchemaVersionError, Workload
from hwsim.config_vector import CONFIG_FIELDS

from .evaluate import Evaluated
from .figures import FIGURES, INTEGERS, REALS
from .space import FLOWS, Points

STORE_SCHEMA = 2
APPLICATION = 0x636F5350
"""Marks the file as ours ("coSP")."""
BUSY_SECONDS = 60
"""How long to wait for another process that writes."""
CACHE_KIB = 64 * 1024

_FIELDS = ",\n    ".join(f"{name} INTEGER NOT NULL" for name in CONFIG_FIELDS)
_FIGURES = ",\n    ".join(f"{figure.name} {figure.kind}" for figure in FIGURES)

SCHEMA = f"""
-- Which sources gave the figures.
CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    cosparse TEXT NOT NULL
);
-- One workload as a scenario names it. settings: JSON of what its axes replaced. source: digest of all that
-- decides the workload, so that it need not be lowered again. content: its JSON, deflated.
-- training: digest of all that decides the accuracy, NULL where the scenario does not train.
CREATE TABLE variant (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    method TEXT NOT NULL,
    pattern TEXT NOT NULL,
    batch INTEGER NOT NULL,
    settings TEXT NOT NULL,
    training TEXT,
    content BLOB NOT NULL
);
-- One point: key (of version, variant, dataflow and all fields), its accelerator, its figures.
-- refused: why it cannot run, its figures are then NULL.
CREATE TABLE point (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    version INTEGER NOT NULL REFERENCES version,
    variant INTEGER NOT NULL REFERENCES variant,
    dataflow TEXT NOT NULL,
    {_FIELDS},
    {_FIGURES},
    refused TEXT
);
-- One sweep: a scenario with its axes and sampler. definition: JSON. begun: when it last began, NULL where it
-- was only planned. finished: when all its points were there, NULL while it runs and after an interruption.
CREATE TABLE sweep (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    begun TEXT,
    finished TEXT
);
-- Which points belong to a sweep. number: place in its grid, or in the order in which they were asked.
CREATE TABLE sample (
    sweep INTEGER NOT NULL REFERENCES sweep,
    number INTEGER NOT NULL,
    point INTEGER NOT NULL REFERENCES point,
    PRIMARY KEY (sweep, number)
) WITHOUT ROWID;
-- Accuracy of one training run.
CREATE TABLE accuracy (
    training TEXT NOT NULL,
    method TEXT NOT NULL,
    seed INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric REAL,
    PRIMARY KEY (training, method, seed)
) WITHOUT ROWID;
-- Points with their workload's names and the mean accuracy.
CREATE VIEW named AS
SELECT point.*, variant.model, variant.method, variant.pattern, variant.batch, variant.settings,
       (SELECT avg(metric) FROM accuracy
        WHERE accuracy.training = variant.training AND accuracy.method = variant.method) AS accuracy
FROM point JOIN variant ON variant.id = point.variant;
-- What to read: the points of each sweep.
CREATE VIEW result AS
SELECT sample.sweep, sample.number, named.* FROM sample JOIN named ON named.id = sample.point;
"""

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
                  *INTEGERS, *REALS, "accuracy", "refused")  # fmt: skip
"""What is exported, in this order."""


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
    """An open store. Use as a context manager. Raises what `_guarded` says."""

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
        with _guarded(path):
            if read and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
                return cls(path, _connected_for_reading(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = _connected(path)
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
            with _guarded(self.path):
                workload = Workload.from_json(json.loads(zlib.decompress(content)), str(self.path))
            return Variant(
                number,
                found,
                model,
                method,
                pattern,
                batch,
                json.loads(settings),
                training,
                workload,
            )
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
        return int(self._one("SELECT id FROM sweep WHERE digest = ?", digest))

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

    def results(
        self, sweep: int, columns: Sequence[str] = RESULT_COLUMNS, *, order: str = "number"
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of the view `result`, by number."""
        listed = ", ".join(columns)
        yield from self.rows(f"SELECT {listed} FROM result WHERE sweep = ? ORDER BY {order}", sweep)

    def figures(
        self, keys: Sequence[bytes], columns: Sequence[str]
    ) -> dict[bytes, tuple[Any, ...]]:
        """Columns of the view `named` by key; without points that are refused."""
        found: dict[bytes, tuple[Any, ...]] = {}
        listed = ", ".join(columns)
        for begin in range(0, len(keys), 30_000):
            some = keys[begin : begin + 30_000]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, {listed} FROM named WHERE refused IS NULL AND key IN ({marks})"
            found |= {key: tuple(values) for key, *values in self.rows(query, *some)}
        return found

    # --- SQL

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, as they are read."""
        with _guarded(self.path):
            yield from self._connection.execute(query, values)

    def _one(self, query: str, *values: Any) -> Any:
        return next(self.rows(query, *values))[0]

    def _write(self, statement: str, *values: Any) -> None:
        with self._transaction() as cursor:
            cursor.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing; waits for another process that writes."""
        with _guarded(self.path):
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


def _connected(path: Path) -> sqlite3.Connection:
    """Waits for a process that makes or leaves the store at the same moment: SQLite does not by itself."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path)
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        except BaseException:
            connection.close()
            raise
        else:
            return connection


def _connected_for_reading(path: Path) -> sqlite3.Connection:
    """In a folder that cannot be written: SQLite's log would lie there."""
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True
    )
    try:
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is a store, or make it one."""
    tables = _check(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if tables:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        for statement in _statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {STORE_SCHEMA}")
    connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """How many tables the file has; raises where it has those of something else."""
    connection.execute("BEGIN")  # one look: another process may be making the store
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("COMMIT")
    if tables and application != APPLICATION:
        raise CorruptFileError(
            f"{path}: an SQLite file, but no store of sweeps; give another --out"
        )
    if tables and schema != STORE_SCHEMA:
        raise SchemaVersionError(
            f"{path}: expected a store of schema {STORE_SCHEMA}, got {schema}; {_way_out(path)}"
        )
    return int(tables)


def _statements() -> list[str]:
    lines = [line for line in SCHEMA.splitlines() if not line.startswith("--")]
    return [part for part in "\n".join(lines).split(";") if part.strip()]


def _way_out(path: Path) -> str:
    return f"move it away (mv '{path}' '{path}.old') and sweep again, or give another --out"


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors in our words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise RunError(
                f"{path}: another process has written to it for {BUSY_SECONDS} s; run the same command "
                "again when it is done"
            ) from error
        if "full" in str(error) or "disk" in str(error):
            raise RunError(f"{path}: {error}; finished points are kept") from error
        raise InputError(f"{path}: {error}; give another --out") from error
    except (sqlite3.DatabaseError, zlib.error) as error:
        raise CorruptFileError(f"{path}: damaged ({error}); {_way_out(path)}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; give another --out") from error
