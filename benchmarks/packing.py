"""Packing 4096 x 4096 FP32 to FP16 2:8, against the floor and a plain NumPy baseline.

Floor: bytes read and written once (64 MiB in, 10 MiB out) over the measured copy bandwidth.
Baseline: selection by a stable argsort of every group, values gathered by take_along_axis.
Run: python benchmarks/packing.py      CPU time, median of 5, contestants interleaved.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from cosparse.spec import NM, pack
from cosparse.spec.dtypes import Array

SIDE, N, M = 4096, 2, 8
REPEATS = 5


def argsort_baseline(weight: Array) -> tuple[Array, Array]:
    """The rule by sorting: values and indices of the FF copy, without the image's layout."""
    groups = weight.astype(np.float16).reshape(SIDE, SIDE // M, M)
    keys = groups.view(np.int16) & 0x7FFF
    order = np.sort(np.argsort(-keys, axis=-1, kind="stable")[..., :N], axis=-1)
    return np.take_along_axis(groups, order, axis=-1), order.astype(np.uint8)


def cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    contestants: dict[str, Callable[[], object]] = {
        "copy of the FP32 weight": weight.copy,
        "argsort baseline": lambda: argsort_baseline(weight),
        "pack, FF copy": lambda: pack(weight, NM(N, M), axis=1),
        "pack, BP copy": lambda: pack(weight, NM(N, M), axis=0),
    }
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(REPEATS):
        for name, call in contestants.items():
            samples[name].append(cpu_seconds(call))
    medians = {name: median(values) for name, values in samples.items()}
    bandwidth = 2 * weight.nbytes / medians["copy of the FP32 weight"]
    floor = (weight.nbytes + pack(weight, NM(N, M), axis=1).storage_bits / 8) / bandwidth
    for name, seconds in medians.items():
        baseline = medians["argsort baseline"] / seconds
        print(
            f"{name:24} {1e3 * seconds:8.1f} ms  {baseline:6.2f}x baseline  {seconds / floor:6.1f}x floor"
        )


if __name__ == "__main__":
    main()
