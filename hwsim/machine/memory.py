"""The DRAM image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import InputError

from ..constants import DRAM_ALIGNMENT_BYTES


@dataclass(frozen=True, eq=False)
class Memory:
    """image: the bytes of DRAM from address 0, uint8; read-only."""

    image: Array

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 1:
            got = f"{self.image.dtype} {self.image.shape}"
            raise InputError(f"DRAM image: expected a vector of uint8, got {got}")
        if len(self.image) % DRAM_ALIGNMENT_BYTES:
            raise InputError(
                f"DRAM image: expected a multiple of {DRAM_ALIGNMENT_BYTES} bytes, "
                f"got {len(self.image)}"
            )
        view = self.image.view()
        view.flags.writeable = False
        object.__setattr__(self, "image", view)

    @classmethod
    def build(cls, size_bytes: int, parts: Mapping[int, Array] | None = None) -> Self:
        """Zeros, with arrays laid at byte addresses. Raises InputError where one does not fit."""
        image = np.zeros(size_bytes, np.uint8)
        for address, array in (parts or {}).items():
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            if address < 0 or address + len(data) > size_bytes:
                raise InputError(
                    f"DRAM image: expected {len(data)} bytes from {address} inside {size_bytes}"
                )
            image[address : address + len(data)] = data
        return cls(image)

    def array(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """A copy of the array that lies at a byte address. Raises InputError outside the image."""
        kind: np.dtype[Any] = np.dtype(dtype)
        end = address + kind.itemsize * int(np.prod(shape))
        if address < 0 or end > len(self.image):
            raise InputError(
                f"DRAM image: expected bytes inside {len(self.image)}, got {address} to {end - 1}"
            )
        return self.image[address:end].copy().view(kind).reshape(shape)
