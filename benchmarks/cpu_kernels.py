"""Sparse over dense time of linear layers, one thread: `python benchmarks/cpu_kernels.py [--repeats N]`.

CPU time of `kernels.matmul`, from (tokens, in) to (tokens, out), over that of the fastest of `torch mm`,
`torch linear` and NumPy in the same process, calls interleaved, medians. Weights take turns in as many
copies as fill ROTATED_BYTES, so that none is found in a cache of its own size. NumPy's OpenBLAS takes
threads and processor type from the environment: set OPENBLAS_NUM_THREADS=1.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median

import numpy as np
import torch

import kernels
from cosparse.spec import pack, parse_pattern
from kernels.cpu import PreparedWeight

ROTATED_BYTES = {1: 256 << 20, 128: 0}
"""By tokens: with one token a weight is only read, and where it comes from decides."""
MANY = (
    "2:4", "2:8", "1:8", "1:16", "16:2:4", "16:2:8", "16:1:8", "16:1:16",
    "block 16x16 @ 0.3", "block 16x16 @ 0.2", "block 16x16 @ 0.1",
)  # fmt: skip
FEW = ("2:4", "2:8", "1:8", "1:16")

Call = Callable[[], object]


def dense_calls(weight: np.ndarray, x: np.ndarray, copies: int) -> dict[str, Call]:
    matrices = cycle([torch.from_numpy(weight.copy()) for _ in range(copies)])
    wide = torch.from_numpy(x)
    return {
        "torch mm": lambda: torch.mm(wide, next(matrices).T),
        "torch linear": lambda: torch.nn.functional.linear(wide, next(matrices)),
        "NumPy": lambda: x @ next(matrices).numpy().T,
    }


def sparse_call(prepared: PreparedWeight, x: np.ndarray, copies: int) -> Call:
    weights = [prepared]
    for _ in range(copies - 1):
        other = dataclasses.replace(prepared)
        other.__dict__["permuted"] = dataclasses.replace(
            prepared.permuted,
            values=prepared.permuted.values.copy(),
            words=prepared.permuted.words.copy(),
        )
        weights.append(other)
    turns = cycle(weights)
    return lambda: kernels.matmul(next(turns), x)


def seconds(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Median CPU seconds of every call, after one that is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            samples[name].append(time.thread_time() - start)
    return {name: median(taken[1:]) for name, taken in samples.items()}


def table(
    outputs: int, inputs: int, tokens: int, patterns: Sequence[str], dtype: str, repeats: int
) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, inputs)).astype(np.float32)
    x = random.standard_normal((tokens, inputs)).astype(np.float32)
    rotated = ROTATED_BYTES[tokens]
    dense = dense_calls(weight, x, max(1, rotated // weight.nbytes))
    sparse = {}
    for pattern in patterns:
        prepared = kernels.prepare(pack(weight, parse_pattern(pattern), axis=1, dtype=dtype))
        few = prepared.permuted if rotated else None
        copies = 1 if few is None else max(1, rotated // (few.values.nbytes + few.words.nbytes))
        sparse[pattern] = sparse_call(prepared, x, copies)
    taken = seconds(dense | sparse, repeats)
    best = min(dense, key=lambda name: taken[name])
    print(f"\n{outputs} x {inputs}, {tokens} tokens, {dtype}: {best} {taken[best] * 1e3:.2f} ms,",
          f"{2e-9 * outputs * inputs * tokens / taken[best]:.0f} GFLOP/s")  # fmt: skip
    for pattern in patterns:
        print(f"    {pattern:20}{taken[pattern] / taken[best]:6.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for outputs, inputs in ((3072, 768), (4096, 4096)):
        table(outputs, inputs, 128, MANY, "float32", repeats)
    for dtype in ("float32", "bfloat16", "int8"):
        table(4096, 4096, 1, FEW, dtype, repeats)


if __name__ == "__main__":
    main()
