"""Collect the operations of one training step, pairing each gradient with its forward product."""

from collections import defaultdict
from typing import NoReturn

from torch import Tensor

from cosparse.spec import Gemm, Phase, TensorInfo, Vector, Workload
from cosparse.spec.errors import UnsupportedError
from cosparse.spec.names import Names
from cosparse.spec.products import Side, tensor_infos

from .classify import MATRIX_PRODUCTS, OpClass, kind_of, op_class
from .event import Event, Pass
from .gemms import Product, convolution, gradient, matrix_product
from .lineage import Lineage
from .names import parameter_owner, weight_module
from .vectors import bias_gradient, streaming


class Trace:
    """The growing workload. Backward products are found by autograd node and operand storage."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._names = Names()
        self._ops: list[Gemm | Vector] = []
        self._products: list[Product] = []
        self._products_of_node: dict[int, list[Product]] = defaultdict(list)
        self._tensors: dict[str, TensorInfo] = {}
        self._layers: dict[str, dict[str, str]] = {}
        self._recomputed: list[Gemm] = []
        self._recomputed_vectors = 0
        self._handlers = {
            OpClass.PRODUCT: self._matrix_product,
            OpClass.CONVOLUTION: self._convolution,
            OpClass.CONVOLUTION_BACKWARD: self._convolution_backward,
            OpClass.STREAMING: self._streaming,
            OpClass.ALLOCATION: lambda _event: None,
            OpClass.UNKNOWN: _refuse,
        }

    def add(self, event: Event) -> None:
        """Count one operator. Raises UnsupportedError for one that is in no table."""
        self._handlers[op_class(event.base)](event)

    def workload(self, model: str) -> Workload:
        """The operations so far, with the layers and the recomputation in the provenance."""
        provenance = {
            "source": "capture",
            "model": model,
            "layers": self._layers,
            "recomputed": {
                "gemms": [gemm.name for gemm in self._recomputed],
                "macs": sum(gemm.macs for gemm in self._recomputed),
                "vectors": self._recomputed_vectors,
            },
        }
        return Workload(tuple(self._ops), tuple(self._tensors.values()), provenance)

    def _matrix_product(self, event: Event) -> None:
        if event.during is Pass.BACKWARD:
            self._gradient(*self._find_gradient(event))
            return
        left, right = (event.args[position] for position in MATRIX_PRODUCTS[event.base])
        if self._lineage.weight(right) is None and self._lineage.weight(left) is not None:
            # W X is computed as (X^T W^T)^T, so that the weight is the right operand.
            left, right = right.mT, left.mT
        weight = self._lineage.weight(right)
        name = self._product_name(event, weight)
        gemm = matrix_product(name, weight, left, right)
        self._forward(event, gemm, weight, left, right)

    def _convolution(self, event: Event) -> None:
        x, kernel = event.args[:2]
        _check_convolution(event, kernel, transposed=event.args[6])
        if event.during is Pass.BACKWARD:
            _refuse(event)
        weight = self._lineage.weight(kernel)
        if weight is None:
            raise UnsupportedError(
                f"capture of '{event.scope}': a convolution whose kernel is not made from "
                "parameters alone is not counted (supported: a parameter as kernel)"
            )
        gemm = convolution(self._product_name(event, weight), weight, event.args)
        self._forward(event, gemm, weight, x, kernel)

    def _forward(
        self, event: Event, gemm: Gemm, weight: str | None, lhs: Tensor, rhs: Tensor
    ) -> None:
        lhs_key, rhs_key = self._lineage.key(lhs), self._lineage.key(rhs)
        rhs_shape = tuple(rhs.shape) if weight is None else self._lineage.shape(weight)
        shapes = tuple(lhs.shape), rhs_shape, tuple(event.outputs[0].shape)
        tensors = tensor_infos(gemm.name, weight, *shapes)
        product = Product(gemm, tensors, weight, {lhs_key}, {rhs_key}, event.scope)
        if event.during is Pass.RECOMPUTATION:
            self._recompute(event, product)
            return
        self._products.append(product)
        self._products_of_node[event.node].append(product)
        self._ops.append(gemm)
        for tensor in tensors:
            self._tensors.setdefault(tensor.name, tensor)
        if weight is not None:
            self._layers[gemm.name] = {"module": self._module(event, weight), "parameter": weight}

    def _recompute(self, event: Event, again: Product) -> None:
        """Let the original stand for a recomputed product: its storages, and its new node."""
        twins = [p for p in self._products if p.signature == again.signature and len(p.done) < 2]
        self._recomputed.append(again.forward)
        for twin in twins:
            twin.lhs_keys |= again.lhs_keys
            twin.rhs_keys |= again.rhs_keys
        self._products_of_node[event.node] += reversed(twins)

    def _convolution_backward(self, event: Event) -> None:
        output_grad, _, kernel = event.args[:3]
        wants_input, wants_weight, wants_bias = event.args[10]
        _check_convolution(event, kernel, transposed=event.args[7])
        wanted = [side for side, on in ((Side.LHS, wants_input), (Side.RHS, wants_weight)) if on]
        for side in wanted:
            self._gradient(self._pending_convolution(event, side), side)
        if wants_bias:
            name = self._names.unique(Phase.BP, f"{event.scope}.sum")
            self._ops.append(bias_gradient(name, output_grad, kernel.shape[0]))

    def _gradient(self, product: Product, side: Side) -> None:
        product.done.add(side)
        self._ops.append(gradient(product, side))

    def _find_gradient(self, event: Event) -> tuple[Product, Side]:
        """Which product's gradient this is: one operand of it meets the output's gradient."""
        candidates = self._products_of_node[event.node]
        keys = {self._lineage.key(tensor) for tensor in event.inputs}
        weights = {name for tensor in event.inputs if (name := self._lineage.weight(tensor))}
        for product in candidates:
            if side := product.side_by_storage(keys, weights):
                return product, side
        for product in candidates:
            if side := product.side_by_shape(tuple(event.outputs[0].shape)):
                return product, side
        raise _unpaired(event)

    def _pending_convolution(self, event: Event, side: Side) -> Product:
        for product in self._products_of_node[event.node]:
            if product.forward.conv is not None and side not in product.done:
                return product
        raise _unpaired(event)

    def _streaming(self, event: Event) -> None:
        if event.during is Pass.RECOMPUTATION:
            self._recomputed_vectors += 1
            return
        phase = Phase.FF if event.during is Pass.FORWARD else Phase.BP
        kind = str(kind_of(event.base))
        name = self._names.unique(phase, f"{event.scope}.{kind}")
        self._ops.append(streaming(name, phase, event.base, kind, event.inputs, event.outputs))

    def _product_name(self, event: Event, weight: str | None) -> str:
        """Module path, or parameter path where another module owns the weight, or `<path>.bmm0`."""
        if weight is None:
            base = f"{event.scope}.bmm"
        else:
            own = weight_module(event.path, self._lineage.names(weight)) is not None
            base = event.scope if own else weight
        if event.during is Pass.RECOMPUTATION:
            return base
        take = self._names.numbered if weight is None else self._names.unique
        return take(Phase.FF, base)

    def _module(self, event: Event, weight: str) -> str:
        own = weight_module(event.path, self._lineage.names(weight))
        return parameter_owner(weight) if own is None else own


def _check_convolution(event: Event, kernel: Tensor, *, transposed: bool) -> None:
    if transposed or kernel.dim() > 4:
        what = "transposed" if transposed else f"{kernel.dim() - 2}-dimensional"
        raise UnsupportedError(
            f"capture of '{event.scope}': aten::{event.base} is {what} "
            "(supported: 1-d and 2-d convolutions)"
        )


def _unpaired(event: Event) -> UnsupportedError:
    return UnsupportedError(
        f"capture of '{event.scope}': aten::{event.base} in the backward pass belongs to no "
        "forward product that capture has seen"
    )


def _refuse(event: Event) -> NoReturn:
    name = event.base if "::" in event.base else f"aten::{event.base}"
    raise UnsupportedError(
        f"capture of '{event.scope}': operator {name} is not counted (supported: matrix products, "
        "1-d and 2-d convolutions, element-wise work, reductions, norms, softmax, pooling)"
    )
