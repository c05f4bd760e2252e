"""Packed tensors: one class per storage format, one table, `select`, `pack` and `load`."""

from pathlib import Path

import numpy as np

from ..dtypes import Array, round_to
from ..errors import CorruptFileError, ShapeError, UnsupportedError, unknown_name
from ..layout import Layout
from ..patterns import NM, VNM, Block, Dense, Pattern, Unstructured
from .base import LANE_ALIGNMENT, PackedTensor, check_select_dtype, check_value_dtype
from .block import BlockTensor, pack_block
from .image import SCHEMA, read_image
from .nm import NMTensor, VNMTensor, pack_nm
from .unstructured import BitmapTensor, CSRTensor, pack_rows

FORMATS: dict[str, type[PackedTensor]] = {
    "nm": NMTensor,
    "vnm": VNMTensor,
    "block": BlockTensor,
    "csr": CSRTensor,
    "bitmap": BitmapTensor,
}
"""Storage format by the name used in files and scenarios."""

__all__ = [
    "FORMATS",
    "LANE_ALIGNMENT",
    "SCHEMA",
    "BitmapTensor",
    "BlockTensor",
    "CSRTensor",
    "NMTensor",
    "PackedTensor",
    "VNMTensor",
    "load",
    "pack",
    "select",
]


def select(
    weights: Array, pattern: Pattern, *, axis: int, dtype: str = "float16", conv_groups: int = 1
) -> Array:
    """The one selection rule: a boolean mask of the entries that `pattern` keeps.

    weights: (out, in / conv_groups, *taps) floats; axis: 1 groups along inputs (FF), 0 along outputs
    inside each convolution group (BP); dtype: magnitudes compare after rounding to it.
    Raises PatternError when the pattern does not fit, ShapeError for a wrong array or axis.
    """
    weights, layout = _checked(weights, pattern, axis, dtype, conv_groups)
    scores = layout.to_matrices(round_to(weights, dtype))
    return layout.from_matrices(pattern.mask_from_scores(scores))


def pack(
    array: Array,
    pattern: Pattern,
    *,
    axis: int,
    dtype: str = "float16",
    select_dtype: str = "float16",
    conv_groups: int = 1,
    format: str | None = None,
) -> PackedTensor:
    """Select and pack a weight for one phase.

    array, axis, conv_groups: as in `select`; dtype: of the stored values (float16, bfloat16,
    float32, int8 with one scale a lane); format: "bitmap" instead of "csr" for Unstructured.
    Raises PatternError, ShapeError, UnsupportedError; DataError for NaN or infinity in int8.
    """
    check_value_dtype(dtype)
    array, layout = _checked(array, pattern, axis, select_dtype, conv_groups)
    name = _format_of(pattern, format)
    if isinstance(pattern, NM | VNM):
        return pack_nm(array, pattern, layout, dtype, select_dtype)
    mask = select(array, pattern, axis=axis, dtype=select_dtype, conv_groups=conv_groups)
    if isinstance(pattern, Block):
        return pack_block(array, mask, pattern, layout, dtype, select_dtype)
    assert isinstance(pattern, Unstructured)
    kind = BitmapTensor if name == "bitmap" else CSRTensor
    return pack_rows(kind, array, mask, pattern, layout, dtype, select_dtype)


def load(path: str | Path) -> PackedTensor:
    """Read a packed file and validate it. Raises CorruptFileError and SchemaVersionError."""
    header, planes = read_image(Path(path))
    name = str(header.get("format"))
    if name not in FORMATS:
        raise CorruptFileError(f"{path}: {unknown_name('format', name, FORMATS)}")
    return FORMATS[name].from_image(header, planes, str(path))


_FORMATS_OF: dict[type, tuple[str, ...]] = {
    NM: ("nm",),
    VNM: ("vnm",),
    Block: ("block",),
    Unstructured: ("csr", "bitmap"),
}


def _format_of(pattern: Pattern, name: str | None) -> str:
    choices = _FORMATS_OF.get(type(pattern), ())
    if not choices:
        hint = "; a dense image is NM(m, m)" if isinstance(pattern, Dense) else ""
        raise UnsupportedError(f"pattern '{pattern}' has no packed format{hint}")
    if name is None:
        return choices[0]
    if name not in choices:
        raise UnsupportedError(
            f"pattern '{pattern}' cannot be packed as '{name}' (valid: {', '.join(choices)})"
        )
    return name


def _checked(
    array: Array, pattern: Pattern, axis: int, dtype: str, conv_groups: int
) -> tuple[Array, Layout]:
    check_select_dtype(dtype)
    array = np.asarray(array)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise ShapeError(f"expected a float16, float32 or float64 array, got {array.dtype}")
    layout = Layout(array.shape, axis, conv_groups)
    pattern.validate(layout.matrix_shape)
    return array, layout
