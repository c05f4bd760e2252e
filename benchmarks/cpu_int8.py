"""INT8 x INT8 over the best dense FP32 time, one thread: `python benchmarks/cpu_int8.py [--repeats N]`.

CPU time of `kernels.matmul_int8`, from float32 (tokens, in) to float32 (tokens, out), quantisation of the
activations included, over the fastest of `torch mm`, `torch linear` and NumPy in the same process. Calls
take turns; medians. Beside it, and no baseline: the same weight with float32 activations, and PyTorch's
dense products in BF16 and INT8 (dynamic quantisation). Set OPENBLAS_NUM_THREADS=1.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import kernels
from cosparse.spec import pack, parse_pattern

sys.path.insert(0, str(Path(__file__).parent))
from cpu_kernels import seconds

SHAPES = ((3072, 768, 128), (4096, 4096, 128), (3072, 768, 16))
PATTERNS = ("block 4x1 @ 0.3", "block 4x1 @ 0.2", "block 4x1 @ 0.1", "block 16x16 @ 0.2", "4:2:8")
DENSE = ("torch mm", "torch linear", "NumPy")

Call = Callable[[], object]


def dense_calls(weight: np.ndarray, x: np.ndarray) -> dict[str, Call]:
    matrix, wide = torch.from_numpy(weight), torch.from_numpy(x)
    half, narrow = matrix.bfloat16(), wide.bfloat16()
    layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
    layer.weight.data = matrix
    int8 = torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, torch.qint8)
    linear = torch.nn.functional.linear
    return {
        "torch mm": lambda: torch.mm(wide, matrix.T),
        "torch linear": lambda: linear(wide, matrix),
        "NumPy": lambda: x @ weight.T,
        "torch linear, BF16": lambda: linear(narrow, half),
        "torch linear, dynamic INT8": lambda: int8(wide),
    }


def table(outputs: int, inputs: int, tokens: int, repeats: int) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, inputs)).astype(np.float32)
    x = random.standard_normal((tokens, inputs)).astype(np.float32)
    calls = dense_calls(weight, x)
    for pattern in PATTERNS:
        prepared = kernels.prepare(pack(weight, parse_pattern(pattern), axis=1, dtype="int8"))
        calls[f"{pattern}, INT8 x INT8"] = lambda w=prepared: kernels.matmul_int8(w, x)
        calls[f"{pattern}, INT8 x FP32"] = lambda w=prepared: kernels.matmul(w, x)
    with torch.no_grad():
        taken = seconds(calls, repeats)
    best = min(DENSE, key=taken.__getitem__)
    print(f"\n{outputs} x {inputs}, {tokens} tokens: {best} {taken[best] * 1e3:.2f} ms")
    for name in calls:
        print(f"    {name:34}{taken[name] / taken[best]:6.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for shape in SHAPES:
        table(*shape, repeats)


if __name__ == "__main__":
    main()
