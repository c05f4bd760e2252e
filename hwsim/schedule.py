"""Candidate schedules of one product: a dataflow, an interleave, what stays in the scratchpads.

Each function of DATAFLOWS gives the cheapest way to block the product for one interleave. While
the array works on one half of a scratchpad the DMA fills the other, so compute and transfer overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES
from .dram import transfer_cycles
from .product import Product
from .tiles import (
    Interleave,
    ceil_div,
    os_drain_cycles,
    os_latency_cycles,
    os_matmul_cycles,
    os_tile_cycles,
    ws_matmul_cycles,
    ws_partial_sum_bytes,
)


@dataclass(frozen=True)
class Schedule:
    """One way to run a product, and what it costs."""

    dataflow: str
    interleave: Interleave
    matmuls: int
    compute_cycles: int
    bandwidth_cycles: int
    dram_bytes: int
    partial_sum_bytes: int

    @property
    def cycles(self) -> int:
        return max(self.compute_cycles, self.bandwidth_cycles)


@dataclass(frozen=True)
class Blocking:
    """How often a product's operands are read and how its tiles fall into MATMULs.

    tile_chunks: MATMULs that one tile's K is split into; above 1 every tile drains by itself.
    """

    matmuls: int
    tile_chunks: int
    lhs_bytes: int
    rhs_bytes: int


def os_schedules(
    product: Product, interleave: Interleave, config: AcceleratorConfig
) -> tuple[Schedule, ...]:
    """Output stationary: the one blocking with the least traffic."""
    blocking = os_blocking(product, interleave, config)
    runs = _os_runs(product, interleave, config)
    if blocking.tile_chunks > 1:
        drains = sum(count for count, _ in runs) * os_drain_cycles(interleave, config)
        latency = os_latency_cycles(product.reduction, interleave, config)
        tiles = sum(count * cycles for count, cycles in runs)
        compute = tiles + drains + blocking.matmuls * latency
    else:
        compute = os_matmul_cycles(runs, product.reduction, interleave, config, blocking.matmuls)
    return (_schedule("OS", product, interleave, config, blocking, compute, 0),)


def _os_runs(
    product: Product, interleave: Interleave, config: AcceleratorConfig
) -> list[tuple[int, int]]:
    """(count, U) over all products: full tiles first, then the edges of rows, columns and both."""
    row_runs = product.rows.runs(interleave.rows * config.rows)
    column_runs = product.columns.runs(interleave.columns * config.cols)
    return [
        (
            product.count * row_count * column_count,
            os_tile_cycles(
                product.reduction,
                interleave,
                ceil_div(rows, config.rows) * ceil_div(columns, config.cols),
                config,
            ),
        )
        for row_count, rows in row_runs
        for column_count, columns in column_runs
    ]


def os_blocking(product: Product, interleave: Interleave, config: AcceleratorConfig) -> Blocking:
    """Keep whole products, else whole tiles, else stream each tile's K through the scratchpads."""
    resident = _resident_products(product, config)
    if resident:
        matmuls = ceil_div(product.count, resident)
        return Blocking(matmuls, 1, product.lhs_bytes, product.rhs_bytes)
    row_span, column_span = interleave.rows * config.rows, interleave.columns * config.cols
    row_tiles, column_tiles = product.rows.tiles(row_span), product.columns.tiles(column_span)
    lhs_tile = _share(product.lhs_pass_bytes, row_span, product.rows.size)
    rhs_tile = _share(product.rhs_bytes, column_span, product.columns.size)
    lhs_room = config.activation_half_bytes // lhs_tile
    rhs_room = config.weight_half_bytes // rhs_tile
    if not (lhs_room and rhs_room):
        chunks = max(
            ceil_div(lhs_tile, config.activation_half_bytes),
            ceil_div(rhs_tile, config.weight_half_bytes),
        )
        return _chunked_blocking(product, row_tiles, column_tiles, chunks, config)
    return _tile_blocking(product, ceil_div(row_tiles, lhs_room), ceil_div(column_tiles, rhs_room))


def _chunked_blocking(
    product: Product, row_tiles: int, column_tiles: int, chunks: int, config: AcceleratorConfig
) -> Blocking:
    """Every tile reads its operands again, unless one of them stays in its scratchpad as a whole."""
    lhs_bytes, rhs_bytes = product.lhs_pass_bytes * column_tiles, product.rhs_bytes * row_tiles
    if product.lhs_bytes <= config.activation_half_bytes:
        lhs_bytes = product.lhs_bytes
    if product.rhs_bytes <= config.weight_half_bytes:
        rhs_bytes = product.rhs_bytes
    return Blocking(product.count * row_tiles * column_tiles * chunks, chunks, lhs_bytes, rhs_bytes)


def _tile_blocking(product: Product, row_blocks: int, column_blocks: int) -> Blocking:
    """The operand of the outer loop is read once, the other once for each of the outer's blocks."""
    rows_outer = product.lhs_pass_bytes, product.rhs_bytes * row_blocks
    columns_outer = product.lhs_pass_bytes * column_blocks, product.rhs_bytes
    lhs_bytes, rhs_bytes = min(rows_outer, columns_outer, key=sum)
    return Blocking(product.count * row_blocks * column_blocks, 1, lhs_bytes, rhs_bytes)


def _resident_products(product: Product, config: AcceleratorConfig) -> int:
    """Whole products that lie in the scratchpads together; 0 when not even one does."""
    return min(
        product.count,
        config.activation_half_bytes // product.lhs_bytes,
        config.weight_half_bytes // product.rhs_bytes,
    )


def _share(total_bytes: int, part: int, whole: int) -> int:
    """Bytes of `part` of `whole` entries, rounded up, at least 1 and at most all of them."""
    return max(1, ceil_div(total_bytes * min(part, whole), whole))


def ws_schedules(
    product: Product, interleave: Interleave, config: AcceleratorConfig
) -> tuple[Schedule, ...]:
    """Weight stationary, one MATMUL a token block and column tile.

    Blocks are all tokens or a power of two of them, so that a larger scratchpad only adds choices.
    """
    limit = _ws_token_limit(product, interleave, config)
    blocks = [2**power for power in range(limit.bit_length())]
    if limit == product.rows.size:
        blocks.append(limit)
    return tuple(_ws_schedule(product, interleave, config, block) for block in blocks)


def _ws_token_limit(product: Product, interleave: Interleave, config: AcceleratorConfig) -> int:
    """Tokens whose partial sums fit the accumulators and one fold's slice the activations."""
    folds = ceil_div(product.reduction.groups, config.rows)
    slice_bytes = _share(product.lhs_bytes, 1, product.rows.size * folds)
    span = interleave.columns * config.cols
    sums = config.accumulator_half_bytes // (span * ACCUMULATOR_BYTES)
    return max(1, min(sums, config.activation_half_bytes // slice_bytes, product.rows.size))


def _ws_schedule(
    product: Product, interleave: Interleave, config: AcceleratorConfig, tokens: int
) -> Schedule:
    """`tokens`: largest block; the blocks are balanced and differ by at most one token.

    A block whose whole K stays in the activation scratchpad is loaded once for all column tiles.
    """
    reduction, rows = product.reduction, product.rows.size
    blocks = ceil_div(rows, tokens)
    small, large_blocks = divmod(rows, blocks)
    span = interleave.columns * config.cols
    column_tiles = product.columns.tiles(span)
    compute = column_tiles * (
        large_blocks * ws_matmul_cycles(small + 1, reduction, interleave, config)
        + (blocks - large_blocks) * ws_matmul_cycles(small, reduction, interleave, config)
    )
    k_resident = product.lhs_bytes * tokens <= rows * config.activation_half_bytes
    weights_resident = product.rhs_bytes <= config.weight_half_bytes
    blocking = Blocking(
        product.count * blocks * column_tiles,
        1,
        product.lhs_bytes * (1 if k_resident else column_tiles),
        product.rhs_bytes * (1 if weights_resident else blocks),
    )
    sums = product.count * ws_partial_sum_bytes(rows, product.columns.size, reduction, config)
    return _schedule("WS", product, interleave, config, blocking, product.count * compute, sums)


def _schedule(
    dataflow: str,
    product: Product,
    interleave: Interleave,
    config: AcceleratorConfig,
    blocking: Blocking,
    compute_cycles: int,
    partial_sum_bytes: int,
) -> Schedule:
    moved = blocking.lhs_bytes + blocking.rhs_bytes + product.output_bytes + product.extra_bytes
    dram_bytes = product.count * moved
    return Schedule(
        dataflow,
        interleave,
        blocking.matmuls,
        compute_cycles,
        transfer_cycles(dram_bytes, config),
        dram_bytes,
        partial_sum_bytes,
    )


DATAFLOWS: dict[str, Callable[[Product, Interleave, AcceleratorConfig], tuple[Schedule, ...]]] = {
    "OS": os_schedules,
    "WS": ws_schedules,
}
