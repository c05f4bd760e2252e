"""The dense side of dispatch: what this process can multiply a whole weight with.

    linear          `kernels.cpu.dense`; NumPy; PyTorch's mm; PyTorch's linear, its weight plain, packed by
                    MKL, packed by oneDNN
    convolution     PyTorch's conv2d, its weight plain and packed by oneDNN, in both memory formats

A builder takes the float32 weight and returns a call, or None where a library is missing or was built
without it. A convolution's images may be channels-last in memory, going in and coming out. Every call
runs on `threads` threads and leaves the settings of its library as they were.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from cosparse.spec.dtypes import Array

from .geometry import Pair, pair

if TYPE_CHECKING:
    from torch import Tensor

Dense = Callable[[Array], Array]
FEW_TOKENS = 16
Settings = tuple[tuple[Callable[[], int], Callable[[int], Any]], ...]
"""(get, set) the number of threads, of every library."""


def linear_builders() -> dict[str, Callable[[Array, Array, int], Dense | None]]:
    """By name: (weight (out, in), an input (tokens, in), threads) -> y = x W^T."""
    return {
        "kernels.cpu": _own,
        "NumPy": partial(_numpy, transposed=False),
        "NumPy, transposed weight": partial(_numpy, transposed=True),
        "torch mm, transposed weight": _torch_mm,
        "torch linear": _torch_linear,
        "torch linear, packed by MKL": _mkl_packed,
        "torch linear, packed by oneDNN": _onednn_packed,
    }


def conv_builders() -> dict[str, Callable[..., Dense | None]]:
    """By name: (weight, images, threads, stride, padding, dilation, groups) -> conv2d."""
    return {
        "torch conv2d": partial(_conv2d, channels_last=False),
        "torch conv2d, channels-last": partial(_conv2d, channels_last=True),
        "torch conv2d, packed by oneDNN": partial(_packed_conv2d, channels_last=False),
        "torch conv2d, packed by oneDNN, channels-last": partial(
            _packed_conv2d, channels_last=True
        ),
    }


def _own(weight: Array, x: Array, threads: int) -> Dense | None:
    """None for so few tokens that packing the weight, which it does anew, is most of its work."""
    from .cpu.dense import dense_matmul
    from .cpu.isa import PORTABLE, current

    if current() is PORTABLE or len(x) <= FEW_TOKENS:
        return None
    right = weight.T
    return lambda x: dense_matmul(x, right, threads=threads)


def _numpy(weight: Array, _x: Array, threads: int, *, transposed: bool) -> Dense:
    """Little Python: a product of one token finds no cache filled, nor those of the interpreter."""
    right = np.ascontiguousarray(weight.T) if transposed else weight.T

    settings = _blas_threads()
    if len(settings) != 1:
        return partial(_with_threads, settings, threads, right)
    ((get, set_),) = settings

    def call(x: Array) -> Array:
        found = get()
        if found == threads:
            return x @ right  # type: ignore[no-any-return]
        try:
            set_(threads)
            return x @ right  # type: ignore[no-any-return]
        finally:
            set_(found)

    return call


def _with_threads(settings: Settings, threads: int, right: Array, x: Array) -> Array:
    """The product while every library has so many threads."""
    found = [get() for get, _ in settings]
    try:
        for _, set_ in settings:
            set_(threads)
        return x @ right
    finally:
        for (_, set_), count in zip(settings, found, strict=True):
            set_(count)


def _torch_linear(weight: Array, _x: Array, threads: int) -> Dense | None:
    torch = torch_module()
    if torch is None:
        return None
    stored = torch.from_numpy(weight)
    return _on_tensors(lambda x: torch.nn.functional.linear(x, stored), threads)


def _torch_mm(weight: Array, _x: Array, threads: int) -> Dense | None:
    torch = torch_module()
    if torch is None:
        return None
    stored = torch.from_numpy(np.ascontiguousarray(weight.T))
    return _on_tensors(lambda x: torch.mm(x, stored), threads)


def _mkl_packed(weight: Array, x: Array, threads: int) -> Dense | None:
    torch = torch_module()
    if torch is None or not torch.backends.mkl.is_available():
        return None
    stored, tokens = torch.from_numpy(weight), len(x)
    packed = torch.ops.mkl._mkl_reorder_linear_weight(stored, tokens)
    run = torch.ops.mkl._mkl_linear
    return _on_tensors(lambda x: run(x, packed, stored, None, tokens), threads)


def _onednn_packed(weight: Array, x: Array, threads: int) -> Dense | None:
    torch = torch_module()
    if torch is None or not torch.backends.mkldnn.is_available():
        return None
    stored, tokens = torch.from_numpy(weight), len(x)
    packed = torch.ops.mkldnn._reorder_linear_weight(stored, tokens)
    run = torch.ops.mkldnn._linear_pointwise
    return _on_tensors(lambda x: run(x, packed, None, "none", [], ""), threads)


def _conv2d(
    weight: Array, _x: Array, threads: int, stride: Pair, padding: Pair, dilation: Pair,
    groups: int, *, channels_last: bool,
) -> Dense | None:  # fmt: skip
    torch = torch_module()
    if torch is None:
        return None
    layout = torch.channels_last if channels_last else torch.contiguous_format
    stored = torch.from_numpy(weight).contiguous(memory_format=layout)
    run = torch.nn.functional.conv2d

    def call(x: "Tensor") -> "Tensor":
        x = x.contiguous(memory_format=layout)
        return run(x, stored, None, stride, padding, dilation, groups)  # type: ignore[no-any-return]

    return _on_tensors(call, threads)


def _packed_conv2d(
    weight: Array, x: Array, threads: int, stride: Pair, padding: Pair, dilation: Pair,
    groups: int, *, channels_last: bool,
) -> Dense | None:  # fmt: skip
    torch = torch_module()
    if torch is None or not torch.backends.mkldnn.is_available():
        return None
    layout = torch.channels_last if channels_last else torch.contiguous_format
    geometry = (pair(padding), pair(stride), pair(dilation), groups)
    stored = torch.from_numpy(weight).to_mkldnn()
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(stored, *geometry, tuple(x.shape))
    run = torch.ops.mkldnn._convolution_pointwise

    def call(x: "Tensor") -> "Tensor":
        x = x.contiguous(memory_format=layout)
        return run(x, packed, None, *geometry, "none", [], "")  # type: ignore[no-any-return]

    return _on_tensors(call, threads)


def _on_tensors(call: Callable[["Tensor"], "Tensor"], threads: int) -> Dense:
    """The call on arrays, which share memory with its tensors."""
    torch = torch_module()

    def run(x: Array) -> Array:
        found = torch.get_num_threads()
        if found != threads:
            torch.set_num_threads(threads)
        try:
            y: Array = call(torch.from_numpy(x)).numpy()  # nothing here requires a gradient
            return y
        finally:
            if found != threads:
                torch.set_num_threads(found)

    return run


@lru_cache
def torch_module() -> Any:
    """The module, or None where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


@lru_cache
def _numpy_blas() -> tuple[Any, ...]:
    """What sets the threads of NumPy's BLAS; nothing without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return ()
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    bundled = [library for library in found if "numpy" in str(library.filepath)]
    return tuple(bundled or found)


@lru_cache
def _blas_threads() -> Settings:
    """Of NumPy's BLAS: OpenBLAS's own functions, where they go by a usual name."""
    return tuple(
        _openblas_functions(str(library.filepath))
        or (library.get_num_threads, library.set_num_threads)
        for library in _numpy_blas()
    )


def _openblas_functions(path: str) -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    library = ctypes.CDLL(path)
    for prefix, suffix in product(("scipy_", ""), ("64_", "")):
        names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
        if all(hasattr(library, name) for name in names):
            get, set_ = (getattr(library, name) for name in names)
            get.restype, set_.restype, set_.argtypes = ctypes.c_int, None, [ctypes.c_int]
            return get, set_
    return None
