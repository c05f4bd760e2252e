"""Without a GPU, kernels run in Triton's interpreter, repaired here and only here.

1. With NumPy 2.4 or newer, int() of an array of one element is an error, so that `range` over a
   tensor fails (Triton issue 9171, fixed in 3.7).
2. `tl.dot` of bfloat16 multiplies the bit patterns as integers (Triton issue 11584): both operands
   are widened to float32 first. Kernels do all other bfloat16 arithmetic in float32 themselves.
3. float32 to bfloat16 truncates; GPUs round to nearest even.
"""

import os

import numpy as np
import pytest
import torch

from cosparse.spec.dtypes import encode

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel's module is imported


@pytest.fixture(scope="session")
def device():
    return "cuda" if HAS_GPU else "cpu"


def _repair_interpreter():
    import triton.language as tl
    import triton.runtime.interpreter as interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patched(tensor, *scope):
        result = patch_tensor(tensor, *scope)

        def index(self):
            return int(np.asarray(self.handle.data).reshape(-1)[0])

        if scope and hasattr(scope[0], "set_attr"):
            scope[0].set_attr(tensor, "__index__", index)
        else:
            tensor.__index__ = index
        return result

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        wide = (handle.data.astype(np.uint32) << 16).view(np.float32)
        return interpreter.TensorHandle(wide, tl.float32)

    convert = interpreter._convert_float

    def rounded(data, source, target, mode):
        if source == tl.float32 and target == tl.bfloat16:
            return encode(data.view(np.float32), "bfloat16")
        return convert(data, source, target, mode)

    interpreter._convert_float = rounded
    builder = interpreter.InterpreterBuilder
    dot = builder.create_dot
    interpreter._patch_lang_tensor = patched
    builder.create_dot = lambda self, a, b, d, *rest: dot(self, widened(a), widened(b), d, *rest)


if not HAS_GPU:
    pytest.importorskip("triton", reason="the gpu extra is not installed")
    _repair_interpreter()
