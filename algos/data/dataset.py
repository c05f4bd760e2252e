"""A data set as plain arrays with a fixed split and a hash."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test arrays.

    task "classification": x (samples, *input_shape) float32, y (samples,) int64.
    task "language": x is one stream of byte tokens (length,) uint8 and y is the same stream;
    windows are cut in training.
    """

    name: str
    task: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: int
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the four arrays."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(str((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What a report needs to name the data."""
        return {
            "name": self.name,
            "task": self.task,
            "train": len(self.x_train),
            "test": len(self.x_test),
            "classes": self.classes,
            "sha256": self.content_hash,
            **self.details,
        }
