"""LLVM assembly to machine code, kept on disk so that a second process compiles nothing.

    $COSPARSE_KERNEL_CACHE, else $XDG_CACHE_HOME/cosparse/kernels, else ~/.cache/cosparse/kernels

A file `<name>-<hash>.o` is one object, headed by its own SHA-256. The hash in its name covers the
assembly, the processor with its features and the version of LLVM, so that nothing stale is ever found;
a file that was cut or changed fails its SHA-256 and is compiled again. Files appear by a rename, so
that processes may compile the same kernel at once. A directory that cannot be written costs the
next process its start, nothing else.
"""

import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

Kernel = Callable[..., None]
"""A compiled function of 64-bit integers. It releases the interpreter lock."""

_LOCK = threading.Lock()
_SERIAL = count()
_DIGEST_BYTES = 32


def cache_directory() -> Path:
    if chosen := os.environ.get("COSPARSE_KERNEL_CACHE"):
        return Path(chosen)
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(shared) / "cosparse" / "kernels"


def load_kernel(name: str, assembly: str, arguments: int) -> Kernel:
    """The function `kernel` of a module, from the cache or compiled now. name: for the file."""
    path = cache_directory() / f"{name}-{_key(assembly)}.o"
    image = _read(path)
    if image is None:
        image = compile_assembly(assembly)
        _write(path, image)
    return _link(image, arguments)


def compile_assembly(assembly: str) -> bytes:
    """An object file for this processor."""
    with _LOCK:
        _initialise()
        module = llvm.parse_assembly(assembly)
        module.verify()
        return bytes(_target_machine().emit_object(module))


def _key(assembly: str) -> str:
    parts = (assembly, *target_identity())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def target_identity() -> tuple[str, ...]:
    """What decides the machine code of an assembly: processor, features, LLVM."""
    return (*_processor(), llvmlite.__version__, str(llvm.llvm_version_info))


def _read(path: Path) -> bytes | None:
    """The object of a whole file, or None."""
    with suppress(OSError):
        data = path.read_bytes()
        digest, image = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(image).digest() == digest:
            return image
    return None


def _write(path: Path, image: bytes) -> None:
    with suppress(OSError):
        write_whole(path, hashlib.sha256(image).digest() + image)


def write_whole(path: Path, data: bytes) -> None:
    """A file of the cache, its folder made; it appears as a whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _link(image: bytes, arguments: int) -> Kernel:
    with _LOCK:
        _initialise()
        library = llvm.JITLibraryBuilder().add_object_img(image).export_symbol("kernel")
        tracker = library.link(_linker(), f"kernel{next(_SERIAL)}")
    function: Any = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(tracker["kernel"])
    function.owner = tracker  # the code lives as long as the tracker
    return function  # type: ignore[no-any-return]


@lru_cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


@lru_cache
def _processor() -> tuple[str, str]:
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _target_machine(*, jit: bool = False) -> Any:
    cpu, features = _processor()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=jit)


@lru_cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_target_machine(jit=True))
