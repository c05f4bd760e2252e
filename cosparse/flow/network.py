"""The network of a scenario: how to build it, what it reads, its starting weights.

Three sources: a shipped model, a function of the user's (`package.module:function`, which runs only
with trust), and a checkpoint for either. Checkpoints are read without executing code.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from algos.data import Dataset, load_data
from algos.models import MODELS, build
from cosparse.spec import DataError, InputError, TrustError, UnsupportedError
from cosparse.spec.errors import nearest

from .scenario import Scenario

MODEL_KEY = "cosparse_model"
"""Metadata key under which a checkpoint of ours names its model."""


@dataclass(frozen=True)
class Network:
    """What the flow needs to know of a scenario's network and data."""

    name: str
    build: Callable[[int], nn.Module]
    """Build the network with the starting weights of a seed."""
    task: str
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    data: Dataset | None

    @property
    def context(self) -> int:
        """Tokens of a window, for language data."""
        return self.input_shape[0]

    def sample(self, batch: int) -> Tensor:
        """An input of zeros; shapes are all that capture and verification need."""
        return torch.zeros((batch, *self.input_shape), dtype=self.input_dtype)


def resolve_network(scenario: Scenario, *, trust: bool) -> Network:
    """Load what `scenario.model` and `scenario.data` name.

    Raises TrustError when it names code and `trust` is false, DataError for files that cannot be
    used, UnsupportedError for names and options that do not exist.
    """
    data = _load_data(scenario)
    state, recorded = _read_checkpoint(scenario.checkpoint_path)
    name = scenario.model.name or recorded
    if name is None:
        raise DataError(
            f"{scenario.checkpoint_path}: the checkpoint does not name its model; "
            "add `name:` (a shipped model or package.module:function) beside `checkpoint:`"
        )
    function = _function(scenario, name, trust)
    entry = MODELS.get(name)
    if data is not None and data.task == "classification":
        shape, dtype = data.x_train.shape[1:], torch.float32
    elif entry is not None:
        shape, dtype = entry.input_shape, getattr(torch, entry.input_dtype)
    elif scenario.input_shape is not None:
        shape, dtype = scenario.input_shape, torch.float32
    else:
        raise InputError(
            f"model '{name}': the shape of its input is unknown; give `data:` or `input_shape:`"
        )
    if scenario.input_shape is not None and entry is not None and data is None:
        shape = scenario.input_shape
    task = entry.task if entry else "classification"
    if data is not None and data.task != task:
        raise UnsupportedError(f"model '{name}' is for {task}, data '{data.name}' for {data.task}")

    def build_seeded(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = function()
        if state is not None:
            load_state(model, state, str(scenario.checkpoint_path))
        return model

    return Network(name, build_seeded, task, tuple(shape), dtype, data)


def load_state(model: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load a checkpoint, naming every key that does not fit. Raises DataError."""
    own = model.state_dict()
    problems = [f"missing '{key}'{nearest(key, state)}" for key in own if key not in state]
    problems += [f"unexpected '{key}'{nearest(key, own)}" for key in state if key not in own]
    problems += [
        f"'{key}': expected shape {tuple(own[key].shape)}, got {tuple(tensor.shape)}"
        for key, tensor in state.items()
        if key in own and own[key].shape != tensor.shape
    ]
    if problems:
        listed = "; ".join(problems[:8]) + ("; ..." if len(problems) > 8 else "")
        raise DataError(f"{where}: the checkpoint does not fit the model: {listed}")
    model.load_state_dict(state)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors, .pt or .pth file; no code in it is executed.

    Raises DataError for a file that cannot be read or that holds NaN or infinity.
    """
    state: Any
    metadata: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as archive:
                metadata = archive.metadata() or {}
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot read the checkpoint: {error}") from None
    except Exception as error:  # torch.load raises whatever unpickling meets
        raise DataError(
            f"{path}: expected a state_dict that loads with weights_only: {error}"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    return _checked_state(path, state), metadata


def write_state(path: Path, model: nn.Module, model_name: str) -> None:
    """Write a checkpoint that `{checkpoint: FILE}` alone can load again."""
    state = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}
    save_file(state, path, {MODEL_KEY: model_name})


def _checked_state(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise DataError(
            f"{path}: expected a state_dict (names to tensors), got {type(state).__name__}"
        )
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise DataError(
                f"{path}: tensor '{key}' holds {bad} values that are NaN or infinite; "
                "expected finite weights"
            )
    return state


def _read_checkpoint(path: Path | None) -> tuple[dict[str, Tensor] | None, str | None]:
    if path is None:
        return None, None
    state, metadata = read_state(path)
    return state, metadata.get(MODEL_KEY)


def _load_data(scenario: Scenario) -> Dataset | None:
    source = scenario.data_source
    if source is None:
        return None
    return load_data(scenario.data_path or str(source.name))


def _function(scenario: Scenario, name: str, trust: bool) -> Callable[[], nn.Module]:
    options = scenario.model.options
    if name in MODELS:
        return lambda: build(name, **options)
    if not trust:
        raise TrustError(
            f"the scenario runs code of yours ('{name}'); read it, then allow it with --trust "
            "(in Python: trust=True)"
        )
    function = _import(scenario, name)

    def construct() -> nn.Module:
        try:
            model = function(**options)
        except TypeError as error:
            raise InputError(f"'{name}' with options {options}: {error}") from error
        if not isinstance(model, nn.Module):
            raise InputError(f"'{name}': expected a torch.nn.Module, got {type(model).__name__}")
        return model

    return construct


def _import(scenario: Scenario, name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    try:
        module = _import_module(scenario, module_name)
    except ImportError as error:
        raise InputError(
            f"'{name}': cannot import '{module_name}' from {scenario.folder} or the installed "
            f"packages: {error}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise InputError(
            f"'{name}': module '{module_name}' has no function "
            f"'{function_name}'{nearest(function_name, names)}"
        )
    return function  # type: ignore[no-any-return]


def _import_module(scenario: Scenario, module_name: str) -> Any:
    """The module beside the scenario if there is one, else an installed one."""
    path = scenario.code_path
    if path is None:
        return importlib.import_module(module_name)
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module
