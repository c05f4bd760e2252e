"""Cycles of one MATMUL on the array, output stationary (OS) and weight stationary (WS).

Pure integer formulas; docs/microarchitecture.md derives them. R, C: array rows and columns; Ic, Ir:
output columns and activation rows that a PE works on in turn; a: activations a row and cycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .config import AcceleratorConfig
from .constants import ACCUMULATOR_BYTES, MATMUL_START_CYCLES, PARTIAL_SUM_WRITE_CYCLES
from .rules import MAX_INTERLEAVED_ROWS


def ceil_div(a: int, b: int) -> int:
    """Quotient a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Interleave:
    """Outputs that one PE works on in turn: `columns` (Ic) times `rows` (Ir)."""

    columns: int
    rows: int

    @property
    def slots(self) -> int:
        return self.columns * self.rows

    def slot_cycles(self, add_latency: int) -> int:
        """S: cycles between two additions to the same accumulator."""
        return max(self.slots, add_latency)


def interleaves(config: AcceleratorConfig) -> tuple[Interleave, ...]:
    """Every legal interleave; a larger limit only adds to the set."""
    return tuple(
        Interleave(columns, rows)
        for rows in range(1, MAX_INTERLEAVED_ROWS + 1)
        for columns in range(1, config.interleave // rows + 1)
    )


@dataclass(frozen=True)
class Reduction:
    """The K axis as the array walks it: `segments` runs (taps, present blocks) of `channels` each.

    Groups of `m` channels never cross a segment. A packed group issues its `n` entries always, also
    where the edge cuts it; a dense one (`packed` False, n = m) issues only its valid entries.
    """

    segments: int
    channels: int
    n: int
    m: int
    packed: bool

    @property
    def groups(self) -> int:
        """Groups in all segments."""
        return self.segments * ceil_div(self.channels, self.m)

    def entries(self, channels: int) -> int:
        """Entries issued for a run of `channels` that starts at a group's boundary."""
        return ceil_div(channels, self.m) * self.n if self.packed else channels


def fill_cycles(channels: int, interleave: Interleave, config: AcceleratorConfig) -> int:
    """ceil(Ir * q / a): the feeder brings q channels of Ir activation rows to every array row."""
    return ceil_div(interleave.rows * channels, config.act_values_per_row_cycle)


def skew_cycles(config: AcceleratorConfig) -> int:
    """(R - 1) + (C - 1): the wavefront reaches the far corner of the array."""
    return config.rows - 1 + config.cols - 1


def first_fill_cycles(
    reduction: Reduction, interleave: Interleave, config: AcceleratorConfig
) -> int:
    """Fill of a MATMUL's first chunk, which nothing hides."""
    return fill_cycles(min(reduction.channels, config.group_max), interleave, config)


def os_tile_cycles(
    reduction: Reduction, interleave: Interleave, slots: int, config: AcceleratorConfig
) -> int:
    """U: cycles in which one output tile occupies the array.

    A segment is cut into chunks of `group_max` channels. A chunk lasts as long as its own entries
    (S cycles each) and the fill of the chunk that follows it, round to the next tile's first.
    slots: occupied slots of this tile, at most Ic * Ir; an edge tile has fewer.
    """
    full, tail = divmod(reduction.channels, config.group_max)
    lengths = [config.group_max] * min(full, 2) + [tail] * (tail > 0)
    slot_cycles = max(slots, config.add_latency)
    periods = [
        max(reduction.entries(length) * slot_cycles, fill_cycles(following, interleave, config))
        for length, following in zip(lengths, lengths[1:] + lengths[:1], strict=True)
    ]
    hidden_repeats = max(full - 2, 0) * periods[0]
    return reduction.segments * (sum(periods) + hidden_repeats)


def os_drain_cycles(interleave: Interleave, config: AcceleratorConfig) -> int:
    """E = R * Ic * Ir: the shadow chain of a column shifts all its slots out, used or not."""
    return config.rows * interleave.slots


def os_latency_cycles(
    reduction: Reduction, interleave: Interleave, config: AcceleratorConfig
) -> int:
    """What a MATMUL costs beside its tiles and its last drain."""
    return (
        MATMUL_START_CYCLES
        + first_fill_cycles(reduction, interleave, config)
        + skew_cycles(config)
        + config.mul_latency
        + config.add_latency
    )


def os_stream_cycles(runs: Sequence[tuple[int, int]], drain: int, matmuls: int = 1) -> int:
    """U_1 + sum over t >= 2 of max(U_t, E), + E for the last tile; E = `drain`.

    runs: (count, U) of equal tiles, the first one the first tile's. Over several MATMULs, each of
    which starts with such a tile, only those first tiles and last drains differ.
    """
    first_tile = runs[0][1]
    return sum(count * max(cycles, drain) for count, cycles in runs) + matmuls * min(
        first_tile, drain
    )


def os_matmul_cycles(
    runs: Sequence[tuple[int, int]],
    reduction: Reduction,
    interleave: Interleave,
    config: AcceleratorConfig,
    matmuls: int = 1,
) -> int:
    """T = c0 + fill + U_1 + sum max(U_t, E) + (R-1) + (C-1) + Lm + L + E, for each MATMUL."""
    stream = os_stream_cycles(runs, os_drain_cycles(interleave, config), matmuls)
    return matmuls * os_latency_cycles(reduction, interleave, config) + stream


def ws_folds(reduction: Reduction, config: AcceleratorConfig) -> int:
    """F: passes over K when every array row holds one group."""
    return ceil_div(reduction.groups, config.rows)


def ws_matmul_cycles(
    tokens: int, reduction: Reduction, interleave: Interleave, config: AcceleratorConfig
) -> int:
    """T = c0 + w + fill + (F-1) * max(V, w, D) + V + D + (C-1) + Lm, for one tile of columns.

    P = max(n * S, ceil(Ir * q / a)) for Ir tokens, V = ceil(tokens / Ir) * P for all of them;
    w = R * n * Ic loads a fold's weights; D = R * ((n - 1) * S + L + 1) + W is the time after which
    a partial sum may be read back. q, n: channels and entries of a fold's longest group.
    """
    channels = min(reduction.m, reduction.channels)
    entries = reduction.entries(channels)
    slot_cycles = interleave.slot_cycles(config.add_latency)
    fill = fill_cycles(channels, interleave, config)
    occupied = ceil_div(tokens, interleave.rows) * max(entries * slot_cycles, fill)
    weight_load = config.rows * entries * interleave.columns
    row_skew = (entries - 1) * slot_cycles + config.add_latency + 1
    read_back = config.rows * row_skew + PARTIAL_SUM_WRITE_CYCLES
    overlapped = (ws_folds(reduction, config) - 1) * max(occupied, weight_load, read_back)
    start = MATMUL_START_CYCLES + weight_load + fill
    return start + overlapped + occupied + read_back + config.cols - 1 + config.mul_latency


def ws_partial_sum_bytes(
    tokens: int, columns: int, reduction: Reduction, config: AcceleratorConfig
) -> int:
    """Accumulator traffic: every fold writes its partial sums, every fold but the first reads."""
    folds = ws_folds(reduction, config)
    return tokens * columns * ACCUMULATOR_BYTES * (2 * folds - 1)
