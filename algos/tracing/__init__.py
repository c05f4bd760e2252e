"""Turn a PyTorch model into the dense Workload of one training step, without computing anything.

A copy of the model runs forward and backward on the meta device in train mode. Operators are
classified by what their operands' storages hold, and a backward product is paired with its forward
product by autograd node, never by order. Attention runs in its math form; causal counts as full.

Not counted: views, allocations, constants (work that reads neither sample nor parameter), biases
added inside a product, the optimizer, and recomputation by activation checkpointing, which
`Workload.provenance["recomputed"]` lists.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosparse.spec import Workload
from cosparse.spec.errors import ShapeError, UnsupportedError

from ..stock import restore_dense
from .lineage import Lineage
from .meta import Sample, call_arguments, meta_copy, tensors_in
from .recorder import Recorder
from .scopes import Scopes
from .trace import Trace

__all__ = ["capture"]


def capture(
    model: nn.Module, sample: Sample, *, loss: Callable[[Any], Tensor] | None = None
) -> Workload:
    """Return forward and backward of `model` on `sample` as a dense Workload.

    `sample` is a tensor, a tuple of positional tensors or a dict of keyword arguments; only shapes
    and dtypes matter. `loss(output)` is recorded as FF work; without it the gradient of the output
    (its `logits`, else its first floating tensor) starts the backward pass, at no cost.
    `provenance["layers"]` maps a GEMM with a weight to its module and parameter. The model, its
    gradients and the random state stay as they are; weights take no memory.

    Raises UnsupportedError for an operator that it cannot count (named with its module), for
    control flow that depends on values, for a sample that does not fit, and for a model that cannot
    be copied. A sparsified model is captured as its dense self; `lower` adds the patterns.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=()):
        try:
            copy = meta_copy(model).train()
            restore_dense(copy)
            return _trace(copy, sample, loss)
        except RuntimeError as error:
            raise UnsupportedError(
                f"capture of {type(model).__name__}: the model does not run on the meta device: "
                f"{error}"
            ) from error


def _trace(model: nn.Module, sample: Sample, loss: Callable[[Any], Tensor] | None) -> Workload:
    """Run a model that is on meta, and may be changed, forward and backward."""
    args, kwargs = call_arguments(sample)
    scopes = Scopes(model)
    lineage = Lineage(model, (args, kwargs))
    trace = Trace(lineage)
    recorder = Recorder(trace, lineage, scopes)
    with sdpa_kernel(SDPBackend.MATH), recorder:
        output = model(*args, **kwargs)
        if loss is not None:
            with scopes.inside("loss"):
                output = loss(output)
        recorder.run_backward(_first_floating(output))
    return trace.workload(model=type(model).__name__)


def _first_floating(output: Any) -> Tensor:
    """The tensor that the backward pass starts from. Raises ShapeError if there is none."""
    logits = getattr(output, "logits", None)
    for tensor in tensors_in(output if logits is None else logits):
        if tensor.is_floating_point():
            return tensor
    raise ShapeError(
        "output of the model: expected a floating tensor, or a tuple, dict or dataclass dict that "
        f"holds one, got {type(output).__name__}"
    )
