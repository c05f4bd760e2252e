"""MATMUL: products in canonical order. Neither the dataflow nor the interleave changes a bit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import ProgramError

from ..accesses import Job, Store, accesses, ceil_div, matmul_rows, segment_entries
from ..isa import Lhs
from .floats import single, single_bits, widen
from .scratchpads import Scratchpad
from .state import State


@dataclass(frozen=True)
class Segment:
    """A run of K: one tap and `channels` channels from first_channel on."""

    ky: int
    kx: int
    first_channel: int = 0


def matmul(state: State, job: Job) -> None:
    """Multiply and write the result; idle columns of its last word become +0."""
    columns, rows = job.registers["columns"], matmul_rows(job.registers)
    result = next(item for item in accesses(job) if item.store is Store.ACC and item.writes)
    sums = np.zeros((columns, rows), np.float32)
    if job.args["accumulate"]:
        start = state.pads.acc.read(result.addresses, slice(0, columns))
        sums = np.ascontiguousarray(single(start).T)
    multiply = _multiply_rows if job.registers["lhs"] == Lhs.ROW else _multiply_columns
    multiply(state, job, sums)
    bits = np.zeros((rows, result.words * job.config.cols), np.uint32)
    bits[:, :columns] = single_bits(sums.T)
    state.pads.acc.write(result.addresses, bits)


def _multiply_rows(state: State, job: Job, sums: Array) -> None:
    """Lhs = ROW: lanes of the product are tokens."""
    values, positions = _right_operand(state, job)
    entries = segment_entries(job.registers)
    for number, segment in enumerate(_segments(state, job)):
        part = slice(number * entries, (number + 1) * entries)
        panel = np.ascontiguousarray(_pixels(state, job, segment).T)
        _add(_whole_groups(panel, job), positions[:, part], values[:, part], sums)


def _multiply_columns(state: State, job: Job, sums: Array) -> None:
    """Lhs = COLUMN: lanes of the product are the channels of one tap."""
    values, positions = _right_operand(state, job)
    channels = job.registers["channels"]
    for tap, segment in enumerate(_segments(state, job)):
        part = slice(tap * channels, (tap + 1) * channels)
        panel = np.ascontiguousarray(_pixels(state, job, segment))
        product = np.ascontiguousarray(sums[:, part])
        _add(panel, positions, values, product)
        sums[:, part] = product


def _add(panel: Array, positions: Array, values: Array, sums: Array) -> None:
    from .products import add_products  # Numba takes a second to import

    contiguous = np.ascontiguousarray
    add_products(panel, contiguous(positions), contiguous(values), sums)


def _whole_groups(panel: Array, job: Job) -> Array:
    """A panel with +0 rows up to a whole group."""
    missing = -len(panel) % job.registers["m"] if job.registers["packed"] else 0
    return np.pad(panel, ((0, missing), (0, 0))) if missing else panel


def _segments(state: State, job: Job) -> Iterator[Segment]:
    """Segments of K (lhs = COLUMN: taps of the rows) in order."""
    registers = job.registers
    if not registers["use_table"]:
        taps = np.ndindex(registers["taps_y"], registers["taps_x"])
        return (Segment(ky, kx) for ky, kx in taps)
    table = next(item for item in accesses(job) if item.name == "table")
    lanes = state.pads.wgt.read(table.addresses, slice(0, 2 * registers["segments"]))
    entries = np.ascontiguousarray(lanes).view(np.uint32).reshape(-1).tolist()
    return (Segment(entry >> 24, entry >> 16 & 0xFF, entry & 0xFFFF) for entry in entries)


def _right_operand(state: State, job: Job) -> tuple[Array, Array]:
    """Values as float32, and the position in its segment that each meets; (columns, entries)."""
    access = next(item for item in accesses(job) if item.name == "wgt")
    columns = slice(0, job.registers["columns"])
    values = widen(np.ascontiguousarray(state.pads.wgt.read(access.addresses, columns).T))
    per_segment = segment_entries(job.registers)
    entry = np.arange(access.rows) % per_segment
    if not job.registers["packed"]:
        return values, np.broadcast_to(entry, values.shape).astype(np.uint64)
    nibbles = state.pads.idx.read(access.addresses, columns).T
    n, m = job.registers["n"], job.registers["m"]
    if (nibbles >= m).any():
        raise ProgramError(
            f"position: expected at most {m - 1} in groups of {m}, got {nibbles.max()}"
        )
    return values, (entry // n * m + nibbles).astype(np.uint64)


def _pixels(state: State, job: Job, segment: Segment) -> Array:
    """What the tokens read of one segment, (tokens, channels) float32; +0 outside the image."""
    starts, inside = _walk(job, segment)
    act, lanes = state.pads.act, job.config.activation_lanes
    word, lane = divmod(segment.first_channel, lanes)
    channels = job.registers["channels"]
    words = ceil_div(lane + channels, lanes)
    if lane and words > 1:
        raise ProgramError(
            f"segment table: expected a first channel that is a multiple of {lanes}, "
            f"or a segment inside one word, got channel {segment.first_channel}"
        )
    addresses = starts[inside, None] + word + np.arange(words)
    _check_half(act, addresses, job.args["act"])
    pixels = np.zeros((len(starts), channels), np.float32)
    pixels[inside] = widen(act.read(addresses, slice(lane, lane + channels)))
    return pixels


def _walk(job: Job, segment: Segment) -> tuple[Array, Array]:
    """First word of each token's pixel, and which tokens fall inside the image."""
    regs = job.registers
    y = regs["origin_y"] + np.arange(regs["out_h"]) * regs["stride_y"] + segment.ky * regs["step_y"]
    x = regs["origin_x"] + np.arange(regs["out_w"]) * regs["stride_x"] + segment.kx * regs["step_x"]
    image = np.arange(regs["images"])[:, None, None] * regs["image_words"]
    starts = job.args["act"] + image + y[:, None] * regs["row_words"] + x * regs["pixel_words"]
    inside = ((y >= 0) & (y < regs["in_h"]))[:, None] & (x >= 0) & (x < regs["in_w"])
    return starts.reshape(-1), np.broadcast_to(inside, starts.shape).reshape(-1)


def _check_half(act: Scratchpad, addresses: Array, first: int) -> None:
    """A segment table may lead out of the operand's half."""
    half = len(act.bits) // 2
    end = (first // half + 1) * half
    if addresses.size and int(addresses.max()) >= end:
        raise ProgramError(
            f"segment table: expected words of ACT below {end}, the end of its half, "
            f"got {int(addresses.max())}"
        )
