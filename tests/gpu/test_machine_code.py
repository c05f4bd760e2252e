"""Machine code of every configuration, compiled for sm_90 without a GPU and held to stated ceilings.

Instruction issue limits these kernels before memory does, so instructions a product foretell their
speed: an H200 issues 6.9 lane instructions for each byte that its memory delivers. Times `tile_tokens`
they are instructions a stored entry (a dense element where tiles are decoded).
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_SHARED_BYTES = 227 << 10
"""Dynamic shared memory of one program on Hopper."""


@dataclass(frozen=True)
class Limits:
    """Ceilings of one kernel. products: tokens of a program -> lane instructions a product.

    fp32 products run on FFMA (input_precision "ieee"); tensor_cores says whether the others shall not.
    """

    registers: int
    products: dict[int, float] = field(default_factory=dict)
    fp32_products: float = 3.2
    tensor_cores: bool = False


LIMITS = {
    "nm_gather_kernel": Limits(112, {1: 12.0, 2: 7.2, 4: 5.0, 8: 4.1, 16: 3.5}, 13.0),
    "rows_gather_kernel": Limits(128, {1: 16.5, 2: 9.2, 4: 5.5, 8: 5.0, 16: 4.4}, 16.5),
    "vector_wise_kernel": Limits(
        224, {16: 0.11, 32: 0.06, 64: 0.055, 128: 0.055, 256: 0.025}, tensor_cores=True
    ),
    "block_rows_kernel": Limits(
        224, {16: 0.18, 32: 0.09, 64: 0.06, 128: 0.045, 256: 0.031}, tensor_cores=True
    ),
    "block_gradient_kernel": Limits(168, {32: 0.15, 64: 0.08, 128: 0.05}, tensor_cores=True),
    "vector_gradient_kernel": Limits(128, {64: 0.08}, tensor_cores=True),
    "decoded_kernel": Limits(216, {16: 1.8, 32: 0.95, 64: 0.5}, tensor_cores=True),
    "decoded_transposed_kernel": Limits(168, {64: 0.5}, tensor_cores=True),
    "decoded_gradient_kernel": Limits(128, {64: 0.1}, tensor_cores=True),
    "k_major_kernel": Limits(64),
    "nm_expand_kernel": Limits(176),
    "prune_nm_kernel": Limits(184),
}
LIMITS_OF_32 = {
    "block_rows_kernel": Limits(224, {16: 0.37, 32: 0.2, 64: 0.115, 128: 0.11}, tensor_cores=True),
    "block_gradient_kernel": Limits(168, {64: 0.21}, tensor_cores=True),
}
"""Blocks of side 32: too low for the wide tensor-core instruction unless tokens come first."""
PASSES = {"nm_expand_kernel": 26.0, "prune_nm_kernel": 180.0}
"""Passes over a weight: lane instructions a dense element (prune: both directions together)."""

FAST = "|".join(
    (
        r"given . 1:8 . forward . [18] .",
        r"given . unstructured 80% . forward . 1 .",
        r"given . vector 64 87.5% . forward . (16|4096) .",
        r"given . block 64 87.5% . (forward|transposed|gradient) . 4096 .",
        r"given . 2:8 . forward . 16 . bf16",
        r"default . block 32 87.5% . forward . 64 . bf16",
        r"default . vector 64 87.5% . gradient . 512 . bf16",
        r"default . 2:8 . (prune|expand|gradient|transposed) . \d+ . bf16",
        r"default . bitmap 80% . forward . 64 . bf16",
    )
)


def machine_code(only, cache):
    """What `tests.gpu.machine_code` prints, run without the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.machine_code", only],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def faults(row):
    """What is wrong with a kernel's machine code, as sentences."""
    tile, of_32 = row["tile_tokens"], "block 32" in row["case"]
    limits = (of_32 and LIMITS_OF_32.get(row["kernel"])) or LIMITS[row["kernel"]]
    wide = row["case"].endswith("fp32")
    if row["spill_bytes"]:
        yield f"spills {row['spill_bytes']} bytes"
    if row["registers"] > limits.registers:
        yield f"{row['registers']} registers, at most {limits.registers}"
    if row["shared_bytes"] > MAX_SHARED_BYTES:
        yield f"{row['shared_bytes']} bytes of shared memory"
    if limits.tensor_cores and not wide:
        wanted = "HMMA" if of_32 and tile < 128 else "HGMMA"
        if row["tensor_cores"] != [wanted]:
            yield f"tensor cores {row['tensor_cores']}, expected {wanted}"
    if limits.products:
        most = limits.fp32_products if wide else limits.products[tile]
        if row["per_product"] is None or row["per_product"] > most:
            yield f"{row['per_product']} instructions a product, at most {most}"
    if row["kernel"] in PASSES:
        each = row["program_instructions"] / row["program_elements"]
        if each > PASSES[row["kernel"]]:
            yield f"{each:.1f} instructions an element, at most {PASSES[row['kernel']]}"


def check(rows):
    found = [f"{row['case']}, {row['kernel']}: {fault}" for row in rows for fault in faults(row)]
    assert not found, "\n".join(found)


def test_one_configuration_of_every_kernel(tmp_path):
    rows = machine_code(FAST, tmp_path)
    assert {row["kernel"] for row in rows} == set(LIMITS)
    check(rows)


@pytest.mark.nightly
def test_every_configuration(tmp_path):
    rows = machine_code("", tmp_path)
    assert len({row["case"] for row in rows}) > 250
    check(rows)


def test_faults_are_found():
    good = {
        "case": "given | vector 64 87.5% | forward | 16 | bf16", "kernel": "vector_wise_kernel",
        "tile_tokens": 16, "registers": 48, "spill_bytes": 0, "shared_bytes": 83456,
        "tensor_cores": ["HGMMA"], "per_product": 0.1,
    }  # fmt: skip
    assert list(faults(good)) == []
    for key, value, words in (
        ("spill_bytes", 8, "spills"),
        ("registers", 240, "registers"),
        ("shared_bytes", 1 << 18, "shared memory"),
        ("tensor_cores", ["HMMA"], "expected HGMMA"),
        ("per_product", 0.2, "a product"),
        ("per_product", None, "a product"),
    ):
        assert words in " ".join(faults({**good, key: value}))
