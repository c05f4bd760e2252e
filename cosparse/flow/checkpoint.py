"""Checkpoints: tensors by name, read without executing code, written so that they load again.

A .safetensors file of ours names its model and the model's options in its metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cosparse.spec import DataError
from cosparse.spec.errors import nearest

from .store import replacing

METADATA_KEY = "cosparse"
"""Metadata key of a checkpoint of ours: JSON {"model": name, "options": {...}}. One key, because
safetensors writes several in an order of its own, and equal weights shall be equal files."""
_SHOWN = 8
"""Keys that do not fit and are named in a message."""


@dataclass(frozen=True)
class Checkpoint:
    """Finite tensors by name; the model they belong to, where the file names it."""

    state: dict[str, Tensor]
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a .safetensors, .pt or .pth file; no code in it is executed.

    Raises DataError for a file that cannot be read or that holds NaN or infinity.
    """
    state, metadata = _read(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    about = _about(path, metadata)
    return Checkpoint(_checked(path, state), about["model"], about["options"])


def write_checkpoint(
    path: Path, model: nn.Module, name: str, options: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint that `{checkpoint: FILE}` alone can load again."""
    state = {key: tensor.detach().clone(memory_format=torch.contiguous_format)
             for key, tensor in _tensors(model).items()}  # fmt: skip
    about = {"model": name, "options": dict(options or {})}
    with replacing(path) as partial:
        save_file(state, partial, {METADATA_KEY: json.dumps(about, sort_keys=True)})


def load_into(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Set the weights of `model`, naming every key that does not fit. Raises DataError."""
    own = _tensors(model)
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    problems = [f"missing '{key}'{nearest(key, unexpected)}" for key in missing]
    problems += [f"unexpected '{key}'{nearest(key, missing)}" for key in unexpected]
    problems += [
        f"'{key}': expected shape {tuple(own[key].shape)}, got {tuple(tensor.shape)}"
        for key, tensor in state.items()
        if key in own and own[key].shape != tensor.shape
    ]
    if problems:
        listed = "; ".join(problems[:_SHOWN]) + ("; ..." if len(problems) > _SHOWN else "")
        raise DataError(f"{where}: the checkpoint does not fit the model: {listed}")
    model.load_state_dict(state, strict=False)  # what is left out is extra state, not a tensor


def is_finite(state: Mapping[str, Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict without extra state that is not a tensor."""
    return {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}


def _read(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as archive:
                metadata = archive.metadata() or {}
            return load_file(path), metadata
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot read the checkpoint: {error}") from None
    except Exception as error:  # torch.load raises whatever unpickling meets
        raise DataError(
            f"{path}: expected tensors by name, as torch.save(model.state_dict(), ...) writes them, "
            f"got Python objects or a damaged file ({type(error).__name__})"
        ) from None


def _about(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Model and options of a checkpoint of ours; neither for one of another origin."""
    if METADATA_KEY not in metadata:
        return {"model": None, "options": {}}
    try:
        about = json.loads(metadata[METADATA_KEY])
        if isinstance(about["model"], str) and isinstance(about["options"], dict):
            return {"model": about["model"], "options": about["options"]}
    except (ValueError, KeyError, TypeError):
        pass  # falls to the refusal
    raise DataError(
        f"{path}: metadata '{METADATA_KEY}': expected JSON with 'model' and 'options', "
        f"got {metadata[METADATA_KEY][:60]!r}"
    )


def _checked(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise DataError(
            f"{path}: expected a state_dict (names to tensors), got {type(state).__name__}"
        )
    for key, tensor in state.items():
        if not is_finite({key: tensor}):
            bad = int((~torch.isfinite(tensor)).sum())
            raise DataError(
                f"{path}: tensor '{key}' holds {bad} values that are NaN or infinite; "
                "expected finite weights"
            )
    return state
