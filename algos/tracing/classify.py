"""Tables of ATen operators: which are products, which stream, which cost nothing, which fail."""

from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor

MATRIX_PRODUCTS: dict[str, tuple[int, int]] = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
}
"""Positions of the two factors among the arguments."""

ALLOCATIONS = frozenset(
    f"{prefix}{fill}{suffix}"
    for prefix in ("", "new_")
    for fill in ("empty", "zeros", "ones", "full")
    for suffix in ("", "_like", "_strided")
)
"""Storage before its first result; the write is counted with the operator that fills it."""

GATHERS = frozenset({"embedding", "gather", "index", "index_select", "take", "_unsafe_index"})
"""Operators that read only the selected entries of their first argument."""

_KINDS: dict[str, tuple[str, ...]] = {
    "relu": ("threshold",),
    "softmax": ("_softmax", "_safe_softmax", "_softmax_backward_data"),
    "log_softmax": ("_log_softmax", "_log_softmax_backward_data"),
    "batch_norm": (
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "_native_batch_norm_legit_functional",
        "_batch_norm_with_update",
        "_batch_norm_no_update",
    ),
    "layer_norm": ("native_layer_norm",),
    "group_norm": ("native_group_norm",),
    "rms_norm": ("_fused_rms_norm",),
    "weight_norm": ("_weight_norm_interface",),
    "pool": (
        "max_pool2d_with_indices",
        "avg_pool2d",
        "_adaptive_avg_pool2d",
        "adaptive_max_pool2d",
    ),
    "upsample": ("upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d"),
    "pad": ("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d"),
    "embedding": ("embedding", "embedding_dense", "_embedding_bag", "_embedding_bag_dense"),
    "dropout": ("native_dropout", "bernoulli"),
    "random": ("rand_like", "randn_like", "randint_like", "normal", "uniform"),
    "activation": ("glu", "log_sigmoid_forward", "_prelu_kernel"),
    "loss": (
        "nll_loss",
        "nll_loss_forward",
        "nll_loss2d_forward",
        "nll_loss2d",
        "mse_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    ),
    "copy": ("clone", "copy", "_to_copy", "cat", "stack", "repeat", "roll", "flip", "lift"),
    "gather": ("gather", "index", "index_select", "take", "_unsafe_index", "unfold", "im2col"),
    "scatter": (
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "index_put",
        "_unsafe_index_put",
        "index_add",
        "index_copy",
        "index_fill",
        "select",
        "slice",
        "diagonal",
        "select_scatter",
        "slice_scatter",
        "masked_scatter",
        "col2im",
    ),
    "shuffle": ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    "fill": ("fill", "zero", "masked_fill"),
    "scan": ("cumsum", "cumprod"),
    "sort": ("sort", "topk"),
    "triangle": ("tril", "triu"),
}
"""Kind of the streaming operators that carry no tag; `x_backward` has the kind of `x`."""

_KIND_OF = {base: kind for kind, bases in _KINDS.items() for base in bases}
_STREAMING_TAGS = frozenset({torch.Tag.pointwise, torch.Tag.reduction})
_VALUE_TAGS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})


class OpClass(Enum):
    """What an operator is to an executor."""

    PRODUCT = auto()
    CONVOLUTION = auto()
    CONVOLUTION_BACKWARD = auto()
    STREAMING = auto()
    ALLOCATION = auto()
    UNKNOWN = auto()


_CLASSES: dict[str, OpClass] = {
    **dict.fromkeys(MATRIX_PRODUCTS, OpClass.PRODUCT),
    **dict.fromkeys(ALLOCATIONS, OpClass.ALLOCATION),
    "convolution": OpClass.CONVOLUTION,
    "convolution_backward": OpClass.CONVOLUTION_BACKWARD,
}


def base_name(func: Any) -> str:
    """`aten::add_.Tensor` -> add; an operator outside ATen keeps its namespace."""
    qualified: str = func._schema.name
    namespace, _, name = qualified.partition("::")
    return name.rstrip("_") if namespace == "aten" else qualified


def op_class(base: str) -> OpClass:
    """Class of an operator that is not a view."""
    if base in _CLASSES:
        return _CLASSES[base]
    return OpClass.UNKNOWN if kind_of(base) is None else OpClass.STREAMING


def kind_of(base: str) -> str | None:
    """Kind of a streaming operator, e.g. relu for `threshold_backward`; None if it is not one."""
    plain = base.removesuffix("_backward")
    for name in (base, plain):
        if name in _KIND_OF:
            return _KIND_OF[name]
    return plain if _is_tagged(plain) else None


def depends_on_values(func: Any, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the result's shape or a Python value depends on what a meta tensor holds."""
    if _VALUE_TAGS.isdisjoint(func.tags) or not any(tensor.is_meta for tensor in inputs):
        return False
    # Indexing is tagged for its masks; integer indices give the shape.
    return base_name(func) != "index" or any(t.dtype is torch.bool for t in inputs[1:])


def _is_tagged(base: str) -> bool:
    packet = getattr(torch.ops.aten, base, None)
    if packet is None:
        return False
    overloads = (getattr(packet, name) for name in packet.overloads())
    return any(not _STREAMING_TAGS.isdisjoint(overload.tags) for overload in overloads)
