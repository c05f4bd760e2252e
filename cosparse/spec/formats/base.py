"""What all packed tensors share: identity, planes, size, the way back to a dense array, and files."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..dtypes import FLOAT_BITS, INT8_MAX, VALUE_BITS, Array, decode, encode
from ..errors import CorruptFileError, DataError, InputError, UnsupportedError, unknown_name
from ..layout import Layout
from ..patterns import parse_pattern
from .image import write_image

MAX_ENTRIES = 1 << 40
"""Dense entries of the largest tensor that a file may hold: 2 TiB in FP16."""
LANE_ALIGNMENT = 32
"""Lanes of a packed plane are padded with +0 to a multiple of this."""


@dataclass(frozen=True, eq=False)
class PackedTensor(ABC):
    """A weight packed for one phase. Immutable; the planes are its bytes in memory and on disk.

    shape: the dense weight (out, in / conv_groups, *taps); axis: 1 packed for FF, 0 for BP.
    dtype: of the stored values; select_dtype: in which the entries were chosen.
    """

    format_name: ClassVar[str]
    plane_names: ClassVar[tuple[str, ...]]
    pattern_types: ClassVar[tuple[type, ...]]

    pattern: Any
    shape: tuple[int, ...]
    axis: int
    conv_groups: int
    dtype: str
    select_dtype: str

    @property
    def layout(self) -> Layout:
        return Layout(self.shape, self.axis, self.conv_groups)

    def planes(self) -> dict[str, Array]:
        """The arrays of the image, in file order (empty optional planes are left out)."""
        named = {name: getattr(self, name) for name in self.plane_names}
        return {name: plane for name, plane in named.items() if plane is not None}

    @property
    def storage_bits(self) -> int:
        """Size of the image in bits: all planes with their padding, without the file header."""
        return 8 * sum(plane.nbytes for plane in self.planes().values())

    @abstractmethod
    def to_matrices(self) -> tuple[Array, Array]:
        """Return (values, mask), both (conv_groups, taps, lanes, K); values float32, +0 if absent."""

    @abstractmethod
    def validate(self) -> None:
        """Raise CorruptFileError when the planes do not form a tensor of this format."""

    def unpack(self) -> Array:
        """The dense float32 array of `shape`; absent entries are +0."""
        return self.layout.from_matrices(self.to_matrices()[0])

    def mask(self) -> Array:
        """Boolean array of `shape`: which entries are present."""
        return self.layout.from_matrices(self.to_matrices()[1])

    def save(self, path: str | Path) -> None:
        """Write the packed file (layout in docs/formats.md)."""
        header = {
            "format": self.format_name,
            "pattern": str(self.pattern),
            "shape": list(self.shape),
            "axis": self.axis,
            "conv_groups": self.conv_groups,
            "dtype": self.dtype,
            "select_dtype": self.select_dtype,
        }
        write_image(Path(path), header, self.planes())

    @classmethod
    def from_image(cls, header: dict[str, Any], planes: dict[str, Array], where: str) -> Self:
        """Rebuild from a file's header and planes, and validate. Raises CorruptFileError."""
        unknown = set(planes) - set(cls.plane_names)
        missing = set(cls.plane_names) - set(planes) - {"scales"}
        if unknown or missing:
            raise CorruptFileError(
                f"{where}: expected the planes {', '.join(cls.plane_names)}, "
                f"got {', '.join(planes)}"
            )
        try:
            tensor = cls(
                pattern=parse_pattern(header["pattern"]),
                shape=tuple(map(int, header["shape"])),
                axis=header["axis"],
                conv_groups=header["conv_groups"],
                dtype=header["dtype"],
                select_dtype=header["select_dtype"],
                **{name: planes.get(name) for name in cls.plane_names},
            )
            check_select_dtype(tensor.select_dtype)
            check_size(tensor.shape)
            if not isinstance(tensor.pattern, cls.pattern_types):
                raise CorruptFileError(f"pattern '{tensor.pattern}' is not of this format")
            tensor.validate()
        except (KeyError, TypeError, ValueError, OverflowError, InputError) as error:
            text = str(error) if isinstance(error, InputError) else f"malformed header: {error!r}"
            raise CorruptFileError(f"{where}: {text}") from error
        return tensor

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.pattern}, shape={self.shape}, axis={self.axis}, "
            f"dtype={self.dtype}, {self.storage_bits / 8:g} bytes)"
        )


def quantise(matrices: Array, dtype: str) -> tuple[Array, Array | None]:
    """Store float values: returns (values, scales).

    matrices: (conv_groups, taps, lanes, K), absent entries +0. For int8 the scales are
    (conv_groups, lanes) float32, max|w| / 127 of the lane, and values round half to even; other
    dtypes have no scales. Raises DataError when int8 meets NaN or infinity.
    """
    if dtype != "int8":
        return encode(matrices, dtype), None
    kept = matrices.astype(np.float32)
    if not np.isfinite(kept).all():
        raise DataError("int8 packing: expected finite weights, got NaN or infinity")
    peak = np.abs(kept).max(axis=(1, 3), initial=0.0)
    scales = (peak / np.float32(INT8_MAX)).astype("<f4")
    divisor = np.where(scales > 0, scales, np.float32(1))[:, None, :, None]
    rounded = np.clip(np.rint(kept / divisor), -INT8_MAX, INT8_MAX)
    return rounded.astype(np.int8), scales


def dequantise(matrices: Array, dtype: str, scales: Array | None) -> Array:
    """Inverse of `quantise`: stored values to float32, (conv_groups, taps, lanes, K)."""
    if scales is None:
        return decode(matrices, dtype)
    widened: Array = matrices.astype(np.float32) * scales[:, None, :, None]
    return widened


def check_value_dtype(dtype: str) -> None:
    """Raise UnsupportedError unless values can be stored in `dtype`."""
    if dtype not in VALUE_BITS:
        raise UnsupportedError(unknown_name("value dtype", dtype, VALUE_BITS))


def check_size(shape: tuple[int, ...]) -> None:
    """Raise CorruptFileError for a dense weight that no machine could unpack."""
    if min(shape, default=0) < 0 or math.prod(shape) > MAX_ENTRIES:
        raise CorruptFileError(
            f"expected a dense shape of at most {MAX_ENTRIES} entries, got {shape}"
        )


def check_select_dtype(dtype: str) -> None:
    """Raise UnsupportedError unless a selection can be made in `dtype`."""
    if dtype not in FLOAT_BITS:
        raise UnsupportedError(unknown_name("selection dtype", dtype, FLOAT_BITS))


def check_plane(name: str, plane: Array | None, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise CorruptFileError unless the plane has this shape and dtype."""
    if plane is None:
        raise CorruptFileError(f"plane '{name}' is missing")
    if plane.shape != shape or plane.dtype != np.dtype(dtype):
        raise CorruptFileError(
            f"plane '{name}': expected {np.dtype(dtype)} of shape {shape}, "
            f"got {plane.dtype} of shape {plane.shape}"
        )


def check_scales(tensor: PackedTensor, scales: Array | None) -> None:
    """An int8 tensor has finite row scales; no other has any."""
    if tensor.dtype != "int8":
        if scales is not None:
            raise CorruptFileError(f"plane 'scales' is not expected for dtype {tensor.dtype}")
        return
    check_plane("scales", scales, (tensor.conv_groups, tensor.layout.lanes), "<f4")
    if not np.isfinite(scales).all():  # type: ignore[arg-type]
        raise CorruptFileError("plane 'scales': expected finite values")
