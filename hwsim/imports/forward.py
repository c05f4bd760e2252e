"""From the operations of a forward pass to a workload; its backward pass is derived, not read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cosparse.spec import Gemm, TensorInfo, Vector, Workload
from cosparse.spec.products import Side, gradient, tensor_infos

Shape = tuple[int, ...]

BYTES_PER_ELEMENT = 2
"""Streaming work moves FP16, as in a captured workload."""


@dataclass(frozen=True)
class Forward:
    """One operation of the forward pass, and what training adds for it in the backward pass."""

    op: Gemm | Vector
    backward: tuple[Gemm | Vector, ...] = ()
    tensors: tuple[TensorInfo, ...] = ()
    weight: str | None = None
    """Parameter on the right-hand side of a GEMM."""


def product(
    gemm: Gemm,
    weight: str | None,
    shapes: tuple[Shape, Shape, Shape],
    gradients: Iterable[Side],
    bias: tuple[Vector, ...] = (),
) -> Forward:
    """A GEMM with the gradients that training needs of it.

    shapes: of the left operand, the right operand (a weight as (out, in, ...)) and the output.
    """
    backward = tuple(gradient(gemm, side, weight) for side in gradients)
    tensors = tensor_infos(gemm.name, weight, *shapes)
    return Forward(gemm, (*backward, *bias), tensors, weight)


def to_workload(forwards: Iterable[Forward], *, source: str, file: str, training: bool) -> Workload:
    """FF in order; with `training` also the backward pass, in reverse order.

    The provenance names the file, the phases it gave and those derived, and each weight's layer.
    """
    steps = list(forwards)
    ops = [step.op for step in steps]
    if training:
        ops += [op for step in reversed(steps) for op in step.backward]
    tensors = {tensor.name: tensor for step in steps for tensor in step.tensors}
    provenance: dict[str, Any] = {
        "source": source,
        "file": file,
        "read": ["FF"],
        "derived": ["BP", "WU"] if training else [],
        "layers": {
            step.op.name: {"module": step.op.name, "parameter": step.weight}
            for step in steps
            if step.weight is not None
        },
    }
    return Workload(tuple(ops), tuple(tensors.values()), provenance)
