"""The GPU kernels as they were measured on the devices whose results are kept; not this run's network."""

from typing import Any

from ...bench_gpu import SHOWN_LAYER, SHOWN_TOKENS, kept_results, speedups
from ..blocks import Block, Section, Table, Text


def gpu_section(_document: dict[str, Any]) -> Section | None:
    kept = kept_results()
    if not kept:
        return None
    blocks: list[Block] = [
        Text(
            "Kernels of this package on layers of known networks: the time of cuBLAS in BF16 over the "
            "kernel's, by tokens; above 1 the sparse kernel is faster. Not of this run, nor of this machine."
        )
    ]
    for found in kept:
        versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("torch", "triton"))
        where = f"{found['device']}, {found['date']}, {versions}"
        for op, words in (("forward", "forward"), ("step", "forward and both gradients")):
            rows = tuple((name, *values) for name, values in speedups(found, op))
            if rows:
                caption = f"{SHOWN_LAYER}, {words}: measured on {where}"
                columns = ("Weight", *(f"{tokens}" for tokens in SHOWN_TOKENS))
                blocks.append(Table(columns, rows, caption))
    return Section("GPU kernels (measured elsewhere)", tuple(blocks))
