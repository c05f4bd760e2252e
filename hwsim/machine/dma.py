"""LOAD, STORE and FILL."""

from collections.abc import Callable

import numpy as np

from cosparse.spec.dtypes import Array

from ..accesses import Job, Registers, accesses
from ..constants import DRAM_ALIGNMENT_BYTES
from ..isa import Space
from .floats import round_to_half, single, single_bits, widen
from .state import State


def load(state: State, job: Job) -> None:
    """Move DRAM bytes into rows of words; the rest of a row's last word becomes +0."""
    local = accesses(job)[1]
    blocks = _dram_blocks(job.args["dram"], job.registers)
    data = state.dram.reshape(-1, DRAM_ALIGNMENT_BYTES)[blocks].reshape(local.rows, -1)
    pad = state.pads.of(local.store)
    lanes = _TO_LANES[Space(job.args["space"])](data)
    row = np.zeros((local.rows, local.words * pad.bits.shape[1]), pad.bits.dtype)
    row[:, : lanes.shape[1]] = lanes
    pad.write(local.addresses, row)


def store(state: State, job: Job) -> None:
    """Move the first row_bytes of each row of words to DRAM."""
    local = accesses(job)[1]
    space = Space(job.args["space"])
    count = job.registers["row_bytes"] * 8 // _LANE_BITS[space]
    lanes = state.pads.of(local.store).read(local.addresses, slice(0, count))
    if space is Space.ACC16:
        lanes, nonfinite = round_to_half(single(lanes))
        state.nonfinite |= nonfinite
    data = _nibbles_to_bytes(lanes) if space is Space.IDX else np.ascontiguousarray(lanes)
    moved = data.view(np.uint8).reshape(-1, DRAM_ALIGNMENT_BYTES)
    blocks = _dram_blocks(job.args["dram"], job.registers)
    state.dram.reshape(-1, DRAM_ALIGNMENT_BYTES)[blocks] = moved


def fill(state: State, job: Job) -> None:
    """Write one value into every lane."""
    (local,) = accesses(job)
    pad = state.pads.of(local.store)
    lanes = np.full((1, local.words * pad.bits.shape[1]), job.args["value"], pad.bits.dtype)
    pad.write(local.addresses, lanes)


def _dram_blocks(address: int, registers: Registers) -> Array:
    """Aligned blocks of DRAM in the order in which a transfer moves them."""
    offsets = np.zeros((1, 1, 1), np.int64)
    for level, axes in ((0, (1, 1, -1)), (1, (1, -1, 1)), (2, (-1, 1, 1))):
        steps = np.arange(registers[f"count{level}"]) * registers[f"stride{level}"]
        offsets = offsets + steps.reshape(axes)
    starts = (address + offsets.reshape(-1, 1)) // DRAM_ALIGNMENT_BYTES
    run = np.arange(registers["run_bytes"] // DRAM_ALIGNMENT_BYTES)
    return (starts + run).reshape(-1)


def _bytes_to_nibbles(data: Array) -> Array:
    """Even lane low."""
    return np.stack([data & 15, data >> 4], axis=-1).reshape(len(data), -1)


def _nibbles_to_bytes(lanes: Array) -> Array:
    nibbles: Array = lanes[:, 0::2] | (lanes[:, 1::2] << 4)
    return nibbles


_LANE_BITS: dict[Space, int] = {
    Space.ACT: 16,
    Space.WGT: 16,
    Space.IDX: 4,
    Space.ACC: 32,
    Space.ACC16: 16,
}
"""DRAM bits of a lane."""

_TO_LANES: dict[Space, Callable[[Array], Array]] = {
    Space.ACT: lambda data: data.view(np.uint16),
    Space.WGT: lambda data: data.view(np.uint16),
    Space.IDX: _bytes_to_nibbles,
    Space.ACC: lambda data: data.view(np.uint32),
    Space.ACC16: lambda data: single_bits(widen(data.view(np.uint16))),
}
"""DRAM bytes, (rows, row_bytes), to the bits of lanes."""
