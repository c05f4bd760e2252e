"""Dense products in NumPy, timed in a process of their own.

OpenBLAS chooses its kernels once, when it is loaded, from the processor or from the environment
(OPENBLAS_CORETYPE). A fresh process is therefore the only way to time it under another environment.
Run as a script this file imports the standard library and NumPy only.

    stdin   one JSON list a line: [phase, tokens, outputs, inputs, conv_groups, transposed, copies];
            copies of the second operand are multiplied in turn, 1 where left out
    stdout  first one JSON object about the library, then one number a line: seconds of one product
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

_SAMPLE_S = 1e-3
_WARM_S = 5e-3
_MOST_CALLS = 200


def clock_of(threads: int) -> tuple[str, Callable[[], float]]:
    """CPU time of the calling thread for one thread; wall time for more, where it has no meaning."""
    if threads == 1:
        return "thread CPU time", time.thread_time
    return "wall time", time.perf_counter


def sample_s(call: Callable[[], object], threads: int) -> float:
    """Seconds of one call, averaged over as many as fill a millisecond.

    Short calls follow one that is not counted, which finds the caches as other contestants left them.
    """
    _, clock = clock_of(threads)
    start = clock()
    call()
    once = clock() - start
    if once > _WARM_S:
        return once
    calls = max(1, min(_MOST_CALLS, int(_SAMPLE_S / max(once, 1e-9))))
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls


def rotation_s(calls: Sequence[Callable[[], object]], threads: int) -> float:
    """Seconds of one call, averaged over a round of calls whose operands lie apart."""
    _, clock = clock_of(threads)
    start = clock()
    for call in calls:
        call()
    return (clock() - start) / len(calls)


def operands(
    phase: str, tokens: int, outputs: int, inputs: int, conv_groups: int, transposed: bool = False
) -> tuple[Any, Any]:
    """float32 operands of the phase; a leading axis holds convolution groups if there are several.

    FF: x (tokens, in), W (out, in). BP: dy (tokens, out), W (out, in). WU: dy (tokens, out), x (tokens, in).
    With `transposed` the memory of the second one holds its transpose.
    """
    shapes = {
        "FF": ((tokens, inputs), (outputs, inputs)),
        "BP": ((tokens, outputs), (outputs, inputs)),
        "WU": ((tokens, outputs), (tokens, inputs)),
    }[phase]
    lead = (conv_groups,) if conv_groups > 1 else ()
    random = np.random.default_rng(0)
    first, second = (random.standard_normal((*lead, *s), np.float32) for s in shapes)
    if transposed:
        second = np.ascontiguousarray(second.swapaxes(-1, -2)).swapaxes(-1, -2)
    return first, second


def product(phase: str, first: Any, second: Any) -> Any:
    """FF x W^T, BP dy W, WU dy^T x; NumPy arrays or PyTorch tensors."""
    if phase == "FF":
        return first @ second.swapaxes(-1, -2)
    return first @ second if phase == "BP" else first.swapaxes(-1, -2) @ second


def library() -> dict[str, str | None]:
    """Which BLAS NumPy loaded, and the processor type that it chose kernels for if that is known."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"blas": f"{blas['name']} {blas['version']}", "core_type": _core_type()}


def _core_type() -> str | None:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    cores = [pool.get("architecture") for pool in threadpool_info() if pool["user_api"] == "blas"]
    return cores[0] if cores else None


def serve(threads: int) -> None:
    """Answer requests until the input ends."""
    _answer(library())
    kept = lru_cache(maxsize=2)(_products)  # both layouts of the product at hand
    for line in sys.stdin:
        calls = kept(*json.loads(line))
        _answer(sample_s(calls[0], threads) if len(calls) == 1 else rotation_s(calls, threads))


def _products(
    phase: str,
    tokens: int,
    outputs: int,
    inputs: int,
    conv_groups: int,
    transposed: bool,
    copies: int = 1,
) -> list[Callable[[], object]]:
    first, second = operands(phase, tokens, outputs, inputs, conv_groups, transposed)
    seconds = [second, *(second.copy(order="K") for _ in range(copies - 1))]
    return [partial(product, phase, first, one) for one in seconds]


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
