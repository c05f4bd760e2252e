"""FP16 and FP32 as bits: widen, round and canonical NaN."""

import numpy as np

from cosparse.spec.dtypes import Array, encode


def single(bits: Array) -> Array:
    """uint32 bits as float32."""
    return bits.view(np.float32)


def single_bits(values: Array) -> Array:
    """float32 to uint32 bits, NaN canonical."""
    return encode(values, "float32").view(np.uint32)


def scalar(bits: int) -> np.float32:
    """The FP32 number of a register."""
    return np.uint32(bits).view(np.float32)


def widen(bits: Array) -> Array:
    """FP16 bits to float32, exact. NaN may have any bits."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return bits.view(np.float16).astype(np.float32)


def round_to_half(values: Array) -> tuple[Array, bool]:
    """float32 to FP16 bits, NaN canonical; and whether one is an infinity or NaN."""
    rounded = encode(values, "float16")
    return rounded.view(np.uint16), not bool(np.isfinite(rounded).all())


def canonical_half(bits: Array) -> Array:
    """FP16 bits with every NaN as 0x7E00."""
    return encode(bits.view(np.float16), "float16").view(np.uint16)
