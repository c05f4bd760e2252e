"""The selection rule on torch tensors: `cosparse.spec.keep_largest` on keys of the same bits."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cosparse.spec import NM, keep_largest
from cosparse.spec.dtypes import CANONICAL_NAN

_INTEGER = {"float16": torch.int16, "bfloat16": torch.int16, "float32": torch.int32}


def selection_keys(values: Tensor, dtype: str) -> Tensor:
    """Integer magnitudes of `values` rounded to `dtype`; NaN is canonical and ranks highest."""
    source = values.detach()
    if source.dtype == torch.float64 and dtype != "float32":
        source = _round_to_odd(source)
    rounded = source.to(getattr(torch, dtype)).contiguous()
    integer = _INTEGER[dtype]
    bits = rounded.view(integer) & torch.iinfo(integer).max
    return bits.masked_fill(rounded.isnan(), CANONICAL_NAN[dtype])


def _round_to_odd(values: Tensor) -> Tensor:
    """float64 -> float32 with the last bit set when inexact.

    torch converts float64 to 16 bits by way of float32. Rounding there to odd makes the rounding
    that follows equal to a single one.
    """
    single = values.float().contiguous()
    inexact = single.isfinite() & (single.double() != values)
    away = inexact & (single.double().abs() > values.abs())
    bits = single.view(torch.int32) - away.int()
    return torch.where(inexact, bits | 1, bits).view(torch.float32)


def nm_mask(
    values: Tensor, pattern: NM, *, axis: int, conv_groups: int = 1, dtype: str = "float16"
) -> Tensor:
    """Boolean mask of the N largest of every M consecutive entries along `axis`.

    values: any shape; groups never cross one of the `conv_groups` equal parts of the axis, and a
    group cut by a part's edge is padded with +0. The result equals `cosparse.spec.select`.
    """
    axis %= values.dim()
    parts = selection_keys(values, dtype).unflatten(axis, (conv_groups, -1)).movedim(axis + 1, 0)
    length = parts.shape[0]
    flat = parts.reshape(length, -1)
    flat = F.pad(flat, (0, 0, 0, -length % pattern.m))
    grouped = flat.view(-1, pattern.m, flat.shape[1]).transpose(0, 1)
    kept = keep_largest(grouped, pattern.n).transpose(0, 1).reshape(-1, flat.shape[1])
    mask: Tensor = kept[:length].reshape(parts.shape).movedim(0, axis + 1)
    return mask.flatten(axis, axis + 1)


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """`values` where the mask is set and +0 elsewhere (never a product: 0 * NaN is NaN)."""
    return values if mask is None else torch.where(mask, values, 0)
