"""The user's own data: an .npz with x_train, y_train, x_test, y_test, or x, y to be split."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from cosparse.spec import DataError

from .dataset import Array, Dataset

_SPLIT_NAMES = ("x_train", "y_train", "x_test", "y_test")
_TEST_SHARE = 0.2
MAX_CLASSES = 1 << 20
"""More is a column of identifiers taken for labels."""
_UNREADABLE = (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy.load raises for files that are no archive, damaged, or hold Python objects."""


def load_npz(path: Path) -> Dataset:
    """x: (samples, ...) numbers, y: (samples,) integer classes from 0.

    With only x and y, every fifth sample of a fixed permutation is the test part. Raises DataError
    for missing arrays, wrong shapes, NaN or infinity, labels that are not classes.
    """
    arrays = _read(path)
    if not set(_SPLIT_NAMES) <= set(arrays):
        arrays = _split(path, arrays)
    x_train, x_test = (_samples(path, name, arrays[name]) for name in ("x_train", "x_test"))
    y_train = _labels(path, "y_train", arrays["y_train"], len(x_train))
    y_test = _labels(path, "y_test", arrays["y_test"], len(x_test))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(
            f"{path}: x_train and x_test have different sample shapes, "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    classes = int(max(y_train.max(), y_test.max())) + 1
    return Dataset(path.stem, "classification", x_train, y_train, x_test, y_test, classes)


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"{path}: cannot read the data: {error.strerror or error}") from error
    except _UNREADABLE as error:
        raise DataError(f"{path}: expected an .npz of plain arrays: {error}") from error


def _split(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    if not {"x", "y"} <= set(arrays):
        raise DataError(
            f"{path}: expected the arrays {', '.join(_SPLIT_NAMES)} or x, y; "
            f"got {', '.join(sorted(arrays)) or 'none'}"
        )
    x, y = arrays["x"], arrays["y"]
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or len(x) < 2:
        raise DataError(
            f"{path}: expected x (samples, ...) and y (samples,) with at least two samples, "
            f"got shapes {x.shape} and {y.shape}"
        )
    order = np.random.default_rng(0).permutation(len(x))
    cut = max(1, round(len(x) * _TEST_SHARE))
    test, train = order[:cut], order[cut:]
    return {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}


def _samples(path: Path, name: str, x: Array) -> Array:
    if x.ndim < 2 or x.dtype.kind not in "fiub" or len(x) == 0:
        raise DataError(
            f"{path}: {name}: expected numbers of shape (samples, ...), got {x.dtype} of shape {x.shape}"
        )
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise DataError(
            f"{path}: {name}: expected finite float32 numbers, got {bad} that are NaN or infinite"
        )
    return values


def _labels(path: Path, name: str, y: Array, samples: int) -> Array:
    if y.shape != (samples,) or y.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name}: expected {samples} integer classes, got {y.dtype} of shape {y.shape}"
        )
    if int(y.min()) < 0:
        raise DataError(f"{path}: {name}: expected classes from 0, got {int(y.min())}")
    if int(y.max()) >= MAX_CLASSES:
        raise DataError(f"{path}: {name}: expected classes below {MAX_CLASSES}, got {int(y.max())}")
    return y.astype(np.int64)
