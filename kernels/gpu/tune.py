"""Measure launch configurations on the GPU at hand and keep the best of every case.

    python -m kernels.gpu.tune [--out FILE] [--only REGEX] [--limit-s SECONDS]

Without --out the result goes to kernels/gpu/tuned/<device>.json, where `config_for` reads it.
Candidates are compiled first, by as many processes as there are cores.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

from .configs import SCHEMA, TUNED, Config, GatherConfig, TileConfig, config_key, device_name
from .layouts import GpuWeight, weight_bytes
from .products import multiply, multiply_transposed, weight_gradient
from .samples import SAMPLES, copy_weight
from .timing import Timed, copies_for, time_launches

SHAPES = {"wide": (11008, 4096), "small": (4096, 4096)}
COMPILE_SHAPE = (256, 4096)
"""Small enough for every process, and specialised like SHAPES."""
COMPILE_PARTS = 4
GATHER_TOKENS = (1, 2, 4, 8, 16, 32)
SKINNY_TOKENS = (1, 16, 32, 64)
STAGES = (3, 5, 7)
"""Loads of activations depend on loaded columns, so two stages of the pipeline give one more buffer."""
MANY_TOKENS = (128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Case:
    """One product to tune; `sample` names its weight in SAMPLES."""

    sample: str
    op: str
    tokens: int
    size: str

    @property
    def label(self) -> str:
        return f"{self.sample} | {self.op} | {self.tokens} | {self.size}"


def cases() -> Iterator[Case]:
    for sample in ("1:8", "2:8", "2:16", "2:4", "unstructured 80%"):
        for tokens, size in product(GATHER_TOKENS, SHAPES):
            yield Case(sample, "forward", tokens, size)
    for sample in ("block 64 87.5%", "block 128 87.5%", "vector 64 87.5%", "vector 128 87.5%"):
        for tokens, size in product(SKINNY_TOKENS, SHAPES):
            yield Case(sample, "forward", tokens, size)
        for tokens in MANY_TOKENS:
            yield Case(sample, "forward", tokens, "wide")
    for sample, op in product(("block 64 87.5%", "block 128 87.5%"), ("transposed", "gradient")):
        for tokens in (512, 1024, 2048, 4096):
            yield Case(sample, op, tokens, "wide")


def candidates(sample: str, op: str, tokens: int) -> Iterator[Config]:
    """The configurations worth a try; those that do not fit the device fail and are left out."""
    if sample.startswith(("vector", "block")):
        yield from _tile_candidates(sample, op, tokens)
        return
    for words, unroll, warps in product((8, 16, 32, 64), (1, 2, 4), (4, 8)):
        few_registers = min(tokens, 16) * unroll <= 16
        if few_registers and words <= 32 * warps and words * unroll <= 128:
            yield GatherConfig(min(16, tokens), words, unroll, warps)


def _tile_candidates(sample: str, op: str, tokens: int) -> Iterator[Config]:
    blocks = sample.startswith("block")
    height = int(sample.split()[1])
    if op == "gradient":
        for block_tokens, warps, stages in product((32, 64, 128), (4, 8), (3, 4)):
            yield TileConfig(block_tokens, warps=warps, stages=stages)
    elif tokens <= 64:
        tile = max(16, tokens)
        layouts = (
            (False,) if blocks or tokens == 1 else ((False, True) if tokens <= 32 else (True,))
        )
        depths = (64,) if sample.startswith("block 64") else (64, 128)
        for block_k, splits, stages, k_major in product(depths, (1, 2, 4, 8), STAGES, layouts):
            yield TileConfig(tile, block_k, splits, 4, stages, k_major)
    else:
        tiles = [side for side in (64, 128, 256) if side <= tokens]
        orders = (False, True) if blocks else (False,)
        for tile, warps, stages, first in product(tiles, (4, 8), STAGES, orders):
            if tile * height <= 128 * 128 or warps == 8:
                yield TileConfig(tile, 64, 1, warps, stages, not blocks, first)


def launch(weight: GpuWeight, op: str, x: Tensor, dy: Tensor, config: Config) -> Tensor:
    """One product; dy is (tokens, rows), x is (tokens, columns)."""
    if op == "forward":
        return multiply(weight, x, config)
    if op == "transposed":
        return multiply_transposed(weight, dy, config)
    return weight_gradient(weight, dy, x, config)


def compile_part(sample: str, op: str, tokens: int, part: int) -> list[str]:
    """Compile every COMPILE_PARTS-th candidate in this process; returns what failed."""
    failed = []
    weight = SAMPLES[sample](COMPILE_SHAPE, "cuda", torch.bfloat16)
    x, dy = operands(weight, tokens)
    for config in islice(candidates(sample, op, tokens), part, None, COMPILE_PARTS):
        try:
            launch(weight, op, x, dy, config)
        except Exception as error:  # a candidate may exceed the device
            failed.append(f"{sample} {op} {tokens} {config}: {str(error)[:120]}")
    torch.cuda.synchronize()
    return failed


def operands(weight: GpuWeight, tokens: int) -> tuple[Tensor, Tensor]:
    rows, columns = weight.shape
    make = partial(torch.randn, device="cuda", dtype=weight.values.dtype)
    return make(tokens, columns), make(tokens, rows)


def time_case(weights: list[GpuWeight], case: Case) -> list[tuple[Config, Timed]]:
    """Every candidate that runs, the fastest first."""
    x, dy = operands(weights[0], case.tokens)
    timed = []
    for config in candidates(case.sample, case.op, case.tokens):
        calls = [partial(launch, weight, case.op, x, dy, config) for weight in weights]
        try:
            timed.append((config, time_launches(calls, replays=7, budget_ms=12)))
        except Exception:
            torch.cuda.synchronize()
    return sorted(timed, key=lambda pair: pair[1].us)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    begin = time.monotonic()
    chosen = [case for case in cases() if re.search(options.only, case.label)]
    _compile(chosen)
    print(f"compiled after {time.monotonic() - begin:.0f} s", flush=True)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "device": torch.cuda.get_device_name(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__},
        "command": "python -m kernels.gpu.tune",
        "configs": {},
    }
    path = Path(options.out or TUNED / f"{device_name(0)}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    weights: list[GpuWeight] = []
    owner = None
    for case in sorted(chosen, key=lambda case: (case.size != "wide", case.sample)):
        if time.monotonic() - begin > options.limit_s:
            print(f"stopped at the limit of {options.limit_s} s before {case.label}")
            break
        if owner != (case.sample, case.size):
            weights.clear()
            weights += _rotating(case)
            owner = (case.sample, case.size)
        timed = time_case(weights, case)
        torch.cuda.empty_cache()  # every graph had memory of its own
        if timed:
            config, best = timed[0]
            key = config_key(weights[0], case.tokens, case.op, case.size)
            row = {"us": round(best.us, 2), "config": asdict(config)}
            row["others_us"] = [round(other.us, 2) for _, other in timed[1:4]]
            document["configs"][key] = row
            print(
                f"{time.monotonic() - begin:5.0f} s  {key}: {best.us:.1f} us {config}", flush=True
            )
            path.write_text(json.dumps(document, indent=1) + "\n")


def _rotating(case: Case) -> list[GpuWeight]:
    first = SAMPLES[case.sample](SHAPES[case.size], "cuda", torch.bfloat16)
    return [first, *(copy_weight(first) for _ in range(copies_for(weight_bytes(first)) - 1))]


def _compile(chosen: list[Case]) -> None:
    most = MANY_TOKENS[-1]  # the same machine code from 128 tokens on
    work = sorted({(c.sample, c.op, c.tokens if c.tokens < 128 else most) for c in chosen})
    parts = [(*item, part) for item, part in product(work, range(COMPILE_PARTS))]
    workers = max(1, min(14, (os.cpu_count() or 2) - 1, len(parts)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(compile_part, *part) for part in parts]
        failures = [line for job in as_completed(jobs) for line in job.result()]
    for line in failures[:5]:
        print("not compiled:", line)
    print(f"{len(failures)} candidates do not compile or run", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="file to write instead of the device's own")
    parser.add_argument(
        "--only", default="", help="regular expression on 'sample | op | tokens | size'"
    )
    parser.add_argument(
        "--limit-s", type=float, default=240.0, help="start no case after this time"
    )
    return parser


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("kernels.gpu.tune needs a CUDA device")
    main()
