"""What is known of the GPU kernels: measured here, measured elsewhere and kept, or bounded by a model."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import ceil, log2
from pathlib import Path
from typing import Any

from . import kept_results as kept

SHOWN_LAYER = "LLaMA-7B gate"
SHOWN_TOKENS = (1, 4, 16, 64, 512, 2048, 4096)
SHOWN = ("1:8", "2:16", "2:8", "2:4", "2:4 torch", "unstructured 80%", "vector 64 87.5%",
         "vector 128 87.5%", "block 32 87.5%", "block 64 87.5%", "block 128 87.5%")  # fmt: skip
"""Contestants of kernels.gpu.bench in the tables."""

BOUND_SIZES = (11008, 4096)
"""Outputs and inputs of SHOWN_LAYER."""
_VALUE_BITS = 16
_NM_INDEX_BITS = 4
_WORD_BITS = 32
"""Of an index of a block or of a vector."""


@dataclass(frozen=True)
class Bound:
    """Least time of one product by bytes and operations. kind is always modelled.

    limited_by: bytes or operations. speedup: the dense product's bound over this one.
    """

    contestant: str
    tokens: int
    us: float
    limited_by: str
    speedup: float
    kind: str = "modelled"


def has_gpu() -> bool:
    """Whether torch sees a CUDA device and Triton is installed."""
    from importlib.util import find_spec

    import torch

    return torch.cuda.is_available() and find_spec("triton") is not None


def measure(out: Path | None, *, quick: bool, limit_s: float) -> None:
    """Run kernels.gpu.bench, which prints row by row and keeps `out` up to date."""
    from kernels.gpu import bench

    arguments = ["--limit-s", str(limit_s), *(["--quick"] if quick else [])]
    bench.main(arguments + (["--out", str(out)] if out else []))


def kept_results() -> list[dict[str, Any]]:
    """What `kernels.gpu.bench` wrote into benchmarks/results."""
    return kept.kept_results("gpu", "rows", "kernels.gpu.bench")


def speedups(
    document: Mapping[str, Any], op: str = "forward"
) -> list[tuple[str, list[float | None]]]:
    """Contestant -> time of cuBLAS over its time, at SHOWN_TOKENS, for SHOWN_LAYER."""
    found = {
        (row["contestant"], row["tokens"]): row["speedup"]
        for row in document["rows"]
        if row["layer"] == SHOWN_LAYER and row["op"] == op
    }
    rows = [(name, [found.get((name, tokens)) for tokens in SHOWN_TOKENS]) for name in SHOWN]
    return [(name, values) for name, values in rows if any(value is not None for value in values)]


# --- bounds


def density_and_bits(contestant: str) -> tuple[float, float]:
    """(nonzeros an entry, stored bits an entry) of a weight in FP16 or BF16.

    N:M keeps values and an index of 4 bits each, as the packed image; a bitmap has one bit an entry; V
    rows share the index of a column, a block of B x B has one index.
    """
    kind, *rest = contestant.split()
    if ":" in kind:
        n, m = map(int, kind.split(":"))
        return n / m, n / m * (_VALUE_BITS + max(_NM_INDEX_BITS, ceil(log2(m))))
    if kind == "dense":
        return 1.0, _VALUE_BITS
    density = 1 - float(rest[-1].rstrip("%")) / 100
    if kind == "unstructured":
        return density, density * _VALUE_BITS + 1
    side = int(rest[0])
    index_bits = _WORD_BITS / (side if kind == "vector" else side**2)
    return density, density * (_VALUE_BITS + index_bits)


def bounds(
    bandwidth_gb_s: float,
    tflop_s: float,
    tokens: Iterable[int] = SHOWN_TOKENS,
    contestants: Iterable[str] = SHOWN,
) -> list[Bound]:
    """Bounds of a product of BOUND_SIZES at a bandwidth and a tensor-core rate."""
    ceilings = bandwidth_gb_s * 1e9, tflop_s * 1e12
    dense = {count: _least_us("dense", count, *ceilings)[0] for count in tokens}
    found = []
    for contestant in contestants:
        if contestant.endswith("torch"):
            continue
        for count, dense_us in dense.items():
            us, limit = _least_us(contestant, count, *ceilings)
            found.append(Bound(contestant, count, us, limit, dense_us / us))
    return found


def _least_us(contestant: str, tokens: int, bandwidth: float, rate: float) -> tuple[float, str]:
    """(least time, what it is limited by). bandwidth: bytes a second; rate: operations a second."""
    outputs, inputs = BOUND_SIZES
    density, bits = density_and_bits(contestant)
    moved = outputs * inputs * bits / 8 + 2 * tokens * (outputs + inputs)
    us = {
        "bytes": 1e6 * moved / bandwidth,
        "operations": 1e6 * 2 * density * outputs * inputs * tokens / rate,
    }
    limit = max(us, key=us.__getitem__)
    return us[limit], limit


def bounds_json() -> list[dict[str, Any]]:
    """Bounds at the ceilings of every device that was measured."""
    return [
        {"device": document["device"], **asdict(bound)}
        for document in kept_results()
        for bound in bounds(*_ceilings(document))
    ]


def _ceilings(document: Mapping[str, Any]) -> tuple[float, float]:
    found = document["ceilings"]
    return float(found["copy_gb_s"]), float(found["dense_bf16_tflop_s"])


# --- text


def text_without_gpu() -> str:
    """Tables of what was measured on other machines, and of what a model allows."""
    lines = ["no CUDA GPU on this machine: nothing is measured here"]
    for document in kept_results():
        versions = ", ".join(f"{name} {document['versions'][name]}" for name in ("torch", "triton"))
        outputs, inputs = BOUND_SIZES
        lines += [
            "",
            f"measured on {document['device']}, {document['date']} ({versions}; {document['command']})",
            f"time of cuBLAS BF16 over the kernel's, {SHOWN_LAYER} {outputs} x {inputs}, by tokens",
            *_table(speedups(document)),
            "",
            "modelled: no more than these by bytes and operations, at the ceilings measured there",
            *_table(_bound_rows(document)),
        ]
    return "\n".join(lines)


def _bound_rows(document: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    rows: dict[str, list[float | None]] = {}
    for bound in bounds(*_ceilings(document)):
        rows.setdefault(bound.contestant, []).append(bound.speedup)
    return list(rows.items())


def _table(rows: list[tuple[str, list[float | None]]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    heading = " " * width + "".join(f"{tokens:>8}" for tokens in SHOWN_TOKENS)
    return [
        heading,
        *(
            name.ljust(width)
            + "".join(f"{'–' if value is None else f'{value:.2f}x':>8}" for value in values)
            for name, values in rows
        ),
    ]
