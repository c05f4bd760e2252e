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

MODEL_KEY = "cosparse_model"
"""Metadata key under which a checkpoint of ours names its model."""
OPTIONS_KEY = "cosparse_options"
"""Metadata key of the model's options, as JSON."""
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
    return Checkpoint(_checked(path, state), metadata.get(MODEL_KEY), _options(path, metadata))


def write_checkpoint(
    path: Path, model: nn.Module, name: str, options: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint that `{checkpoint: FILE}` alone can load again."""
    state = {key: tensor.detach().clone(memory_format=torch.contiguous_format)
             for key, tensor in _tensors(model).items()}  # fmt: skip
    metadata = {MODEL_KEY: name, OPTIONS_KEY: json.dumps(dict(options or {}), sort_keys=True)}
    with replacing(path) as partial:
        save_file(state, partial, metadata)


def load_into(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Set the weights of `model`, naming every key that does not fit. Raises DataError."""
    own = _tensors(model)
    problems = [f"missing '{key}'{nearest(key, state)}" for key in own if key not in state]
    problems += [f"unexpected '{key}'{nearest(key, own)}" for key in state if key not in own]
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
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: expected a state_dict that loads with weights_only: {reason}"
        ) from None


def _options(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        options = json.loads(metadata.get(OPTIONS_KEY, "{}"))
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise DataError(f"{path}: metadata '{OPTIONS_KEY}': expected a JSON object")
    return options


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
