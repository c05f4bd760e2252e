"""Timing launches by CUDA-graph replay: no launch gaps of Python, medians, rotating operands."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

ROTATED_BYTES = 3 * (50 << 20)
"""Operands of successive launches add up to this much, several times the L2 cache of a GPU."""
MAX_COPIES = 64


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
    """Time `calls`, one after the other in one graph; each gets the same weight in the mean.

    calls: functions that only launch work on the current device, at least one; they run twice
    before the capture, so that everything is compiled.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            calls[0]()
        for call in calls[1:]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    torch.cuda.synchronize()
    samples: list[float] = []
    while len(samples) < 3 or (
        len(samples) < replays and len(calls) * sum(samples) < 1e3 * budget_ms
    ):
        samples.append(_replay_us(graph) / len(calls))
    return Timed(statistics.median(samples), min(samples), max(samples), len(samples))


def _replay_us(graph: torch.cuda.CUDAGraph) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    graph.replay()
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
