"""Select and pack a weight anew in every training step, by vector code: what `cosparse.spec.pack` gives.

The floor is memory: one pass over the float32 weight for each direction. Ranks are counted for all lanes of
a vector at once, without a branch; see `pack_assembly`.
"""

from functools import cache
from math import lcm

import numpy as np

from cosparse.spec import NM, VNM, Pattern, UnsupportedError, pack
from cosparse.spec.dtypes import Array
from cosparse.spec.formats.base import LANE_ALIGNMENT
from cosparse.spec.formats.nm import NIBBLE_MAX_M, NMTensor, VNMTensor
from cosparse.spec.layout import Layout
from cosparse.spec.patterns import padded

from .isa import PORTABLE, Isa, current
from .objects import Kernel, load_kernel
from .pack_assembly import ARGUMENTS, Selection, Target, lanes_at_once, pack_assembly
from .pack_shared import can_share, shared_assembly
from .panels import address, aligned_empty

MAX_M = 32
"""Positions of a group that are unrolled."""
SELECT_DTYPES = ("float16", "bfloat16")


def pack_weight(
    weight: Array,
    pattern: Pattern,
    *,
    axis: int,
    select_dtype: str = "float16",
    conv_groups: int = 1,
) -> NMTensor:
    """`cosparse.spec.pack(weight, pattern, dtype="float32", ...)`, bit for bit.

    weight: (out, in / conv_groups, *taps), float32. Patterns, dtypes and machines without a kernel of
    their own take that function's way. Raises what it raises, and UnsupportedError for a pattern that
    is not N:M or V:N:M.
    """
    if not isinstance(pattern, NM | VNM):
        raise UnsupportedError(f"expected an N:M or V:N:M pattern, got '{pattern}'")
    isa = current()
    selection = selection_of(pattern, select_dtype, isa)
    layout = Layout(weight.shape, axis, conv_groups) if _is_plain(weight) else None
    if selection is None or layout is None or layout.reduction < pattern.m:
        found = pack(
            weight,
            pattern,
            axis=axis,
            dtype="float32",
            select_dtype=select_dtype,
            conv_groups=conv_groups,
        )
        assert isinstance(found, NMTensor)
        return found
    return _packed(weight, pattern, layout, selection, isa)


def _is_plain(weight: Array) -> bool:
    return isinstance(weight, np.ndarray) and weight.dtype == np.float32 and weight.ndim >= 2


def selection_of(pattern: NM | VNM, dtype: str, isa: Isa) -> Selection | None:
    """What to pack; None where no kernel exists for it."""
    v = pattern.v if isinstance(pattern, VNM) else 1
    shared = v & (v - 1) == 0 and v <= isa.lanes
    if isa is PORTABLE or dtype not in SELECT_DTYPES or pattern.m > MAX_M or not shared:
        return None
    return Selection(pattern.n, pattern.m, v, dtype)


def _packed(
    weight: Array, pattern: NM | VNM, layout: Layout, selection: Selection, isa: Isa
) -> NMTensor:
    v, m = selection.v, selection.m
    lanes = padded(layout.lanes, lcm(LANE_ALIGNMENT, v))
    groups = padded(layout.reduction, m) // m
    image = (layout.conv_groups, layout.taps, groups, selection.n)
    values = aligned_empty(int(np.prod(image)) * lanes).reshape(*image, lanes)
    indices = np.empty((*image, lanes // v), np.uint8)
    matrices = layout.to_matrices(weight)
    for group in range(layout.conv_groups):
        for tap in range(layout.taps):
            _run(matrices[group, tap], selection, isa, values[group, tap], indices[group, tap])
    kind = VNMTensor if isinstance(pattern, VNM) else NMTensor
    return kind(
        pattern=pattern,  # type: ignore[arg-type]
        shape=layout.shape,
        axis=layout.axis,
        conv_groups=layout.conv_groups,
        dtype="float32",
        select_dtype=selection.dtype,
        values=values,
        indices=_stored(indices, m),
        scales=None,
    )


def _run(matrix: Array, selection: Selection, isa: Isa, values: Array, indices: Array) -> None:
    """matrix: (lanes, K). values: (groups, n, padded lanes), indices: (groups, n, padded lanes / v)."""
    groups, _, lanes = values.shape
    width = lanes_at_once(selection, isa.lanes)
    turned = matrix.strides[1] == matrix.itemsize
    positions = groups * selection.m
    source = _whole(matrix, lanes, padded(positions, isa.lanes) if turned else positions, turned)
    scratch = aligned_empty(padded(positions, isa.lanes) * width if turned else 1)
    kernel = pack_kernel(selection, Target(), isa.lanes, transposed=turned)
    kernel(
        address(source), source.strides[0 if turned else 1], groups, lanes // width, address(scratch),
        address(values), values.strides[1], 4 * width,
        address(indices), indices.strides[1], width // selection.v,
    )  # fmt: skip


def _whole(matrix: Array, lanes: int, positions: int, turned: bool) -> Array:
    """The matrix itself, or a copy that is filled up with zeros to (lanes, positions)."""
    steps = matrix.strides[1 if turned else 0]
    if matrix.shape == (lanes, positions) and steps == matrix.itemsize:
        return matrix
    shape = (lanes, positions) if turned else (positions, lanes)
    filled = np.zeros(shape, np.float32)
    whole = filled if turned else filled.T
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


@cache
def pack_kernel(selection: Selection, target: Target, lanes: int, *, transposed: bool) -> Kernel:
    """Arguments: `pack_assembly.ARGUMENTS`."""
    way = "rows" if transposed else "columns"
    name = f"pack-{selection.name}-{target.name}-{way}-{lanes}"
    if can_share(selection, target, lanes):
        assembly = shared_assembly(selection, target, transposed=transposed)
    else:
        assembly = pack_assembly(selection, target, lanes, transposed=transposed)
    return load_kernel(name, assembly, len(ARGUMENTS))


def _stored(indices: Array, m: int) -> Array:
    """Bytes as the format stores them: nibbles up to M = 16, the even lane low."""
    if m > NIBBLE_MAX_M:
        return indices
    if indices.shape[-1] % 2:
        indices = np.pad(indices, [(0, 0)] * (indices.ndim - 1) + [(0, 1)])
    pairs = indices.view("<u2")
    nibbles: Array = (pairs | pairs >> 4).astype(np.uint8)
    return nibbles
