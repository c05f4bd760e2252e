"""All that a training run needs to go on from a step as if it had never stopped, and its file.

The order of batches and the stages of a schedule are functions of seed and step, so they are not kept.
"""

import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosparse.spec import CorruptFileError


@dataclass(frozen=True)
class Snapshot:
    """The state after `step` optimizer steps. random: torch's generators, the CPU's and each GPU's."""

    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    random: list[torch.Tensor]
    history: list[dict[str, float]]


@dataclass(frozen=True)
class SnapshotFile:
    """Where a run keeps its last snapshot, and how many steps lie between two.

    key: what the run is; a file of another run is not taken for this one's.
    """

    path: Path
    every: int
    key: str

    def write(self, snapshot: Snapshot) -> None:
        """Replace the file in one step, so that a killed process leaves the old or the new one."""
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        torch.save({"key": self.key, **asdict(snapshot)}, partial)
        partial.replace(self.path)

    def read(self) -> Snapshot | None:
        """The snapshot, or None where there is none of this run. Raises CorruptFileError."""
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            if kept.pop("key") != self.key:
                return None
            return Snapshot(**kept)
        except (
            OSError,
            RuntimeError,
            EOFError,
            pickle.UnpicklingError,
            KeyError,
            TypeError,
        ) as error:
            raise CorruptFileError(
                f"{self.path}: expected a snapshot of a training run; delete it to begin anew ({error})"
            ) from error

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)


def take(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    history: list[dict[str, float]],
) -> Snapshot:
    """A copy of the state, which later steps do not change."""
    return Snapshot(
        step,
        _copied(model.state_dict()),
        _copied(optimizer.state_dict()),
        _copied(schedule.state_dict()),
        [torch.get_rng_state(), *_gpu_states()],
        list(history),
    )


def restore(
    snapshot: Snapshot,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> None:
    """Set everything back, torch's global generators too."""
    model.load_state_dict(snapshot.model)
    optimizer.load_state_dict(snapshot.optimizer)
    schedule.load_state_dict(snapshot.schedule)
    torch.set_rng_state(snapshot.random[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(snapshot.random[1:])


def _gpu_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
