"""Activations in INT8, the rule that every INT8 product shares.

    peak     largest |x| of a token (per="token") or of all of them (per="tensor"), float32
    scale    peak / 127, the value of one step
    q        x * (127 / peak), rounded half to even: in [-127, 127]

Each operation rounds to float32. A peak below LEAST_PEAK counts as zero: scale 0 and q = 0. A result of
an INT8 product is `float32(sum) * row scale * activation scale`, rounded after each, sum an exact integer.
"""

from typing import Literal

import numpy as np

from cosparse.spec import DataError, UnsupportedError
from cosparse.spec.dtypes import INT8_MAX, Array
from cosparse.spec.errors import unknown_name

Per = Literal["token", "tensor"]
PER = ("token", "tensor")
LEAST_PEAK = np.float32(2.0**-100)
"""Below it 127 / peak would leave the range of float32."""


def quantise(x: Array, per: Per = "token") -> tuple[Array, Array]:
    """(q int8 like x, scale float32 of every token) of float32 x (tokens, K).

    Raises DataError for NaN or infinity.
    """
    scales, inverses = scales_of(np.abs(x).max(axis=1, initial=np.float32(0)), per)
    return np.rint(x * inverses[:, None]).astype(np.int8), scales


def scales_of(peaks: Array, per: Per) -> tuple[Array, Array]:
    """(scale, 127 / peak) of every token, float32, from their peaks.

    Raises DataError for a peak that is not finite and UnsupportedError for an unknown `per`.
    """
    if per not in PER:
        raise UnsupportedError(unknown_name("scale per", per, PER))
    if not np.isfinite(peaks).all():
        token = int(np.flatnonzero(~np.isfinite(peaks))[0])
        raise DataError(
            f"INT8 product: expected finite activations, got NaN or infinity in token {token}"
        )
    if per == "tensor":
        peaks = np.full_like(peaks, peaks.max(initial=0))
    zero = peaks < LEAST_PEAK
    limit = np.float32(INT8_MAX)
    scales = np.where(zero, np.float32(0), peaks / limit)
    return scales, np.where(zero, np.float32(0), limit / np.where(zero, limit, peaks))
