"""Sparse products on a GPU against cuBLAS, measured by graph replay over rotating weights.

    python -m kernels.gpu.bench [--out FILE] [--only REGEX] [--limit-s SECONDS] [--quick]

A product is timed from (tokens, in) to (tokens, out), reordering of activations included, packing of
fixed weights not. Operands in bfloat16, medians of graph replays; every launch of a graph has another
copy of the weight, so that no cache holds it. Ratios are against `torch.nn.functional.linear` (cuBLAS)
of the same run. Every sparse result is compared with the dense product of its expanded weight.

`step` rows are forward, input gradient and weight gradient of one training step.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from .configs import config_for
from .expand import expand_nm
from .layouts import BlockRows, GpuWeight, NMRows, to_dense, weight_bytes
from .products import multiply, multiply_transposed, weight_gradient
from .prune_nm import prune_nm
from .samples import SAMPLES, copy_weight
from .timing import Timed, copies_for, copy_bandwidth_gb_s, matmul_tflop_s, time_launches

SCHEMA = 1
LAYERS = {
    "LLaMA-7B gate": (11008, 4096),
    "LLaMA-7B attention": (4096, 4096),
    "LLaMA-7B down": (4096, 11008),
    "BERT-base attention": (768, 768),
    "BERT-base up": (3072, 768),
    "BERT-base down": (768, 3072),
}
"""Layer -> (outputs, inputs)."""
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
QUICK_TOKENS = (1, 16, 64, 512, 4096)
GATHER_TOKENS = 64
"""Most tokens at which gathers are timed; beyond, an N:M weight is expanded."""
STEP_TOKENS = 512
"""Fewest tokens at which a training step is timed."""
MAX_ALGORITHMS = 12
LARGEST_ERROR = 1.2e-2
"""Relative to the norm: operands have 8 significant bits, and the dense result is rounded too."""

Calls = Sequence[Callable[[], object]]


@dataclass(frozen=True)
class Row:
    """One measurement. us is of one launch sequence; speedup = dense us / us."""

    layer: str
    outputs: int
    inputs: int
    tokens: int
    op: str
    contestant: str
    us: float
    low_us: float
    high_us: float
    speedup: float
    weight_gb_s: float
    dense_tflop_s: float
    error: float | None
    config: dict[str, Any] | None


class Bench:
    """Measures rows one by one, prints them and keeps the file up to date."""

    def __init__(self, out: Path | None, only: str, limit_s: float) -> None:
        self.out, self.only, self.limit_s = out, only, limit_s
        self.begin = time.monotonic()
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.header: dict[str, Any] = {}
        self.dense: dict[tuple[str, str, int], float] = {}

    @property
    def late(self) -> bool:
        return time.monotonic() - self.begin > self.limit_s

    def wants(self, layer: str, contestant: str, tokens: int, op: str) -> bool:
        return bool(re.search(self.only, f"{layer} | {contestant} | {tokens} | {op}"))

    def measure(
        self, layer: str, tokens: int, op: str, contestant: str, calls: Calls, **facts: Any
    ) -> None:
        """Time the calls; a contestant that fails is listed with its error and does not stop."""
        try:
            timed = time_launches(calls)
        except Exception as error:
            torch.cuda.synchronize()
            message = f"{layer} | {contestant} | {tokens} | {op}: {type(error).__name__}: {error}"
            self.failures.append(message.splitlines()[0][:300])
            print("failed:", self.failures[-1], flush=True)
            return
        self._keep(layer, tokens, op, contestant, timed, **facts)

    def _keep(
        self, layer: str, tokens: int, op: str, contestant: str, timed: Timed,
        size_bytes: int = 0, error: float | None = None, config: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        outputs, inputs = LAYERS[layer]
        if contestant == "dense":
            self.dense[layer, op, tokens] = timed.us
        macs = outputs * inputs * tokens * (3 if op == "step" else 1)
        row = Row(
            layer=layer, outputs=outputs, inputs=inputs, tokens=tokens, op=op,
            contestant=contestant, us=round(timed.us, 2), low_us=round(timed.low_us, 2),
            high_us=round(timed.high_us, 2),
            speedup=round(self.dense.get((layer, op, tokens), float("nan")) / timed.us, 3),
            weight_gb_s=round(1e-3 * size_bytes / timed.us, 1),
            dense_tflop_s=round(2e-6 * macs / timed.us, 1), error=error, config=config,
        )  # fmt: skip
        self.rows.append(row)
        flag = "" if error is None or error <= LARGEST_ERROR else f"  WRONG: error {error:.1e}"
        print(
            f"{time.monotonic() - self.begin:4.0f} s  {layer:20s} {tokens:5d} {op:8s} "
            f"{contestant:24s} {row.us:9.1f} us  x{row.speedup:5.2f}  {row.weight_gb_s:6.0f} GB/s "
            f"{row.dense_tflop_s:6.0f} TFLOP/s{flag}",
            flush=True,
        )
        self.save()

    def save(self) -> None:
        if self.out is None:
            return
        document = {
            "schema": SCHEMA,
            "kind": "measured",
            **self.header,
            "failures": self.failures,
            "rows": [asdict(row) for row in self.rows],
        }
        self.out.write_text(json.dumps(document, indent=1) + "\n")


def run(bench: Bench, layers: Sequence[str], tokens: Sequence[int], samples: Sequence[str]) -> None:
    bench.header = describe()
    print(json.dumps(bench.header), flush=True)
    for layer in layers:
        bench_dense(bench, layer, tokens)
        for sample in samples:
            if bench.late:
                print(f"stopped at the limit of {bench.limit_s} s before {layer} {sample}")
                return
            names = (sample, f"{sample} expand + cuBLAS", f"{sample} pruned each step")
            if any(_wants(bench, layer, names, count) for count in tokens):
                bench_sample(bench, layer, sample, tokens)
            torch.cuda.empty_cache()


def describe() -> dict[str, Any]:
    """Device, date, versions, command, and the ceilings measured now."""
    return {
        "device": torch.cuda.get_device_name(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
        },
        "command": "python -m kernels.gpu.bench " + " ".join(sys.argv[1:]),
        "dtype": "bfloat16",
        "ceilings": {
            "copy_gb_s": round(copy_bandwidth_gb_s(), 1),
            "dense_bf16_tflop_s": round(matmul_tflop_s(), 1),
        },
    }


def bench_dense(bench: Bench, layer: str, tokens: Sequence[int]) -> None:
    """cuBLAS, always timed; 2:4 on sparse tensor cores through torch."""
    outputs, inputs = LAYERS[layer]
    first = random((outputs, inputs))
    count = copies_for(first.numel() * 2)
    weights = [first, *(first.clone() for _ in range(count - 1))]
    size = first.numel() * 2
    for number in tokens:
        if bench.late or not _any(bench, layer, number):
            continue
        x, dy = random((number, inputs)), random((number, outputs))
        calls = [partial(F.linear, x, weight) for weight in weights]
        bench.measure(layer, number, "forward", "dense", calls, size_bytes=size)
        if number >= STEP_TOKENS:
            steps = [partial(dense_step, weight, x, dy) for weight in weights]
            bench.measure(layer, number, "step", "dense", steps, size_bytes=size)
    bench_semi_structured(bench, layer, tokens, weights[0])


def bench_semi_structured(bench: Bench, layer: str, tokens: Sequence[int], weight: Tensor) -> None:
    """2:4 on sparse tensor cores: torch's class as it comes, and cuSPARSELt's best algorithm.

    The first returns a transposed view, the second (tokens, out) in order.
    """
    name, best_name = "2:4 torch", "2:4 cuSPARSELt best"
    wanted = [t for t in tokens if _wants(bench, layer, (name, best_name), t)]
    if not wanted or bench.late:
        return
    try:
        kept = torch.tensor([1, 0, 0, 1], device="cuda", dtype=torch.bool)
        pruned = torch.where(kept.repeat(weight.shape[1] // 4), weight, 0)
        packed = [torch.sparse.to_sparse_semi_structured(pruned.clone()) for _ in range(3)]
        compressed = [torch._cslt_compress(pruned.clone()) for _ in range(3)]
    except Exception as failure:  # no library for it on this machine
        bench.failures.append(f"{layer} | {name}: {failure}"[:300])
        print("failed:", bench.failures[-1], flush=True)
        return
    size = weight.numel() * 2 * 9 // 16
    for number in wanted:
        x = random((number, weight.shape[1]))
        expected = F.linear(x, pruned)
        calls = [partial(F.linear, x, part) for part in packed]
        bench.measure(layer, number, "forward", name, calls, size_bytes=size)
        if number >= STEP_TOKENS and not bench.late:
            algorithm = best_algorithm(compressed, x)
            error = _error(semi_structured(compressed[0], x, algorithm), expected)
            calls = [partial(semi_structured, part, x, algorithm) for part in compressed]
            facts = {"size_bytes": size, "error": error, "config": {"alg_id": algorithm}}
            bench.measure(layer, number, "forward", best_name, calls, **facts)


def semi_structured(compressed: Tensor, x: Tensor, algorithm: int) -> Tensor:
    """Product x W^T with a weight of `torch._cslt_compress`, (tokens, out)."""
    y: Tensor = torch._cslt_sparse_mm(compressed, x.t(), transpose_result=True, alg_id=algorithm)
    return y


def best_algorithm(compressed: Sequence[Tensor], x: Tensor) -> int:
    """The fastest of cuSPARSELt's algorithms for these shapes; 0 when none can be timed."""
    times: dict[int, float] = {}
    for algorithm in range(MAX_ALGORITHMS):
        calls = [partial(semi_structured, part, x, algorithm) for part in compressed]
        try:
            times[algorithm] = time_launches(calls, replays=3, budget_ms=10).us
        except Exception:  # the number of algorithms is not published
            torch.cuda.synchronize()
            break
    return min(times, key=times.__getitem__, default=0)


def bench_sample(bench: Bench, layer: str, sample: str, tokens: Sequence[int]) -> None:
    """One sparse weight at every token count."""
    first = SAMPLES[sample](LAYERS[layer], "cuda", torch.bfloat16)
    size = weight_bytes(first)
    weights = [first, *(copy_weight(first) for _ in range(copies_for(size) - 1))]
    dense = to_dense(first)
    for number in tokens:
        if bench.late:
            return
        x = random((number, first.shape[1]))
        for contestant, call in contestants(first, sample, number):
            if bench.wants(layer, contestant, number, "forward"):
                error = _error(call(first, x), F.linear(x, dense))
                calls = [partial(call, weight, x) for weight in weights]
                config = asdict(config_for(first, number)) if contestant == sample else None
                facts = {"size_bytes": size, "error": error, "config": config}
                bench.measure(layer, number, "forward", contestant, calls, **facts)
        if isinstance(first, NMRows) and number >= STEP_TOKENS:
            bench_pruned_step(bench, layer, first, sample, number)
        stepped = isinstance(first, BlockRows) and number >= STEP_TOKENS
        if stepped and bench.wants(layer, sample, number, "step"):
            dy = random((number, first.shape[0]))
            steps = [partial(block_step, weight, x, dy) for weight in weights]
            bench.measure(layer, number, "step", sample, steps, size_bytes=size)


def bench_pruned_step(bench: Bench, layer: str, weight: NMRows, sample: str, tokens: int) -> None:
    """A training step that selects and packs both copies anew from a float32 master."""
    if not bench.wants(layer, f"{sample} pruned each step", tokens, "step"):
        return
    outputs, inputs = LAYERS[layer]
    masters = [torch.randn(outputs, inputs, device="cuda") for _ in range(2)]
    x, dy = random((tokens, inputs)), random((tokens, outputs))
    calls = [partial(pruned_step, master, weight.n, weight.m, x, dy) for master in masters]
    name, size = f"{sample} pruned each step", 4 * outputs * inputs
    bench.measure(layer, tokens, "step", name, calls, size_bytes=size)


def pruned_step(
    master: Tensor, n: int, m: int, x: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    copies = prune_nm(master, n, m, dtype=x.dtype)
    assert copies.forward is not None and copies.backward is not None
    y = F.linear(x, expand_nm(copies.forward))
    return y, F.linear(dy, expand_nm(copies.backward)), dy.t() @ x


def contestants(
    weight: GpuWeight, sample: str, tokens: int
) -> Iterator[tuple[str, Callable[[Any, Tensor], Tensor]]]:
    """The ways to multiply by a weight of this layout at this token count."""
    gathers = isinstance(weight, NMRows) or sample.startswith("unstructured")
    if not gathers or tokens <= GATHER_TOKENS:
        yield sample, multiply
    if isinstance(weight, NMRows) and tokens >= GATHER_TOKENS:
        yield f"{sample} expand + cuBLAS", expanded


def expanded(weight: NMRows, x: Tensor) -> Tensor:
    """Expand in every product, as training does whose weights change in every step."""
    return F.linear(x, expand_nm(weight))


def dense_step(weight: Tensor, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return F.linear(x, weight), dy @ weight, dy.t() @ x


def block_step(weight: Any, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return multiply(weight, x), multiply_transposed(weight, dy), weight_gradient(weight, dy, x)


def random(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape, device="cuda", dtype=torch.bfloat16)


def _error(got: Tensor, expected: Tensor) -> float:
    wide = expected.float()
    return float((got.float() - wide).norm() / wide.norm())


def _any(bench: Bench, layer: str, tokens: int) -> bool:
    """Whether anything is wanted that is compared with the dense time of these tokens."""
    libraries = ("dense", "2:4 torch", "2:4 cuSPARSELt best")
    forms = ("expand + cuBLAS", "pruned each step")
    expansions = (f"{name} {form}" for name in SAMPLES for form in forms)
    return _wants(bench, layer, (*libraries, *SAMPLES, *expansions), tokens)


def _wants(bench: Bench, layer: str, names: Sequence[str], tokens: int) -> bool:
    ops = ("forward", "step")
    return any(bench.wants(layer, name, tokens, op) for name in names for op in ops)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file, kept up to date row by row")
    parser.add_argument("--only", default="", help="regex on 'layer | contestant | tokens | op'")
    parser.add_argument("--limit-s", type=float, default=220.0, help="start nothing after this")
    parser.add_argument("--quick", action="store_true", help="LLaMA-7B gate at a few token counts")
    options = parser.parse_args(arguments)
    bench = Bench(options.out, options.only, options.limit_s)
    layers = list(LAYERS)[:1] if options.quick else list(LAYERS)
    run(bench, layers, QUICK_TOKENS if options.quick else TOKENS, list(SAMPLES))
    if any(row.error is not None and not row.error <= LARGEST_ERROR for row in bench.rows):
        sys.exit("some results are wrong")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("kernels.gpu.bench needs a CUDA device; bounds without one: cosparse bench gpu")
    main()
