"""Timing launches by CUDA-graph replay: no launch gaps of Python, medians, rotating operands."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

ROTATED_BYTES = 3 * (50 << 20)
"""Operands of successive launches add up to this much, several times the L2 cache of a GPU."""
MAX_COPIES = 64
MIN_LAUNCHES = 24
"""Launches of a graph, so that its start weighs little in each."""
LONGEST_GRAPH_US = 6000.0


@dataclass(frozen=True)
class Timed:
    """Microseconds of one launch: median, least and most of the replays."""

    us: float
    low_us: float
    high_us: float
    replays: int


def copies_for(size_bytes: int) -> int:
    """How many copies of an operand outlast the cache; at least 2, at most MAX_COPIES."""
    return max(2, min(MAX_COPIES, -(-ROTATED_BYTES // max(1, size_bytes))))


def time_launches(
    calls: Sequence[Callable[[], object]], *, replays: int = 15, budget_ms: float = 60.0
) -> Timed:
    """Time `calls`, which take turns in one graph of at least MIN_LAUNCHES where they are short.

    calls: functions that only launch work on the current device, at least one; all run before the
    capture, so that everything is compiled. At least three replays, then until the budget is spent.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        calls[0]()
        estimate_us = _timed_us(lambda: [call() for call in calls])
        rounds = min(-(-MIN_LAUNCHES // len(calls)), int(LONGEST_GRAPH_US / estimate_us))
        graph = _captured([*calls] * max(1, rounds))
        graph.replay()
        launches = len(calls) * max(1, rounds)
        samples: list[float] = []
        spent_ms = 0.0
        while len(samples) < 3 or (len(samples) < replays and spent_ms < budget_ms):
            replay_us = _timed_us(graph.replay)
            spent_ms += 1e-3 * replay_us
            samples.append(replay_us / launches)
    torch.cuda.current_stream().wait_stream(stream)
    return Timed(statistics.median(samples), min(samples), max(samples), len(samples))


def _captured(calls: Sequence[Callable[[], object]]) -> torch.cuda.CUDAGraph:
    """A graph of the calls, captured on the current stream, which is not the default one."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin()
    try:
        for call in calls:
            call()
    finally:
        graph.capture_end()
    return graph


def _timed_us(run: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(1e3 * begin.elapsed_time(end))


def copy_bandwidth_gb_s(size_bytes: int = 1 << 31) -> float:
    """Bytes read and written by a device-to-device copy, GB/s."""
    source = torch.randint(0, 255, (size_bytes,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2e-3 * size_bytes / time_launches([lambda: target.copy_(source)], replays=5).us


def matmul_tflop_s(side: int = 8192) -> float:
    """TFLOP/s of the vendor's dense bfloat16 product of random square matrices."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2e-6 * side**3 / time_launches([lambda: a @ b], replays=5).us
