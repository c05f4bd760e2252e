"""Data sets that need no download, and the user's own arrays. One table, one loader."""

from collections.abc import Callable
from pathlib import Path

from cosparse.spec import UnsupportedError
from cosparse.spec.errors import unknown_name

from .arrays import load_npz
from .dataset import Dataset
from .digits import load_digits
from .stdlib_bytes import load_stdlib_bytes

DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "bytes": load_stdlib_bytes,
}

__all__ = ["DATASETS", "Dataset", "load_data", "load_npz"]


def load_data(source: str | Path) -> Dataset:
    """A shipped data set by name, or the user's .npz by path (see `load_npz`).

    Raises UnsupportedError for an unknown name and DataError for arrays that cannot be used.
    """
    if isinstance(source, Path):
        return load_npz(source)
    if source not in DATASETS:
        raise UnsupportedError(unknown_name("data set", source, DATASETS))
    return DATASETS[source]()
