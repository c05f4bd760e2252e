"""A GEMM of the workload as the array sees it: tiled axes, the walk over K, bytes of its operands."""

import math
from dataclasses import dataclass

from cosparse.spec import (
    NM,
    VNM,
    Block,
    ConvGeometry,
    Dense,
    Gemm,
    Operand,
    Pattern,
    PatternError,
    Phase,
    Unstructured,
    UnsupportedError,
)

from .config import AcceleratorConfig
from .constants import (
    ACCUMULATOR_BYTES,
    BLOCK_INDEX_BYTES,
    INDEX_BITS,
    PACKED_LANES,
    VALUE_BYTES,
)
from .tiles import Reduction, ceil_div


@dataclass(frozen=True)
class Axis:
    """`segments` runs of `length`; a tile never spans two of them."""

    segments: int
    length: int

    @property
    def size(self) -> int:
        return self.segments * self.length

    def tiles(self, span: int) -> int:
        """Tiles of up to `span` entries."""
        return self.segments * ceil_div(self.length, span)

    def runs(self, span: int) -> tuple[tuple[int, int], ...]:
        """(count, entries) of the full tiles and of the edge tiles; empty ones left out."""
        full, edge = divmod(self.length, span)
        both = ((self.segments * full, span), (self.segments * (edge > 0), edge))
        return tuple((count, entries) for count, entries in both if count)


@dataclass(frozen=True)
class Product:
    """`count` equal matrix products; all bytes are of one of them, as they lie in DRAM.

    lhs_pass_bytes: what streaming every row tile once moves. More than lhs_bytes in a convolution's
    WU, where the tiles of different taps read the same pixels. extra_bytes: tensor read and matrix
    written where im2col is materialised.
    online_elements: entries that SORE prunes before the product starts.
    """

    count: int
    rows: Axis
    columns: Axis
    reduction: Reduction
    lhs_bytes: int
    lhs_pass_bytes: int
    rhs_bytes: int
    output_bytes: int
    extra_bytes: int
    online_elements: int


def supports(gemm: Gemm, config: AcceleratorConfig) -> str | None:
    """Why the accelerator cannot run the GEMM, or None when it can."""
    for side in (gemm.lhs, gemm.rhs):
        if side.dtype != "float16":
            return f"operands are float16, got {side.dtype} ('{side.tensor}')"
    lhs, rhs = gemm.lhs.pattern, gemm.rhs.pattern
    if not isinstance(lhs, Dense) and not isinstance(rhs, Dense):
        return f"one operand of a product may be sparse, got {lhs} and {rhs}"
    if gemm.sparse_operand is None:
        return None
    if gemm.phase is Phase.WU:
        return f"WU runs dense, got {gemm.sparse_operand.pattern}"
    if not isinstance(lhs, Dense | NM):
        return f"activations and gradients are pruned online to N:M only, got {lhs}"
    pattern = gemm.sparse_operand.pattern
    return _pattern_limit(pattern, config) or _shape_limit(gemm, pattern)


def _shape_limit(gemm: Gemm, pattern: Pattern) -> str | None:
    """Why the pattern does not fit the operand's lanes and reduction axis, or None."""
    try:
        pattern.validate((gemm.n if gemm.sparse_operand is gemm.rhs else gemm.m, gemm.channels))
    except PatternError as error:
        return str(error)
    return None


def _pattern_limit(pattern: Pattern, config: AcceleratorConfig) -> str | None:
    """Why a sparse operand of this pattern cannot be selected by the array, or None."""
    if isinstance(pattern, Block):
        return None
    if isinstance(pattern, Unstructured):
        return f"{pattern} has no bounded group to select from (valid: dense, N:M, V:N:M, block)"
    if not isinstance(pattern, NM | VNM):
        return f"no array mode for pattern {pattern} (valid: dense, N:M, V:N:M, block)"
    if config.group_max % pattern.m:
        valid = ", ".join(str(2**p) for p in range(config.group_max.bit_length()))
        return f"M of {pattern} must divide group_max = {config.group_max} (valid M: {valid})"
    if pattern.n > config.n_max:
        return f"N of {pattern} is above n_max = {config.n_max}"
    return None


def to_product(gemm: Gemm, config: AcceleratorConfig) -> Product:
    """Lower a GEMM with macs > 0. Raises UnsupportedError with the reason from `supports`."""
    reason = supports(gemm, config)
    if reason is not None:
        raise UnsupportedError(f"{gemm.phase} of '{gemm.name}' on {config.name}: {reason}")
    flat = materialises_im2col(gemm, config)
    count = gemm.batch * gemm.groups
    rows = _rows(gemm, flat)
    reduction = _reduction(gemm, flat, config)
    lhs = _matrix_bytes(rows.size, gemm.k) if flat else _lhs_tensor_bytes(gemm, rows.size)
    return Product(
        count=count,
        rows=rows,
        columns=_columns(gemm),
        reduction=reduction,
        lhs_bytes=_packed_lhs_bytes(gemm, lhs, reduction),
        lhs_pass_bytes=_lhs_pass_bytes(gemm, lhs, reduction),
        rhs_bytes=_rhs_bytes(gemm, reduction),
        output_bytes=_output_bytes(gemm, rows.size),
        extra_bytes=_lhs_tensor_bytes(gemm, rows.size) + lhs if flat else 0,
        online_elements=0 if isinstance(gemm.lhs.pattern, Dense) else lhs // VALUE_BYTES,
    )


def materialises_im2col(gemm: Gemm, config: AcceleratorConfig) -> bool:
    """A dense convolution whose channels fill less than half a scratchpad word (R / 2).

    Its taps and channels then form one axis of a matrix that is written to memory first.
    """
    if gemm.conv is None or gemm.conv.taps == 1 or gemm.sparse_operand is not None:
        return False
    return 2 * _lhs_channels(gemm, gemm.conv) < config.rows


def _rows(gemm: Gemm, flat: bool) -> Axis:
    """Row tiles of WU stay inside one tap. A strided BP has as many rows a tap as its MACs say."""
    if gemm.phase is not Phase.WU:
        return Axis(1, ceil_div(gemm.macs, gemm.batch * gemm.groups * gemm.k * gemm.n))
    taps = gemm.conv.taps if gemm.conv is not None and not flat else 1
    return Axis(taps, gemm.m // taps)


def _columns(gemm: Gemm) -> Axis:
    """A column tile stays inside one block row, whose blocks all its columns share."""
    pattern = gemm.rhs.pattern
    if isinstance(pattern, Block) and pattern.rows < gemm.n:
        return Axis(ceil_div(gemm.n, pattern.rows), pattern.rows)
    return Axis(1, gemm.n)


def _reduction(gemm: Gemm, flat: bool, config: AcceleratorConfig) -> Reduction:
    pattern = _sparse_pattern(gemm)
    taps, channels = (1, gemm.k) if flat else (gemm.taps, gemm.channels)
    if isinstance(pattern, NM | VNM):
        return Reduction(taps, channels, pattern.n, pattern.m, packed=True)
    dense = config.n_max
    if isinstance(pattern, Block):
        return Reduction(_blocks_of_a_row(gemm, pattern), pattern.cols, dense, dense, packed=False)
    return Reduction(taps, channels, dense, dense, packed=False)


def _sparse_pattern(gemm: Gemm) -> Pattern:
    operand: Operand | None = gemm.sparse_operand
    return Dense() if operand is None else operand.pattern


def _blocks_of_a_row(gemm: Gemm, pattern: Block) -> int:
    """Present blocks of one block row: the mean over the tensor, rounded up, at least one."""
    positions = gemm.taps * ceil_div(gemm.channels, pattern.cols)
    # Nine digits: a density such as 0.1 must not round 10 positions up to 2 blocks.
    return max(1, math.ceil(round(pattern.density * positions, 9)))


def _matrix_bytes(rows: int, columns: int) -> int:
    return rows * columns * VALUE_BYTES


def _lhs_tensor_bytes(gemm: Gemm, rows: int) -> int:
    """Dense bytes of the left tensor: a convolution's is stored without its taps."""
    conv = gemm.conv
    if conv is None:
        return _matrix_bytes(rows, gemm.k)
    height, width = conv.out_hw if gemm.phase is Phase.BP else conv.in_hw
    return _matrix_bytes(conv.batch * height * width, _lhs_channels(gemm, conv))


def _lhs_channels(gemm: Gemm, conv: ConvGeometry) -> int:
    """Channels of the tensor that a convolution's left operand is gathered from."""
    return gemm.m // conv.taps if gemm.phase is Phase.WU else gemm.channels


def _packed_lhs_bytes(gemm: Gemm, dense_bytes: int, reduction: Reduction) -> int:
    """Bytes of the left operand as the product reads it: packed by SORE when it is sparse."""
    if isinstance(gemm.lhs.pattern, Dense):
        return dense_bytes
    pixels = dense_bytes // (VALUE_BYTES * reduction.channels)
    return _packed_bytes(pixels, ceil_div(reduction.channels, reduction.m) * reduction.n)


def _lhs_pass_bytes(gemm: Gemm, dense_bytes: int, reduction: Reduction) -> int:
    if gemm.phase is Phase.WU:
        return max(dense_bytes, _matrix_bytes(gemm.m, gemm.k))
    return _packed_lhs_bytes(gemm, dense_bytes, reduction)


def _rhs_bytes(gemm: Gemm, reduction: Reduction) -> int:
    pattern = gemm.rhs.pattern
    if isinstance(pattern, NM | VNM):
        return _packed_bytes(gemm.n, reduction.groups * reduction.n)
    if isinstance(pattern, Block):
        block_rows = ceil_div(gemm.n, pattern.rows)
        values = _matrix_bytes(pattern.rows, pattern.cols)
        return block_rows * (reduction.segments * (values + BLOCK_INDEX_BYTES) + BLOCK_INDEX_BYTES)
    return _matrix_bytes(gemm.k, gemm.n)


def _packed_bytes(lanes: int, entries: int) -> int:
    """Both planes of an N:M image: `entries` a lane, lanes padded."""
    padded = ceil_div(lanes, PACKED_LANES) * PACKED_LANES
    return padded * entries * VALUE_BYTES + padded * entries * INDEX_BITS // 8


def _output_bytes(gemm: Gemm, rows: int) -> int:
    """FP16 activations and gradients; the weight gradient stays FP32."""
    if gemm.phase is Phase.WU:
        return gemm.m * gemm.n * ACCUMULATOR_BYTES
    if gemm.phase is Phase.BP and gemm.conv is not None:
        height, width = gemm.conv.in_hw
        return _matrix_bytes(gemm.conv.batch * height * width, gemm.n)
    return _matrix_bytes(rows, gemm.n)
