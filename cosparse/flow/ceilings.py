"""What this machine's cores can do: multiply-accumulates from registers, and bytes read by working set.

Both are loops in LLVM assembly on the widest vector registers that the CPU kernels use. Rates are of
the shortest of several samples: CPU time of one thread, wall time of several at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dense_worker import clock_of

_FMA_ROUNDS = 200_000
_READ_BYTES = 64 << 20
"""Read a sample, in as many passes over the working set as it takes."""
_SAMPLES = 5
_MOST_BYTES = 1 << 30
_UNKNOWN_CACHE_BYTES = 32 << 20
BEYOND_CACHE = 1.25
"""Working sets meant to lie in no cache are so many times as large as the last-level cache."""


@dataclass(frozen=True)
class Ceilings:
    """gflop_s: of float32 multiply-accumulates, two operations each. read_gb_s: by MiB of working set."""

    isa: str
    threads: int
    gflop_s: float
    read_gb_s: dict[float, float]

    def read_rate(self, nbytes: float) -> float:
        """Bytes a second at the smallest measured working set that holds so many."""
        sizes = sorted(self.read_gb_s)
        fitting = [mib for mib in sizes if mib * 2**20 >= nbytes] or sizes[-1:]
        return 1e9 * self.read_gb_s[fitting[0]]

    def least_s(self, macs: float, nbytes: float, working_set: float) -> tuple[float, str]:
        """(bound of a product, what limits it: operations or bytes). nbytes: read and written once."""
        bounds = {
            "operations": 2 * macs / (1e9 * self.gflop_s),
            "bytes": nbytes / self.read_rate(working_set),
        }
        limit = max(bounds, key=bounds.__getitem__)
        return bounds[limit], limit


def last_level_cache_bytes() -> int:
    """As the operating system gives it; 32 MiB where it does not."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = [_bytes(path.read_text()) for path in folder.glob("index*/size")]
    return max(sizes, default=_UNKNOWN_CACHE_BYTES)


def _bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    text = text.strip()
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text or 0)


def beyond_cache_bytes() -> int:
    """Bytes to touch so that nothing of them is left in a cache; at most 1 GiB."""
    return min(_MOST_BYTES, int(BEYOND_CACHE * last_level_cache_bytes()))


def measure_ceilings(threads: int = 1, sizes: Sequence[int] = ()) -> Ceilings | None:
    """None where the processor has no vector unit that kernels in LLVM assembly use.

    sizes: working sets in bytes; by default one for each level of cache and one beyond.
    """
    from kernels.cpu import isa

    unit = isa.current()
    if unit is isa.PORTABLE:
        return None
    sizes = sizes or (32 << 10, 1 << 20, 8 << 20, 64 << 20, beyond_cache_bytes())
    flops = 2.0 * unit.lanes * unit.accumulators * _FMA_ROUNDS * threads
    return Ceilings(
        unit.name,
        threads,
        flops / _shortest(_fma_call(unit.lanes, unit.accumulators), threads) / 1e9,
        {size / 2**20: _read_gb_s(size, unit.lanes, threads) for size in sizes},
    )


def _fma_call(lanes: int, accumulators: int) -> Callable[[int], None]:
    from kernels.cpu.objects import load_kernel

    kernel = load_kernel(f"peak-{lanes}", _fma_assembly(lanes, accumulators), 2)
    sink = np.zeros(lanes * 64, np.float32)
    return lambda _part: kernel(_FMA_ROUNDS, _address(sink))


def _read_gb_s(size: int, lanes: int, threads: int) -> float:
    from kernels.cpu.objects import load_kernel

    step = 8 * 4 * lanes
    each = max(step, size // threads // step * step)
    data = np.ones(each * threads // 4 + lanes, np.float32)
    sink = np.zeros((threads, 64), np.float32)
    kernel = load_kernel(f"read-{lanes}", _read_assembly(lanes), 4)
    passes = max(1, _READ_BYTES // each)

    def call(part: int) -> None:
        kernel(_address(data) + part * each, each // step, passes, _address(sink[part]))

    return passes * each * threads / _shortest(call, threads) / 1e9


def _shortest(call: Callable[[int], None], threads: int) -> float:
    from kernels.cpu.workers import run_parts

    _, clock = clock_of(threads)
    samples = []
    for _ in range(_SAMPLES):
        start = clock()
        run_parts(call, range(threads))
        samples.append(clock() - start)
    return min(samples)


def _fma_assembly(lanes: int, accumulators: int) -> str:
    """`accumulators` chains of fused multiply-adds: kernel(rounds, sink)."""
    vector = f"<{lanes} x float>"
    chains = range(accumulators)
    lines = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
        "define void @kernel(i64 %rounds, i64 %sink) {",
        "entry:",
        "  %p = inttoptr i64 %sink to ptr",
        f"  %x = load {vector}, ptr %p, align 4",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *(f"  %a{c} = phi {vector} [ %x, %entry ], [ %b{c}, %loop ]" for c in chains),
        *(
            f"  %b{c} = call {vector} @llvm.fma.v{lanes}f32({vector} %x, {vector} %x, {vector} %a{c})"
            for c in chains
        ),
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %rounds",
        "  br i1 %more, label %loop, label %end",
        "end:",
        *_summed(vector, accumulators),
    ]
    return "\n".join(lines)


def _read_assembly(lanes: int) -> str:
    """Sums of eight vectors a step, again every pass: kernel(address, steps, passes, sink)."""
    vector = f"<{lanes} x float>"
    chains, nbytes = range(8), 4 * lanes
    lines = [
        "define void @kernel(i64 %address, i64 %steps, i64 %passes, i64 %sink) {",
        "entry:",
        "  br label %pass",
        "pass:",
        "  %j = phi i64 [ 0, %entry ], [ %again, %passed ]",
        *(
            f"  %o{c} = phi {vector} [ zeroinitializer, %entry ], [ %b{c}, %passed ]"
            for c in chains
        ),
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %pass ], [ %next, %loop ]",
        *(f"  %a{c} = phi {vector} [ %o{c}, %pass ], [ %b{c}, %loop ]" for c in chains),
        f"  %offset = mul i64 %i, {8 * nbytes}",
        "  %at = add i64 %address, %offset",
    ]
    for c in chains:
        lines += [
            f"  %s{c} = add i64 %at, {c * nbytes}",
            f"  %p{c} = inttoptr i64 %s{c} to ptr",
            f"  %l{c} = load {vector}, ptr %p{c}, align 4",
            f"  %b{c} = fadd {vector} %a{c}, %l{c}",
        ]
    lines += [
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %steps",
        "  br i1 %more, label %loop, label %passed",
        "passed:",
        "  %again = add i64 %j, 1",
        "  %left = icmp ult i64 %again, %passes",
        "  br i1 %left, label %pass, label %end",
        "end:",
        "  %p = inttoptr i64 %sink to ptr",
        *_summed(vector, 8),
    ]
    return "\n".join(lines)


def _summed(vector: str, chains: int) -> list[str]:
    """Store the sum of all %b, so that none is left out."""
    sums = ["  %t0 = fadd " + vector + " %b0, zeroinitializer"]
    sums += [f"  %t{c} = fadd {vector} %t{c - 1}, %b{c}" for c in range(1, chains)]
    return [*sums, f"  store {vector} %t{chains - 1}, ptr %p, align 4", "  ret void", "}"]


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])
