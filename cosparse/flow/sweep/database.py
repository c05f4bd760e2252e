"""The SQLite file of a store: its tables, how it is opened and checked, SQLite's errors in our words."""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cosparse.spec import CorruptFileError, InputError, RunError, SchemaVersionError
from hwsim.config_vector import CONFIG_FIELDS

from .figures import FIGURES, METRICS

STORE_SCHEMA = 3
APPLICATION = 0x636F5350
"""Marks the file as ours ("coSP")."""
BUSY_SECONDS = 60
"""How long to wait for another process that writes."""
CACHE_KIB = 64 * 1024

_FIELDS = ",\n    ".join(f"{name} INTEGER NOT NULL" for name in CONFIG_FIELDS)
_FIGURES = ",\n    ".join(f"{figure.name} {figure.kind}" for figure in FIGURES)

_OWN = (
    "reached.sweep = sample.sweep AND reached.training = named.training "
    "AND reached.method = named.method"
)
_MEANS = ",\n       ".join(
    "(SELECT CASE WHEN count(metric) = (SELECT count(*) FROM seed WHERE seed.sweep = sample.sweep) "
    f"THEN avg(metric) END FROM reached WHERE {_OWN} AND metric_name = '{metric}') AS {name}"
    for name, metric in METRICS.items()
)

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
-- The seeds over which a sweep takes the mean of what its trainings reach.
CREATE TABLE seed (
    sweep INTEGER NOT NULL REFERENCES sweep,
    seed INTEGER NOT NULL,
    PRIMARY KEY (sweep, seed)
) WITHOUT ROWID;
-- What one training run reached. metric: NULL where it diverged.
CREATE TABLE accuracy (
    training TEXT NOT NULL,
    method TEXT NOT NULL,
    seed INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric REAL,
    PRIMARY KEY (training, method, seed)
) WITHOUT ROWID;
-- Points with their workload's names.
CREATE VIEW named AS
SELECT point.*, variant.model, variant.method, variant.pattern, variant.batch, variant.settings,
       variant.training
FROM point JOIN variant ON variant.id = point.variant;
-- What the trainings of a sweep reached with its seeds.
CREATE VIEW reached AS
SELECT seed.sweep, accuracy.* FROM accuracy JOIN seed ON seed.seed = accuracy.seed;
-- What to read: the points of each sweep. {" and ".join(METRICS)}: the mean over its seeds, NULL where one of
-- them is not there or diverged. diverged_seeds: how many did.
CREATE VIEW result AS
SELECT sample.sweep, sample.number, named.*,
       {_MEANS},
       (SELECT count(*) FROM reached WHERE {_OWN} AND metric IS NULL) AS diverged_seeds
FROM sample JOIN named ON named.id = sample.point;
"""


def connect(path: Path, *, read: bool) -> sqlite3.Connection:
    """Open a store, or make one; with `read` one that nothing is written to, in any folder."""
    if read and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _connected_for_reading(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _connected(path)


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
def guarded(path: Path) -> Iterator[None]:
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
    except (sqlite3.DatabaseError, zlib.error, json.JSONDecodeError) as error:
        raise CorruptFileError(f"{path}: damaged ({error}); {_way_out(path)}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; give another --out") from error
