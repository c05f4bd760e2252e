"""Which way a product runs: the sparse kernel, or a dense product of the same weight.

Times of sparse kernels are those measured by `kernels.gpu.tune` on the device, where its table has the
case, and modelled otherwise; dense times are modelled from the device's measured ceilings. `Choice.reason`
says which. `timed=` of `choose` takes both from a measurement instead.
"""

from dataclasses import dataclass

import torch

from ..choice import Choice, faster_side
from .configs import config_key, device_name, is_wide, token_bucket, tuned_times_us
from .layouts import GpuWeight, NMRows, SparseRows, weight_bytes

LAUNCH_US = 2.0
REFERENCE = (11008, 4096)
"""Shape that the tuned times of wide weights were measured at; of small ones SMALL_REFERENCE."""
SMALL_REFERENCE = (4096, 4096)
GATHER_TOKENS = 64
"""Most tokens at which one activation an entry is gathered."""


@dataclass(frozen=True)
class Device:
    """Measured ceilings: bytes that a copy moves and dense bfloat16 products a second."""

    name: str
    memory_gb_s: float
    dense_tflop_s: float
    issue_t_s: float
    """10**12 lane instructions a second."""


DEVICES = {
    "nvidia-h200": Device("NVIDIA H200", 4000.0, 700.0, 29.6),
    "nvidia-h100-80gb-hbm3": Device("NVIDIA H100 80GB HBM3", 2900.0, 650.0, 29.6),
}
DEFAULT_DEVICE = "nvidia-h200"
"""Whose ceilings model a device that is not in the table."""
GATHER_INSTRUCTIONS = {1: 11.0, 2: 7.0, 4: 4.5, 8: 3.6, 16: 3.0}
"""Lane instructions a product of a gather, by tokens of a program (tests/gpu/test_machine_code.py)."""


def choose(
    weight: GpuWeight,
    tokens: int,
    *,
    transposed: bool = False,
    timed: tuple[float, float] | None = None,
) -> Choice:
    """The side that runs for so many tokens. timed: measured (sparse, dense) microseconds.

    A transposed product of N:M rows never gathers: its copy of W^T does.
    """
    rows, columns = weight.shape
    label = f"{weight.name} {rows}x{columns}, {token_bucket(tokens)} tokens"
    if timed is not None:
        sparse_us, dense_us = timed
        source = "timed here"
    else:
        dense_us = dense_time_us(weight, tokens)
        sparse_us, source = sparse_time_us(weight, tokens)
    gathers = isinstance(weight, NMRows | SparseRows)
    if gathers and (transposed or tokens > GATHER_TOKENS):
        sparse_us, source = float("inf"), "no gather for so many tokens or this direction"
    sparse_s, dense_s = 1e-6 * sparse_us, 1e-6 * dense_us
    return Choice(label, faster_side(sparse_s, dense_s), sparse_s, dense_s, "dense", source)


def dense_time_us(weight: GpuWeight, tokens: int) -> float:
    """Modelled: bytes or products, whichever takes longer, and a launch."""
    rows, columns = weight.shape
    device = device_of(weight)
    size = weight.values.element_size()
    moved = size * (rows * columns + tokens * (rows + columns))
    memory_us = 1e-3 * moved / device.memory_gb_s
    products_us = 2e-6 * rows * columns * tokens / device.dense_tflop_s
    return LAUNCH_US + max(memory_us, products_us)


def sparse_time_us(weight: GpuWeight, tokens: int) -> tuple[float, str]:
    """(microseconds, source). A measured time is scaled by the size of the weight."""
    rows, columns = weight.shape
    wide = is_wide(weight)
    found = tuned_times_us(table_of(weight)).get(
        config_key(weight, tokens, "forward", "wide" if wide else "small")
    )
    if found is not None:
        height, width = REFERENCE if wide else SMALL_REFERENCE
        scale = rows * columns / (height * width)
        return LAUNCH_US + (found - LAUNCH_US) * scale, "measured on this kind of device, scaled"
    device = device_of(weight)
    memory_us = 1e-3 * weight_bytes(weight) / device.memory_gb_s
    entries = weight.values.numel()
    if isinstance(weight, NMRows | SparseRows):
        tile = min(16, token_bucket(tokens))
        passes = -(-tokens // tile)
        work_us = 1e-6 * entries * tile * passes * GATHER_INSTRUCTIONS[tile] / device.issue_t_s
    else:
        work_us = 2e-6 * entries * tokens / (0.6 * device.dense_tflop_s)
    return 2 * LAUNCH_US + max(memory_us, work_us), "modelled"


def device_of(weight: GpuWeight) -> Device:
    return DEVICES.get(table_of(weight), DEVICES[DEFAULT_DEVICE])


def table_of(weight: GpuWeight) -> str:
    """Name of the device's tables; on the CPU that of the default device."""
    place: torch.device = weight.values.device
    return device_name(place.index or 0) if place.type == "cuda" else DEFAULT_DEVICE
