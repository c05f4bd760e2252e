"""What a bench inside the simulator calls: its arguments, and the memory that it shares with the design."""

import ctypes
import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

ARGUMENTS = "COSPARSE_BENCH_ARGUMENTS"


def arguments() -> dict[str, Any]:
    """The arguments that `run` was given."""
    given: dict[str, Any] = json.loads(os.environ.get(ARGUMENTS, "{}"))
    return given


def shared_memory(number: int, size: int) -> npt.NDArray[np.uint8]:
    """Bytes of memory `number` (0 to 15), the same ones that the design reads and writes.

    The first call fixes the size and clears the memory; the array is a view, nothing is copied.
    """
    program = ctypes.CDLL(None)
    program.dpi_mem_open.restype = ctypes.c_void_p
    program.dpi_mem_open.argtypes = [ctypes.c_int, ctypes.c_uint64]
    address = program.dpi_mem_open(number, size)
    if not address:
        raise MemoryError(f"shared memory {number} of {size} bytes (numbers are 0 to 15)")
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
