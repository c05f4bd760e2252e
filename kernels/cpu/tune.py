"""Measure every shape of tiles here, save the fastest of each class: `python -m kernels.cpu.tune`."""

import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from cosparse.spec import NM, VNM, Pattern, UnsupportedError, pack
from cosparse.spec.dtypes import Array

from .isa import PORTABLE, Isa, current
from .linear import multiply
from .prepared import PreparedWeight, prepare
from .tiled import TileShape, tile
from .tuned import SHARES, Table, candidates, key_of, save_table, table_path

SIZE, TOKENS, ROUNDS = 1024, 128, 11
"""Rows and columns of the weight, tokens, interleaved samples of every shape."""
GROUPS = ((2, 4), (2, 8), (1, 8), (1, 16))

Measure = Callable[[PreparedWeight, Sequence[TileShape], Array, Isa], list[float]]
"""(weight, shapes, x, unit) -> seconds of every shape."""


def measured_s(
    weight: PreparedWeight, shapes: Sequence[TileShape], x: Array, isa: Isa
) -> list[float]:
    """Median CPU seconds of every shape, samples interleaved."""
    tiled = [
        tile(shape, weight.tap_pointers, weight.columns, weight.values, weight.panel_rows)
        for shape in shapes
    ]
    for one in tiled:
        multiply(one, x, isa, 1)
    samples: list[list[float]] = [[] for _ in shapes]
    for _ in range(ROUNDS):
        for one, seconds in zip(tiled, samples, strict=True):
            start = time.thread_time()
            multiply(one, x, isa, 1)
            seconds.append(time.thread_time() - start)
    return [median(seconds) for seconds in samples]


def tune(isa: Isa, measure: Measure = measured_s, size: int = SIZE) -> Table:
    """The fastest shape of every class. Raises UnsupportedError where no vector unit is in use."""
    if isa is PORTABLE:
        raise UnsupportedError("tuning needs AVX2 or AVX-512; this machine runs portable loops")
    random = np.random.default_rng(0)
    dense = random.standard_normal((size, size)).astype(np.float32)
    x = random.standard_normal((TOKENS, size)).astype(np.float32)
    table = {}
    for share in SHARES:
        for n, m in GROUPS:
            pattern: Pattern = NM(n, m) if share == 1 else VNM(share, n, m)
            shapes = candidates(share, isa)
            seconds = measure(prepare(pack(dense, pattern, axis=1)), shapes, x, isa)
            table[key_of(share, n / m, isa)] = shapes[int(np.argmin(seconds))]
    return table


def main() -> None:
    table = tune(current())
    path = table_path()
    save_table(path, table)
    for key, shape in table.items():
        print(f"{key:32} {shape}")
    print(path)


if __name__ == "__main__":
    main()
