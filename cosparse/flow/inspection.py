"""`cosparse inspect FILE`: what a checkpoint, a packed tensor, a workload or a result holds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosparse.spec import NM, Block, CorruptFileError, InputError, Workload, load
from cosparse.spec.dtypes import Array
from cosparse.spec.formats.image import MAGIC
from cosparse.spec.patterns import pad_axis

from .store import read_json, read_results

CANDIDATES = (NM(1, 16), NM(1, 8), NM(2, 16), NM(1, 4), NM(2, 8), NM(2, 4), NM(4, 8))
BLOCKS = ((32, 32), (16, 16), (16, 1), (4, 1))
BLOCK_DENSITY = 0.5
"""A block pattern is reported when at most this share of its blocks holds anything."""


@dataclass(frozen=True)
class TensorReport:
    """One tensor of a dense-with-zeros checkpoint, and the patterns that its zeros satisfy."""

    name: str
    shape: tuple[int, ...]
    density: float
    ff: tuple[str, ...]
    bp: tuple[str, ...]


def inspect_file(path: Path) -> dict[str, Any]:
    """Return {"kind": ..., ...} for any file that cosparse reads or writes.

    Raises InputError for a file that is none of them.
    """
    if not path.is_file():
        what = "is a folder, expected a file" if path.is_dir() else "no such file"
        raise InputError(f"'{path}': {what}")
    with path.open("rb") as stream:
        head = stream.read(len(MAGIC))
    if head == MAGIC:
        return _packed(path)
    if path.suffix == ".json":
        return _json(path)
    if path.suffix in (".safetensors", ".pt", ".pth"):
        return _checkpoint(path)
    raise InputError(
        f"{path}: expected a checkpoint (.safetensors, .pt, .pth), a packed tensor, or a workload "
        "or results file (.json)"
    )


def satisfied(weight: Array, axis: int) -> tuple[str, ...]:
    """Patterns whose rule the zeros of a weight already satisfy along `axis` (0 BP, 1 FF).

    weight: (out, in, *taps). The sparsest N:M of each kind stands first; dense tensors give none.
    """
    present = np.moveaxis(weight != 0, axis, -1)
    found = [str(pattern) for pattern in CANDIDATES if _holds(present, pattern)]
    matrix = (weight != 0).reshape(weight.shape[0], -1)
    for rows, cols in BLOCKS:
        share = _block_share(matrix if axis == 1 else matrix.T, rows, cols)
        if share <= BLOCK_DENSITY:
            found.append(str(Block(rows, cols, max(share, 1e-6))))
    return tuple(found)


def _holds(present: Array, pattern: NM) -> bool:
    """present: boolean, groups along the last axis."""
    if present.shape[-1] < pattern.m:
        return False
    groups = pad_axis(present, -1, pattern.m).reshape(*present.shape[:-1], -1, pattern.m)
    return bool((groups.sum(-1) <= pattern.n).all())


def _block_share(matrix: Array, rows: int, cols: int) -> float:
    """Share of blocks of rows x cols that hold anything."""
    if matrix.shape[0] < rows or matrix.shape[1] < cols:
        return 1.0
    full = pad_axis(pad_axis(matrix, 0, rows), 1, cols)
    blocks = full.reshape(full.shape[0] // rows, rows, full.shape[1] // cols, cols)
    return float(blocks.any(axis=(1, 3)).mean())


def _packed(path: Path) -> dict[str, Any]:
    tensor = load(path)
    planes = {name: f"{p.dtype} {list(p.shape)}" for name, p in tensor.planes().items()}
    return {
        "kind": "packed tensor",
        "format": tensor.format_name,
        "pattern": str(tensor.pattern),
        "shape": list(tensor.shape),
        "packed_for": "FF" if tensor.axis == 1 else "BP",
        "dtype": tensor.dtype,
        "storage_bytes": tensor.storage_bits // 8,
        "planes": planes,
    }


def _json(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if isinstance(data, dict) and "ops" in data:
        workload = Workload.from_json(data, str(path))
        return {
            "kind": "workload",
            "matrix_products": len(workload.gemms),
            "vector_operations": len(workload.vectors),
            "macs": workload.macs(),
            "issued_macs": workload.issued_macs(),
        }
    if isinstance(data, dict) and "scenario_hash" in data:
        results = read_results(path)
        return {
            "kind": "results",
            "schema": results["schema"],
            "scenario": results["scenario"].get("name"),
            "date": results["provenance"].get("date"),
            "sections": [key for key in ("training", "measured", "simulated") if results[key]],
        }
    raise CorruptFileError(f"{path}: expected a workload or results, got {json.dumps(data)[:60]}")


def _checkpoint(path: Path) -> dict[str, Any]:
    from .checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    tensors = []
    for name, tensor in checkpoint.state.items():
        if tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel():
            array = tensor.float().numpy()
            density = float((array != 0).mean())
            ff, bp = satisfied(array, 1), satisfied(array, 0)
            tensors.append(TensorReport(name, tuple(array.shape), density, ff, bp))
    return {
        "kind": "checkpoint",
        "model": checkpoint.model,
        "tensors": [vars(report) | {"shape": list(report.shape)} for report in tensors],
    }
