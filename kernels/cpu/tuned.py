"""Which tiles a weight is cut into: a table measured on this machine, or a fixed default.

    python -m kernels.cpu.tune        measure and save the table

The table lies beside the compiled kernels, under a hash of the processor, LLVM and the sources of the
kernels, so that it never outlives what it was measured with. Without one, or where it has no usable
entry, every machine makes the same choice.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from .isa import Isa
from .objects import cache_directory, target_identity, write_whole
from .tiled import TileShape

SHARES = (1, 4, 8, 16, 32)
"""Rows with common columns that have an entry of their own; others count as their largest divisor here."""
_SOURCES = ("broadcast.py", "emitter.py", "linear.py", "row_lanes.py", "tiled.py")

Table = Mapping[str, TileShape]
"""Shape by `key_of`."""


def tile_shape(shared_rows: int, density: float, isa: Isa) -> TileShape:
    """For a weight of which every `shared_rows` rows have their columns in common."""
    found = load_table(table_path()).get(key_of(shared_rows, density, isa))
    if found is not None and found in candidates(shared_rows, isa):
        return found
    return default_shape(shared_rows)


def conv_shape(shared_rows: int, density: float, isa: Isa) -> TileShape:
    """As `tile_shape`, for output pixels in the vector lanes."""
    shape = tile_shape(shared_rows, density, isa)
    return default_shape(shared_rows) if shape.across else shape


def default_shape(shared_rows: int) -> TileShape:
    """The choice of a machine that was not measured."""
    if shared_rows % 4 == 0:
        return TileShape(rows=4, shared=True, k_tile=256, unroll=2)
    return TileShape(rows=4, shared=False, k_tile=128, unroll=4)


def candidates(shared_rows: int, isa: Isa) -> tuple[TileShape, ...]:
    """Every shape that such a weight can be cut into and that is worth a measurement."""
    across = [_across(rows) for rows in (isa.lanes, 2 * isa.lanes)]
    columns = [
        TileShape(rows, shared=True, k_tile=k_tile, unroll=unroll)
        for rows, unroll in ((4, 2), (8, 1))
        for k_tile in (128, 256, 512)
    ]
    fitting = tuple(s for s in (*across, *columns) if shared_rows % s.rows == 0)
    return fitting or tuple(
        TileShape(rows, shared=False, k_tile=k_tile, unroll=unroll)
        for rows, k_tile, unroll in ((4, 128, 4), (4, 96, 4), (4, 128, 2), (2, 128, 4), (4, 192, 2))
    )


def key_of(shared_rows: int, density: float, isa: Isa) -> str:
    """Entries differ by vector unit, shared rows and density in powers of two."""
    share = max(one for one in SHARES if shared_rows % one == 0)
    halvings = min(5, max(0, round(-math.log2(max(density, 1e-9)))))
    return f"{isa.name} share {share} density 1/{1 << halvings}"


def table_path() -> Path:
    return cache_directory() / f"tiles-{_fingerprint()}.json"


@cache
def load_table(path: Path) -> Table:
    """The table at `path`; empty where there is none that can be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        rows = json.loads(path.read_text())
        return {key: TileShape(**shape) for key, shape in rows.items()}
    return {}


def save_table(path: Path, table: Table) -> None:
    """Write it as a whole or not at all, and let this process use it."""
    text = json.dumps({key: asdict(shape) for key, shape in sorted(table.items())}, indent=1)
    write_whole(path, f"{text}\n".encode())
    load_table.cache_clear()


def _across(rows: int) -> TileShape:
    return TileShape(rows, shared=True, k_tile=4096, unroll=1, across=True)


@cache
def _fingerprint() -> str:
    sources = [(Path(__file__).parent / name).read_text() for name in _SOURCES]
    return hashlib.sha256("\0".join([*target_identity(), *sources]).encode()).hexdigest()[:24]
