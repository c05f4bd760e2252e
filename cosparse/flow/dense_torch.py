"""PyTorch's dense contestants, as tables from a name to a call of one product.

A weight is prepared beforehand, as the sparse one is: transposed, flipped, in channels-last or packed
by MKL or oneDNN. Convolutions take and give whole images (in channels-last under that name) and
include im2col where they need one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..spec import ConvGeometry, Phase
from . import dense_worker
from .timing import Product

if TYPE_CHECKING:
    from torch import Tensor

Call = Callable[[], object]


def torch_calls(product: Product) -> dict[str, Call]:
    """Every contestant that can run the product, by name."""
    if product.conv is not None:
        return _conv_calls(product, product.conv)
    if product.phase == Phase.WU:
        return {"torch mm": _as_stored(product, transposed=False)}
    return {
        name: call
        for name, build in _TOKEN_CONTESTANTS.items()
        if (call := build(product)) is not None
    }


def _as_stored(product: Product, *, transposed: bool) -> Call:
    first, second = _operands(product, transposed)
    return partial(dense_worker.product, str(product.phase), first, second)


def _linear(product: Product) -> Call | None:
    import torch

    if product.conv_groups > 1:
        return None
    return partial(torch.nn.functional.linear, *_linear_operands(product))


def _mkl_packed(product: Product) -> Call | None:
    import torch

    if product.conv_groups > 1 or not torch.backends.mkl.is_available():
        return None
    x, weight = _linear_operands(product)
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, product.tokens)
    return partial(torch.ops.mkl._mkl_linear, x, packed, weight, None, product.tokens)


def _onednn_packed(product: Product) -> Call | None:
    import torch

    if product.conv_groups > 1 or not torch.backends.mkldnn.is_available():
        return None
    x, weight = _linear_operands(product)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, product.tokens)
    return partial(torch.ops.mkldnn._linear_pointwise, x, packed, None, "none", [], "")


_TOKEN_CONTESTANTS: dict[str, Callable[[Product], Call | None]] = {
    "torch mm": partial(_as_stored, transposed=False),
    "torch mm, transposed weight": partial(_as_stored, transposed=True),
    "torch linear": _linear,
    "torch linear, packed by MKL": _mkl_packed,
    "torch linear, packed by oneDNN": _onednn_packed,
}
"""FF and BP of a linear layer; None where the contestant has no groups or is not built in."""


def _operands(product: Product, transposed: bool) -> tuple["Tensor", "Tensor"]:
    import torch

    first, second = dense_worker.operands(str(product.phase), *product.sizes, transposed)
    return torch.from_numpy(first), torch.from_numpy(second)


def _linear_operands(product: Product) -> tuple["Tensor", "Tensor"]:
    """X and W of `x W^T`: BP is a linear layer with the transposed weight."""
    if product.phase == Phase.FF:
        return _operands(product, transposed=False)
    dy, weight = _operands(product, transposed=True)
    return dy, weight.t()


@dataclass(frozen=True)
class ConvTensors:
    """A convolution by PyTorch's names: what is gathered, the weight, and the geometry."""

    x: "Tensor"
    weight: "Tensor"
    dy: "Tensor"
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, product: Product, geometry: ConvGeometry, memory_format: Any) -> Self:
        import torch

        random = np.random.default_rng(0)

        def tensor(*shape: int) -> "Tensor":
            array = random.standard_normal(shape, np.float32)
            return torch.from_numpy(array).contiguous(memory_format=memory_format)

        groups, depth = product.conv_groups, product.inputs // geometry.taps
        outputs = product.outputs * groups
        return cls(
            x=tensor(geometry.batch, depth * groups, *geometry.in_hw),
            weight=tensor(outputs, depth, *geometry.kernel),
            dy=tensor(geometry.batch, outputs, *geometry.out_hw),
            stride=geometry.stride,
            padding=geometry.padding,
            dilation=geometry.dilation,
            groups=groups,
        )

    def flipped(self) -> Self | None:
        """The input gradient as a forward convolution, where one of stride 1 exists."""
        kernel = self.weight.shape[2:]
        padding = [
            d * (k - 1) - p for d, k, p in zip(self.dilation, kernel, self.padding, strict=True)
        ]
        if self.stride != (1, 1) or min(padding) < 0:
            return None
        split = self.weight.unflatten(0, (self.groups, -1)).transpose(1, 2)
        weight = split.flatten(0, 1).flip(2, 3).contiguous()
        pads = (padding[0], padding[1])
        return type(self)(self.dy, weight, self.x, (1, 1), pads, self.dilation, self.groups)


def _conv_calls(product: Product, geometry: ConvGeometry) -> dict[str, Call]:
    import torch

    calls: dict[str, Call] = {}
    layouts = {"": torch.contiguous_format, ", channels-last": torch.channels_last}
    for layout, memory_format in layouts.items():
        conv = ConvTensors.of(product, geometry, memory_format)
        for name, build in _CONV_CONTESTANTS[product.phase].items():
            call = build(conv)
            if call is not None:
                calls[name + layout] = call
    return calls


def _conv2d(conv: ConvTensors) -> Call:
    import torch

    return partial(
        torch.nn.functional.conv2d, conv.x, conv.weight, None,
        conv.stride, conv.padding, conv.dilation, conv.groups,
    )  # fmt: skip


def _packed_conv2d(conv: ConvTensors) -> Call | None:
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    packed = reorder(conv.weight.to_mkldnn(), *geometry, tuple(conv.x.shape))
    run = torch.ops.mkldnn._convolution_pointwise
    return partial(run, conv.x, packed, None, *geometry, "none", [], "")


def _unfold(conv: ConvTensors) -> Call | None:
    """W @ cols, with im2col by PyTorch."""
    import torch

    if conv.groups > 1 or not conv.x.is_contiguous():
        return None
    kernel = (conv.weight.shape[2], conv.weight.shape[3])
    weight = conv.weight.flatten(1)

    def run() -> "Tensor":
        columns = torch.nn.functional.unfold(
            conv.x, kernel, conv.dilation, conv.padding, conv.stride
        )
        return weight @ columns

    return run


def _fold(conv: ConvTensors) -> Call | None:
    """W^T @ dy, with col2im by PyTorch."""
    import torch

    if conv.groups > 1 or not conv.x.is_contiguous():
        return None
    kernel, in_hw = ((t.shape[2], t.shape[3]) for t in (conv.weight, conv.x))
    weight = conv.weight.flatten(1).t().contiguous()

    def run() -> "Tensor":
        columns = weight @ conv.dy.flatten(2)
        return torch.nn.functional.fold(
            columns, in_hw, kernel, conv.dilation, conv.padding, conv.stride
        )

    return run


def _backward(conv: ConvTensors, *, outputs: tuple[bool, bool, bool]) -> Call:
    """PyTorch's own gradient; outputs: which of those of input, weight and bias."""
    import torch

    return partial(
        torch.ops.aten.convolution_backward, conv.dy, conv.x, conv.weight, None,
        conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups, outputs,
    )  # fmt: skip


def _of_flipped(
    build: Callable[[ConvTensors], Call | None],
) -> Callable[[ConvTensors], Call | None]:
    def build_flipped(conv: ConvTensors) -> Call | None:
        flipped = conv.flipped()
        return None if flipped is None else build(flipped)

    return build_flipped


_CONV_CONTESTANTS: dict[Phase, dict[str, Callable[[ConvTensors], Call | None]]] = {
    Phase.FF: {
        "torch conv2d": _conv2d,
        "torch conv2d, packed by oneDNN": _packed_conv2d,
        "torch unfold and mm": _unfold,
    },
    Phase.BP: {
        "torch input gradient": partial(_backward, outputs=(True, False, False)),
        "torch conv2d, flipped weight": _of_flipped(_conv2d),
        "torch conv2d, flipped and packed": _of_flipped(_packed_conv2d),
        "torch mm and fold": _fold,
    },
    Phase.WU: {"torch weight gradient": partial(_backward, outputs=(False, True, False))},
}
"""Convolutions; None where the contestant cannot run one."""
