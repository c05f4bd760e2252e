"""PRUNE: the selection rule on a tile of the activation scratchpad."""

import numpy as np

from cosparse.spec.dtypes import Array, sign_cleared
from cosparse.spec.selection import keep_largest

from ..accesses import Job, accesses
from .floats import canonical_half
from .state import State


def prune(state: State, job: Job) -> None:
    """Keep the n largest of each group of m; values to WGT, positions to IDX."""
    source, result, _ = accesses(job)
    registers = job.registers
    values = state.pads.act.read(source.addresses, slice(0, registers["columns"]))
    along_k = values.T if registers["transpose"] else values
    groups = _grouped(canonical_half(along_k), registers["m"], result.words * job.config.cols)
    kept = keep_largest(sign_cleared(groups).swapaxes(0, 1), registers["n"]).swapaxes(0, 1)
    positions = np.argsort(~kept, axis=1, kind="stable")[:, : registers["n"]]
    entries = (result.rows, groups.shape[2])
    packed = np.take_along_axis(groups, positions, axis=1)
    state.pads.wgt.write(result.addresses, packed.reshape(entries))
    state.pads.idx.write(result.addresses, positions.reshape(entries))


def _grouped(values: Array, m: int, lanes: int) -> Array:
    """(K, lanes) to (groups, m, lanes), padded with +0."""
    missing = (-len(values) % m, lanes - values.shape[1])
    padded = np.pad(values, ((0, missing[0]), (0, missing[1])))
    return padded.reshape(-1, m, lanes)
