"""One training step of a feed-forward block, sparse against the best dense: FF, BP, WU, prune and pack.

python benchmarks/training_step.py [--tokens 2048] [--sizes 768 3072] [--patterns 2:8 8:2:8] [--threads 1]
    --keep writes the figures to benchmarks/results/training-step-cpu.json, where one run stays

Two linear layers (sizes[0] -> sizes[1] -> sizes[0]) with a ReLU between them; gradients of both inputs and
both weights. Sparse: FF and BP by packed copies made anew in each step (BDWP), WU by the own dense product.
Dense: six products, each phase by the faster of PyTorch and NumPy (OPENBLAS_NUM_THREADS=1). The own one takes
part for comparison and is no baseline. All take turns; medians of the calling thread's CPU time, or of wall
time for more threads.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from cosparse.flow.provenance import provenance
from cosparse.spec import Pattern, parse_pattern
from kernels.cpu import dense_matmul, matmul, step_copies, weight_gradient

RESULT = Path(__file__).parent / "results" / "training-step-cpu.json"
Parts = dict[str, float]
"""Seconds of each part of a step."""


@dataclass(frozen=True)
class Block:
    """Weights (out, in), activations and the output gradient of the block."""

    first: np.ndarray
    second: np.ndarray
    x: np.ndarray
    error: np.ndarray
    threads: int


def block(sizes: tuple[int, int], tokens: int, threads: int) -> Block:
    rng = np.random.default_rng(0)

    def drawn(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)).astype(np.float32)

    inner, outer = sizes[1], sizes[0]
    return Block(
        drawn(inner, outer) * 0.02, drawn(outer, inner) * 0.02,
        drawn(tokens, outer), drawn(tokens, outer), threads,
    )  # fmt: skip


class Clock:
    """Seconds of the parts of one step, one after the other."""

    def __init__(self, threads: int) -> None:
        self._now = time.thread_time if threads == 1 else time.perf_counter
        self._last = self._now()
        self.parts: Parts = {}

    def told(self, part: str) -> None:
        now = self._now()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


def dense_step(
    data: Block, product: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[list[np.ndarray], Parts]:
    clock = Clock(data.threads)
    hidden = np.maximum(product(data.x, data.first.T), 0)
    product(hidden, data.second.T)
    clock.told("FF")
    inner = product(data.error, data.second) * (hidden > 0)
    dx = product(inner, data.first)
    clock.told("BP")
    gradients = [product(inner.T, data.x), product(data.error.T, hidden)]
    clock.told("WU")
    return [dx, *gradients], clock.parts


def sparse_step(data: Block, pattern: Pattern) -> tuple[list[np.ndarray], Parts]:
    clock = Clock(data.threads)
    first, second = (step_copies(weight, pattern) for weight in (data.first, data.second))
    clock.told("prune and pack")
    hidden = np.maximum(matmul(first[0], data.x, threads=data.threads), 0)
    matmul(second[0], hidden, threads=data.threads)
    clock.told("FF")
    inner = matmul(second[1], data.error, threads=data.threads) * (hidden > 0)
    dx = matmul(first[1], inner, threads=data.threads)
    clock.told("BP")
    gradients = [
        weight_gradient(inner, data.x, threads=data.threads),
        weight_gradient(data.error, hidden, threads=data.threads),
    ]
    clock.told("WU")
    return [dx, *gradients], clock.parts


def by_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b


def by_torch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return torch.mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()


def by_own(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return dense_matmul(a, b)


def interleaved(runs: dict[str, Callable[[], Parts]], repeats: int) -> dict[str, Parts]:
    """Medians of each part of each run."""
    found: dict[str, list[Parts]] = {name: [] for name in runs}
    for _ in range(repeats + 1):  # the first one warms up
        for name, run in runs.items():
            found[name].append(run())
    return {
        name: {part: statistics.median(one[part] for one in parts[1:]) for part in parts[0]}
        for name, parts in found.items()
    }


def best_dense(medians: dict[str, Parts]) -> Parts:
    """Each phase by whichever library is faster."""
    rows = [medians["numpy"], medians["torch"]]
    return {part: min(row[part] for row in rows) for part in rows[0]}


def lines(medians: dict[str, Parts], patterns: list[str]) -> Iterator[str]:
    dense = best_dense(medians)
    whole = sum(dense.values())
    yield f"best dense step {1e3 * whole:.1f} ms: " + told(dense)
    for pattern in ["own dense", *patterns]:
        parts = medians[pattern]
        total = sum(parts.values())
        share = parts.get("prune and pack", 0.0) / total
        yield (
            f"{pattern:16} {1e3 * total:.1f} ms, {total / whole:.3f} of dense, prune and pack {share:.1%}: "
            + told(parts)
        )


def told(parts: Parts) -> str:
    return ", ".join(f"{part} {1e3 * seconds:.1f}" for part, seconds in parts.items())


def kept(medians: dict[str, Parts], given: argparse.Namespace) -> dict[str, Any]:
    """The document of RESULT: seconds of all parts, ratios to the best dense step."""
    dense = best_dense(medians)
    whole = sum(dense.values())
    chosen = {name: value for name, value in vars(given).items() if name != "keep"}
    return {
        "kind": "measured",
        **provenance(),
        **chosen,
        "best_dense_s": dense,
        "medians_s": medians,
        "ratio": {name: sum(parts.values()) / whole for name, parts in medians.items()},
        "prune_and_pack_share": {
            name: medians[name]["prune and pack"] / sum(medians[name].values())
            for name in given.patterns
        },
    }


def _sparse_parts(data: Block, pattern: Pattern) -> Parts:
    return sparse_step(data, pattern)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--sizes", type=int, nargs=2, default=(768, 3072))
    parser.add_argument("--patterns", nargs="+", default=["2:8", "8:2:8"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    data = block(tuple(given.sizes), given.tokens, given.threads)
    torch.set_num_threads(given.threads)
    runs: dict[str, Callable[[], Parts]] = {
        "numpy": lambda: dense_step(data, by_numpy)[1],
        "torch": lambda: dense_step(data, by_torch)[1],
        "own dense": lambda: dense_step(data, by_own)[1],
    }
    for name in given.patterns:
        runs[name] = partial(_sparse_parts, data, parse_pattern(name))
    with threadpool_limits(given.threads):
        medians = interleaved(runs, given.repeats)
    print(*lines(medians, given.patterns), sep="\n")
    if given.keep:
        text = json.dumps(kept(medians, given), indent=1)
        RESULT.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
