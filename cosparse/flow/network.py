"""The network of a scenario: how to build it, what it reads, its starting weights.

Three sources: a shipped model, a function of the user's (`package.module:function`, which runs only
with trust), and a checkpoint for either.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from algos.data import Dataset, load_data
from algos.models import MODELS, build
from cosparse.spec import (
    CosparseError,
    DataError,
    InputError,
    ShapeError,
    TrustError,
    UnsupportedError,
)

from .checkpoint import Checkpoint, load_into, read_checkpoint
from .scenario import Scenario
from .scenario_schema import is_code
from .user_code import blame, error_line, import_function

SAMPLES = 2
"""Inputs of a trial forward; batch normalisation needs more than one."""


@dataclass(frozen=True)
class Network:
    """What the flow needs to know of a scenario's network and data."""

    name: str
    options: dict[str, Any]
    folder: Path
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
        """An input of zeros; shapes are all that capture and verification need.

        Raises InputError for a batch that memory does not hold.
        """
        try:
            return torch.zeros((batch, *self.input_shape), dtype=self.input_dtype)
        except RuntimeError as error:
            gib = batch * prod(self.input_shape) * self.input_dtype.itemsize / 2**30
            raise InputError(
                f"batch: expected samples that the memory of this machine holds, got {batch:,} of "
                f"{' x '.join(map(str, self.input_shape))} ({gib:,.0f} GiB)"
            ) from error

    def blamed(self) -> AbstractContextManager[None]:
        """A context in which failures of the network's own code become RunErrors."""
        return blame(self.name, self.folder)


def resolve_network(scenario: Scenario, *, trust: bool) -> Network:
    """Load what `scenario.model` and `scenario.data` name.

    Raises TrustError when it names code and `trust` is false, DataError for files that cannot be
    used, UnsupportedError for names and options that do not exist.
    """
    checkpoint = _checkpoint(scenario)
    name = scenario.model.name or _recorded_name(scenario, checkpoint)
    options = (checkpoint.options if checkpoint and checkpoint.model == name else {}) | dict(
        scenario.model.options
    )
    function = _function(scenario, name, options, trust)
    data = _load_data(scenario)
    _check_task(name, data)
    shape, dtype = _input_of(scenario, name, data)

    def build_seeded(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = function()
        if checkpoint is not None:
            load_into(model, checkpoint.state, str(scenario.checkpoint_path))
        return model

    task = data.task if data else _task_of(name)
    return Network(name, options, scenario.folder, build_seeded, task, shape, dtype, data)


def check_forward(network: Network) -> None:
    """Run the dense network on two samples, before hours are spent on it.

    Raises ShapeError when it does not take the data's shape or has fewer outputs than the data has
    classes, RunError when code of the user's fails.
    """
    model = network.build(0).eval()
    sample = _samples(network)
    with network.blamed(), torch.no_grad():
        try:
            output = model(sample)
        except CosparseError:
            raise
        except Exception as error:
            if is_code(network.name):
                raise
            raise ShapeError(
                f"model '{network.name}' does not take inputs of shape {network.input_shape}: "
                f"{error_line(error)}"
            ) from error
    if network.data is not None:
        _check_logits(network, network.data, sample, output)


def _samples(network: Network) -> Tensor:
    data = network.data
    if data is None or data.task == "language":
        return network.sample(SAMPLES)
    return torch.from_numpy(data.x_train[:SAMPLES])


def _check_logits(network: Network, data: Dataset, sample: Tensor, output: Any) -> None:
    positions = tuple(sample.shape) if data.task == "language" else (len(sample),)
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or output.shape[:-1] != positions:
        raise ShapeError(
            f"model '{network.name}' on inputs of shape {tuple(sample.shape)}: expected logits of "
            f"shape {(*positions, data.classes)}, got {got}"
        )
    if output.shape[-1] < data.classes:
        raise ShapeError(
            f"model '{network.name}': expected an output for each of the {data.classes} classes of "
            f"data '{data.name}', got {output.shape[-1]} outputs"
        )


def _checkpoint(scenario: Scenario) -> Checkpoint | None:
    path = scenario.checkpoint_path
    return None if path is None else read_checkpoint(path)


def _recorded_name(scenario: Scenario, checkpoint: Checkpoint | None) -> str:
    """The shipped model that a checkpoint names. It may not name code: a scenario must."""
    path = scenario.checkpoint_path
    name = None if checkpoint is None else checkpoint.model
    if name is None:
        raise DataError(
            f"{path}: the checkpoint does not name its model; "
            "add `name:` (a shipped model or package.module:function) beside `checkpoint:`"
        )
    if is_code(name):
        raise DataError(
            f"{path}: the checkpoint is of '{name}', which is code; "
            f"add `name: {name}` beside `checkpoint:` to use it"
        )
    return name


def _load_data(scenario: Scenario) -> Dataset | None:
    source = scenario.data_source
    if source is None:
        return None
    return load_data(scenario.data_path or str(source.name))


def _task_of(name: str) -> str:
    entry = MODELS.get(name)
    return entry.task if entry else "classification"


def _check_task(name: str, data: Dataset | None) -> None:
    task = _task_of(name)
    if data is not None and data.task != task:
        raise UnsupportedError(f"model '{name}' is for {task}, data '{data.name}' for {data.task}")


def _input_of(
    scenario: Scenario, name: str, data: Dataset | None
) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and dtype of one input: the data's, the scenario's, or the shipped model's."""
    entry = MODELS.get(name)
    if data is not None and data.task == "classification":
        return tuple(data.x_train.shape[1:]), torch.float32
    dtype = torch.float32 if entry is None else getattr(torch, entry.input_dtype)
    if scenario.input_shape is not None and data is None:
        return tuple(scenario.input_shape), dtype
    if entry is not None:
        return tuple(entry.input_shape), dtype
    raise InputError(
        f"model '{name}': the shape of its input is unknown; give `data:` or `input_shape:`"
    )


def _function(
    scenario: Scenario, name: str, options: Mapping[str, Any], trust: bool
) -> Callable[[], nn.Module]:
    """What builds the network. Raises UnsupportedError for options that a shipped model lacks."""
    if name in MODELS:
        return lambda: _built(name, options)
    if not trust:
        raise TrustError(
            f"the scenario runs code of yours ('{name}'); read it, then allow it with --trust "
            "(in Python: trust=True)"
        )
    function = import_function(name, scenario.folder, scenario.code_path)
    _check_options(name, function, options)

    def construct() -> nn.Module:
        with blame(name, scenario.folder):
            model = function(**options)
        if not isinstance(model, nn.Module):
            raise InputError(f"'{name}': expected a torch.nn.Module, got {type(model).__name__}")
        return model

    return construct


def _built(name: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        return build(name, **options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise InputError(f"model '{name}' with options {given}: {error_line(error)}") from error


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        inspect.signature(function).bind(**options)
    except TypeError as error:
        raise InputError(f"'{name}' with options {dict(options)}: {error}") from error
    except ValueError:
        return  # a callable without a signature checks its arguments itself
