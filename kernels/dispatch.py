"""One entry point for every backend. KERNELS says which backend runs which format."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cosparse.spec import PackedTensor, UnsupportedError
from cosparse.spec.dtypes import Array
from cosparse.spec.errors import unknown_name

from .geometry import Pair
from .quantise import Per

if TYPE_CHECKING:
    from .cpu import PreparedWeight

KERNELS: dict[tuple[str, str], str] = {
    ("cpu", "nm"): "kernels.cpu",
    ("cpu", "vnm"): "kernels.cpu",
    ("cpu", "block"): "kernels.cpu",
    ("cpu", "csr"): "kernels.cpu",
    ("cpu", "bitmap"): "kernels.cpu",
}
"""(backend, format) -> the module with its products, imported on first use."""


def matmul(
    weight: "PackedTensor | PreparedWeight", x: Array, *, backend: str = "cpu", threads: int = 1
) -> Array:
    """FF: y = x W^T with the FF copy (axis 1), BP: dx = dy W with the BP copy (axis 0), in float32.

    x: (tokens, in) for FF, (tokens, out) for BP; returns (tokens, out) or (tokens, in). A weight
    used more than once is prepared once. Raises ShapeError and UnsupportedError.
    """
    return module_of(backend, weight).matmul(weight, x, threads=threads)  # type: ignore[no-any-return]


def matmul_int8(
    weight: "PackedTensor | PreparedWeight",
    x: Array,
    *,
    per: Per = "token",
    backend: str = "cpu",
    threads: int = 1,
) -> Array:
    """`matmul` of an int8 weight with activations that are rounded to INT8 as `kernels.quantise` says.

    Sums are exact integers; float32 returns. per: "token" or "tensor", what has a scale of its own. The
    weight's rows share their columns in fours (blocks of 4x1, 16x16; V:N:M with V = 4, 8, ...). Raises
    ShapeError and UnsupportedError, DataError for activations that are not finite.
    """
    run = getattr(module_of(backend, weight), "matmul_int8", None)
    if run is None:
        raise UnsupportedError(f"backend '{backend}' has no INT8 products")
    return run(weight, x, per=per, threads=threads)  # type: ignore[no-any-return]


def prepare(packed: PackedTensor, *, backend: str = "cpu") -> "PreparedWeight":
    """Repack a weight once into the layout of the backend's kernels."""
    return module_of(backend, packed).prepare(packed)  # type: ignore[no-any-return]


def weight_gradient(dy: Array, x: Array, *, backend: str = "cpu") -> Array:
    """WU: dW = dy^T x, dense. dy: (tokens, out), x: (tokens, in); returns (out, in)."""
    return _backend(backend).weight_gradient(dy, x)  # type: ignore[no-any-return]


def conv2d(
    weight: "PackedTensor | PreparedWeight",
    x: Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    backend: str = "cpu",
    threads: int = 1,
) -> Array:
    """Forward convolution with the FF copy. x: (batch, in, h, w); returns (batch, out, h', w')."""
    run = module_of(backend, weight).conv2d
    return run(  # type: ignore[no-any-return]
        weight, x, stride=stride, padding=padding, dilation=dilation, threads=threads
    )


def conv2d_input_gradient(
    weight: "PackedTensor | PreparedWeight",
    dy: Array,
    in_hw: tuple[int, int],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    backend: str = "cpu",
    threads: int = 1,
) -> Array:
    """Gradient of the input of `conv2d`, with the BP copy.

    dy: (batch, out, h', w'); returns (batch, in, *in_hw).
    """
    run = module_of(backend, weight).conv2d_input_gradient
    return run(  # type: ignore[no-any-return]
        weight, dy, in_hw, stride=stride, padding=padding, dilation=dilation, threads=threads
    )


def conv2d_weight_gradient(
    dy: Array,
    x: Array,
    kernel: tuple[int, int],
    *,
    conv_groups: int = 1,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    backend: str = "cpu",
) -> Array:
    """Dense gradient of the weight of `conv2d`, (out, in / conv_groups, *kernel)."""
    run = _backend(backend).conv2d_weight_gradient
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    return run(dy, x, kernel, conv_groups=conv_groups, **geometry)  # type: ignore[no-any-return]


def module_of(backend: str, weight: "PackedTensor | PreparedWeight") -> Any:
    """The module for this backend and format. Raises UnsupportedError naming what exists."""
    name = weight.format_name
    if (backend, name) not in KERNELS:
        _backend(backend)
        valid = [known for owner, known in KERNELS if owner == backend]
        raise UnsupportedError(f"backend '{backend}': {unknown_name('weight format', name, valid)}")
    return import_module(KERNELS[backend, name])


def _backend(backend: str) -> Any:
    modules = {owner: module for (owner, _), module in KERNELS.items()}
    if backend not in modules:
        raise UnsupportedError(unknown_name("backend", backend, modules))
    return import_module(modules[backend])
