"""Launch configurations: defaults by kind of weight and token count, and those measured on a device.

`python -m kernels.gpu.tune` measures candidates on the GPU at hand and writes
`tuned/<device>.json`, which is committed; other devices use the defaults.
"""

import json
import re
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from .layouts import BitmapRows, BlockRows, GpuWeight, NMRows, SparseRows, VectorWise

SCHEMA = 1
TUNED = Path(__file__).parent / "tuned"
MAX_BUCKET = 4096
MIN_TILE_TOKENS = 16
MAX_GATHERED_BYTES = 32
"""Most bytes of activations of one column that a program gathers: four loads of 64 bits."""
WIDE_ENTRIES = 1 << 25
"""Dense entries from which a weight counts as wide: enough rows to fill a GPU several times."""


@dataclass(frozen=True)
class GatherConfig:
    """tokens: of one program (1, 2, 4, 8 or 16); block_words: words of a row that it reads at once."""

    tokens: int
    block_words: int = 32
    unroll: int = 2
    warps: int = 4

    @property
    def block_rows(self) -> int:
        """A thread owns one word a step."""
        return 32 * self.warps // self.block_words


@dataclass(frozen=True)
class TileConfig:
    """A tile of `block_tokens` tokens; the sum is split among `splits` programs.

    k_major: bring activations into K-major order first (vector-wise); tokens_first: the tile is
    (tokens, outputs) and not (outputs, tokens) (blocks).
    """

    block_tokens: int
    block_k: int = 64
    splits: int = 1
    warps: int = 4
    stages: int = 3
    k_major: bool = False
    tokens_first: bool = False


Config = GatherConfig | TileConfig


def config_for(weight: GpuWeight, tokens: int, op: str = "forward") -> Config:
    """The configuration of a product. op: "forward", "transposed" or "gradient"."""
    device = weight.values.device
    tuned = tuned_configs(device_name(device.index or 0)) if device.type == "cuda" else {}
    size = "wide" if is_wide(weight) else "small"
    keys = (config_key(weight, tokens, op, choice) for choice in (size, "wide"))
    found = (tuned[key] for key in keys if key in tuned)
    return fitted(next(found, None) or default_config(weight, tokens, op), weight)


def is_wide(weight: GpuWeight) -> bool:
    return weight.shape[0] * weight.shape[1] >= WIDE_ENTRIES


def fitted(config: Config, weight: GpuWeight) -> Config:
    """Configurations are measured in 16 bits; wider values take more registers and half the pack."""
    if isinstance(config, TileConfig) and weight.values.element_size() > 2:
        return replace(config, block_tokens=min(64, config.block_tokens), warps=8)
    most = MAX_GATHERED_BYTES // weight.values.element_size()
    if isinstance(config, GatherConfig) and config.tokens > most:
        return replace(config, tokens=most)
    return config


def config_key(weight: GpuWeight, tokens: int, op: str, size: str) -> str:
    """Of a case in a file of tuned configurations. size: "wide" or "small"."""
    bucket = token_bucket(tokens)
    if tokens > 1 and isinstance(weight, VectorWise | BlockRows):
        bucket = max(MIN_TILE_TOKENS, bucket)
    return f"{weight.name} | {op} | {bucket} | {size}"


def token_bucket(tokens: int) -> int:
    """The power of two from `tokens` on, at most MAX_BUCKET."""
    return min(MAX_BUCKET, 1 << (tokens - 1).bit_length())


def default_config(weight: GpuWeight, tokens: int, op: str = "forward") -> Config:
    """What runs well enough anywhere."""
    bucket = token_bucket(tokens)
    if isinstance(weight, BitmapRows) or (isinstance(weight, NMRows) and op != "forward"):
        return decode_config(tokens)
    if isinstance(weight, NMRows | SparseRows):
        per_program = min(16, bucket)
        return GatherConfig(per_program, unroll=2 if per_program <= 2 else 1)
    if op == "gradient":
        side = weight.v if isinstance(weight, VectorWise) else weight.side
        return TileConfig(64, warps=8 if side == 128 else 4)
    if bucket <= 64:
        splits = 4 if bucket <= 16 else 2
        return TileConfig(
            max(MIN_TILE_TOKENS, bucket),
            block_k=128 if isinstance(weight, VectorWise) and bucket <= 16 else 64,
            splits=1 if isinstance(weight, VectorWise) else splits,
            stages=4,
            k_major=True,
        )
    if isinstance(weight, BlockRows):
        return TileConfig(128, warps=8 if weight.side == 128 else 4, stages=5, tokens_first=True)
    return TileConfig(128, warps=8 if weight.v == 128 else 4, stages=5, k_major=True)


def decode_config(tokens: int) -> TileConfig:
    """Of a product that decodes tiles; block_k: rows of the weight in a tile."""
    return TileConfig(min(64, max(MIN_TILE_TOKENS, token_bucket(tokens))), block_k=64)


@cache
def device_name(index: int) -> str:
    """A device's name as part of a file name, such as nvidia-h100-80gb-hbm3."""
    import torch

    return slug(torch.cuda.get_device_name(index))


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@cache
def tuned_configs(device: str) -> dict[str, Config]:
    """The measured configurations of a device, empty when none are kept."""
    return {key: from_mapping(row["config"]) for key, row in _table(device).items()}


@cache
def tuned_times_us(device: str) -> dict[str, float]:
    """The time of every measured case, with its best configuration."""
    return {key: float(row["us"]) for key, row in _table(device).items()}


def _table(device: str) -> dict[str, Any]:
    path = TUNED / f"{device}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    rows: dict[str, Any] = document["configs"] if document.get("schema") == SCHEMA else {}
    return rows


def from_mapping(mapping: dict[str, Any]) -> Config:
    """The configuration written as a mapping of its fields."""
    kind = TileConfig if "block_tokens" in mapping else GatherConfig
    assert set(mapping) <= {field.name for field in fields(kind)}
    return kind(**mapping)
