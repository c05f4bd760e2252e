"""Every launch configuration in sm_90 machine code, as JSON lines.

    python -m tests.gpu.machine_code [REGEX]

A case is a product of a weight of SHAPE, which is specialised like a larger one. `default` cases are
what devices without a table run; the configurations of kernels/gpu/tuned are `given`.
"""

import json
import re
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product

import torch

from kernels.gpu.configs import TUNED, config_for, decode_config, from_mapping
from kernels.gpu.expand import expand_nm
from kernels.gpu.layouts import WORD_ENTRIES
from kernels.gpu.prune_nm import lanes_of, prune_nm
from kernels.gpu.samples import SAMPLES
from kernels.gpu.tune import launch

from .compiled import compiled

SHAPE = (256, 4096)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TOKENS = (1, 8, 64, 100, 512)
MANY_TOKENS = 512
"""From 128 tokens on the machine code is the same."""


@dataclass(frozen=True)
class Case:
    """One product. config None: what `config_for` chooses."""

    sample: str
    op: str
    tokens: int
    dtype: str
    config: dict | None = None

    @property
    def label(self):
        kind = "default" if self.config is None else "given"
        return f"{kind} | {self.sample} | {self.op} | {self.tokens} | {self.dtype}"


def cases():
    """Each configuration once."""
    yield from {
        (c.sample, c.op, min(c.tokens, MANY_TOKENS), str(c.config)): c for c in tuned()
    }.values()
    for sample in SAMPLES:
        for dtype in DTYPES:
            for tokens in TOKENS:
                yield Case(sample, "forward", tokens, dtype)
            if sample.startswith("block"):
                yield Case(sample, "transposed", MANY_TOKENS, dtype)
                yield Case(sample, "gradient", MANY_TOKENS, dtype)
            if sample.startswith("vector"):
                yield Case(sample, "gradient", MANY_TOKENS, dtype)
    for sample, dtype in product(("1:8", "2:8", "2:4", "2:16"), DTYPES):
        yield Case(sample, "expand", 1, dtype)
        yield Case(sample, "prune", 1, dtype)
        yield Case(sample, "forward", 16, dtype, asdict(decode_config(16)))
    for sample, op, dtype in product(
        ("2:8", "2:4", "bitmap 80%"), ("transposed", "gradient"), DTYPES
    ):
        yield Case(sample, op, MANY_TOKENS, dtype)


def tuned():
    for path in sorted(TUNED.glob("*.json")):
        for key, row in json.loads(path.read_text())["configs"].items():
            name, op, tokens, _ = key.split(" | ")
            yield Case(sample_of(name), op, int(tokens), "bf16", row["config"])


def sample_of(name):
    """The sample whose weight has this name."""
    start = "unstructured" if name == "rows" else name
    return next(
        sample for sample in SAMPLES if sample.split()[: len(start.split())] == start.split()
    )


def machines(case):
    """(what the case launches, its configuration or None)."""
    weight = weights(case.sample, case.dtype)
    if case.op in PASSES:
        return compiled(lambda: PASSES[case.op](weight)), None
    tokens = min(case.tokens, MANY_TOKENS)
    x, dy = (torch.empty(tokens, size, dtype=DTYPES[case.dtype]) for size in SHAPE[::-1])
    config = (
        config_for(weight, tokens, case.op) if case.config is None else from_mapping(case.config)
    )
    return compiled(lambda: launch(weight, case.op, x, dy, config)), config


def prune(weight):
    """From a float32 master, as training does."""
    return prune_nm(torch.empty(SHAPE), weight.n, weight.m, dtype=weight.values.dtype)


PASSES = {"expand": expand_nm, "prune": prune}
"""Passes over a weight, without activations."""


@lru_cache(maxsize=1)
def weights(sample, dtype):
    return SAMPLES[sample](SHAPE, "cpu", DTYPES[dtype])


def program_tokens(config):
    """Tokens that one program multiplies by the entries it reads."""
    return getattr(config, "tokens", None) or getattr(config, "block_tokens", None)


def program_elements(case):
    """Dense elements of one program of a pass over an N:M weight."""
    n, m = map(int, case.sample.split(":"))
    word_columns = WORD_ENTRIES // n * m
    if case.op == "expand":
        return 4 * 32 * word_columns
    return (lanes_of(n, m) * word_columns) ** 2


def describe(case, machine, config):
    total = machine.loop.total()
    return {
        "case": case.label,
        "kernel": machine.name,
        "tile_tokens": program_tokens(config),
        "registers": machine.registers,
        "spill_bytes": machine.spill_bytes,
        "shared_bytes": machine.shared_bytes,
        "warps": machine.warps,
        "tensor_cores": [name for name in ("HGMMA", "HMMA") if machine.opcodes[name]],
        "instructions": machine.opcodes.total(),
        "loop_instructions": total,
        "per_product": 32 * total / machine.loop_products if machine.loop_products else None,
        "program_instructions": machine.opcodes.total() * machine.warps * 32,
        "program_elements": program_elements(case) if case.op in PASSES else None,
    }


if __name__ == "__main__":
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for case in cases():
        if re.search(only, case.label):
            found, config = machines(case)
            for machine in found:
                print(json.dumps(describe(case, machine, config)), flush=True)
