"""Number formats of packed values: rounding, bit patterns, canonical NaN and magnitude keys.

Rounding is always round to nearest, ties to even. NaN is canonical: 0x7E00, 0x7FC0, 0x7FC00000.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UnsupportedError, unknown_name

Array = npt.NDArray[Any]

FLOAT_BITS: dict[str, int] = {"float16": 16, "bfloat16": 16, "float32": 32}
"""Bits of a value for each floating dtype; also the dtypes in which a selection can be made."""

VALUE_BITS: dict[str, int] = {**FLOAT_BITS, "int8": 8}
"""Bits of a value for each dtype in which packed values can be stored."""

CANONICAL_NAN = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": 0x7FC00000}
"""Bits of the one NaN that each floating dtype stores."""

_STORAGE: dict[str, npt.DTypeLike] = {
    "float16": "<f2",
    "bfloat16": "<u2",
    "float32": "<f4",
    "int8": "|i1",
}
INT8_MAX = 127


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """NumPy dtype that holds one stored value (bfloat16 is held as its 16 raw bits)."""
    if dtype not in _STORAGE:
        raise UnsupportedError(unknown_name("value dtype", dtype, _STORAGE))
    return np.dtype(_STORAGE[dtype])


def encode(array: Array, dtype: str) -> Array:
    """Round a float array to `dtype` and make NaN canonical; the result has `storage_dtype(dtype)`."""
    if dtype == "bfloat16":
        return _encode_bfloat16(array)
    if dtype not in FLOAT_BITS:
        raise UnsupportedError(unknown_name("float dtype", dtype, FLOAT_BITS))
    with np.errstate(over="ignore", invalid="ignore"):  # overflow to infinity is the IEEE result
        stored = array.astype(storage_dtype(dtype))
    bits = stored.view(f"<u{stored.itemsize}")
    bits[np.isnan(stored)] = CANONICAL_NAN[dtype]
    return stored


def decode(stored: Array, dtype: str) -> Array:
    """Widen stored values of a floating dtype to float32, exactly."""
    if dtype == "bfloat16":
        return (stored.astype("<u4") << 16).view("<f4")
    return stored.astype("<f4")


def round_to(array: Array, dtype: str) -> Array:
    """Round to `dtype` and widen back to float32."""
    return decode(encode(array, dtype), dtype)


def _encode_bfloat16(array: Array) -> Array:
    """Round through float32 bits. A float64 input is first rounded to odd, so that it rounds once."""
    single = _round_to_odd(array) if array.dtype == np.float64 else array.astype("<f4")
    bits = single.view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(single), CANONICAL_NAN["bfloat16"], rounded).astype("<u2")


def _round_to_odd(array: Array) -> Array:
    """float64 -> float32 with the last bit set when inexact (makes a second rounding harmless)."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype("<f4")
        inexact = np.isfinite(single) & (single.astype(np.float64) != array)
        away = inexact & (np.abs(single.astype(np.float64)) > np.abs(array))
    bits = single.view("<u4").copy()
    bits[away] -= 1
    bits[inexact] |= 1
    return bits.view("<f4")


def selection_keys(array: Array, dtype: str) -> Array:
    """Integer magnitudes of `array` rounded to `dtype`: its bits without the sign."""
    return sign_cleared(encode(array, dtype))


def sign_cleared(stored: Array) -> Array:
    """The bits of stored float values as integers, without the sign."""
    bits = stored.view(f"<i{stored.itemsize}")
    return bits & np.iinfo(bits.dtype).max


def decode_bits(bits: Array, dtype: str) -> Array:
    """Widen raw bits of a floating dtype (as `selection_keys` returns them) to float32."""
    return decode(bits.view(storage_dtype(dtype)), dtype)


def magnitude_keys(scores: Array) -> Array:
    """Magnitudes as integers that order like the rule: |score| by its bits, NaN above infinity.

    scores: a float16, float32 or float64 array; +0 and -0 give the same key.
    """
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    width = scores.dtype.itemsize
    magnitude: Array = np.abs(scores)
    keys: Array = magnitude.view(f"i{width}")
    nans = np.isnan(scores)
    if nans.any():
        keys[nans] = np.iinfo(keys.dtype).max
    return keys
