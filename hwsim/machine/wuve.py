"""UPDATE and VECTOR: one FP32 operation at a time, each rounded."""

from collections.abc import Callable, Mapping

import numpy as np

from cosparse.spec.dtypes import Array

from ..accesses import Access, Job, accesses
from ..isa import VectorOp
from .floats import round_to_half, scalar, single, single_bits
from .state import State


def update(state: State, job: Job) -> None:
    """SGD with momentum and weight decay, and the FP16 copy of the weight."""
    gradient, weight, momentum, *_, copy = accesses(job)
    registers = job.registers
    dw, w, v = (_read(state, item) for item in (gradient, weight, momentum))
    with np.errstate(all="ignore"):
        g = dw * scalar(registers["scale"]) + scalar(registers["decay"]) * w
        v = scalar(registers["momentum"]) * v + g
        w = w - scalar(registers["rate"]) * v
    state.pads.acc.write(weight.addresses, single_bits(w))
    state.pads.acc.write(momentum.addresses, single_bits(v))
    _write_half(state, copy, w)


def vector(state: State, job: Job) -> None:
    """Dst = op(a, b); rounded into ACT with to_act."""
    *operands, dst = accesses(job)
    values = [_read(state, item) for item in operands]
    with np.errstate(all="ignore"):
        result = _OPERATIONS[VectorOp(job.args["vector_op"])](values, job.registers)
    if job.registers["to_act"]:
        _write_half(state, dst, result)
    else:
        state.pads.acc.write(dst.addresses, single_bits(result))


def _read(state: State, operand: Access) -> Array:
    return single(state.pads.acc.read(operand.addresses))


def _write_half(state: State, access: Access, values: Array) -> None:
    bits, nonfinite = round_to_half(values)
    state.pads.act.write(access.addresses, bits)
    state.nonfinite |= nonfinite


def _relu(a: Array) -> Array:
    """A comparison with NaN is false, so NaN falls through to a."""
    return np.where(a <= 0, np.float32(0), a)


def _column_sum(a: Array) -> Array:
    """Rows in order, from +0."""
    total = np.zeros(a.shape[1], np.float32)
    for row in a:
        total = total + row
    return total[None]


_Operation = Callable[[list[Array], Mapping[str, int]], Array]
_OPERATIONS: dict[VectorOp, _Operation] = {
    VectorOp.COPY: lambda operands, _: operands[0],
    VectorOp.RELU: lambda operands, _: _relu(operands[0]),
    VectorOp.BIAS: lambda operands, _: operands[0] + operands[1],
    VectorOp.ADD: lambda operands, _: operands[0] + operands[1],
    VectorOp.MASK: lambda operands, _: np.where(operands[1] > 0, operands[0], np.float32(0)),
    VectorOp.SCALE: lambda operands, registers: operands[0] * scalar(registers["scale"]),
    VectorOp.COLSUM: lambda operands, _: _column_sum(operands[0]),
}
"""On float32 rows, (rows, words * C)."""
