"""What masks and gradients do while training: how many entries change sides, and how noisy dW is.

flips    entries of mask_FF that differ from the step before, as a share of all entries
noise    standard deviation of dW over a window of steps, root mean square over entries; apart for the
entries that the mask of the window's last step keeps and for those it drops
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .masks import forward_mask
from .sparsified import Sparsified

WINDOW_STEPS = 20


@dataclass(frozen=True)
class Window:
    """One window of steps that ended with `step`. noise_dropped: None where nothing is dropped."""

    step: int
    flips: float
    noise_kept: float
    noise_dropped: float | None


class MaskWatch:
    """An observer of the training loop: `windows` evenly spaced windows of a run of so many steps."""

    def __init__(self, steps: int, windows: int = 5) -> None:
        length = min(WINDOW_STEPS, max(2, steps // max(1, windows)))
        self._ends = {steps * number // windows for number in range(1, windows + 1)}
        self._length = length
        self._masks: dict[str, Tensor] = {}
        self._flipped: list[float] = []
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.windows: list[Window] = []

    def __call__(self, step: int, sparsified: Sparsified) -> None:
        end = min((end for end in self._ends if end >= step), default=None)
        if end is None or step <= end - self._length:
            return
        masks, gradients = _state(sparsified)
        if self._masks:
            self._flipped.append(_changed(self._masks, masks))
        self._masks = masks
        for name, gradient in gradients.items():
            first, second = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (first + gradient, second + gradient.square())
        if step == end and masks:
            self._close(step, masks)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(window) for window in self.windows]

    def _close(self, step: int, masks: dict[str, Tensor]) -> None:
        kept, dropped = [], []
        for name, mask in masks.items():
            first, second = self._sums[name]
            n = self._length
            variance = ((second - first.square() / n) / (n - 1)).clamp(min=0)
            kept.append(variance[mask])
            dropped.append(variance[~mask])
        flips = math.fsum(self._flipped) / max(1, len(self._flipped))
        noise = _root_mean(kept)
        assert noise is not None
        self.windows.append(Window(step, flips, noise, _root_mean(dropped)))
        self._masks, self._flipped, self._sums = {}, [], {}


def _state(sparsified: Sparsified) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """mask_FF and dW of every layer that prunes FF by a pattern in force at this step."""
    masks, gradients = {}, {}
    for name, plan in sparsified.plans_in_force().items():
        weight = sparsified.model.get_parameter(name)
        mask = forward_mask(plan, weight.detach())
        if mask is not None and weight.grad is not None:
            masks[name], gradients[name] = mask, weight.grad.detach().double()
    return masks, gradients


def _changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    shared = [name for name in after if name in before]
    entries = sum(after[name].numel() for name in shared)
    changed = sum(int((after[name] != before[name]).sum()) for name in shared)
    return changed / entries if entries else 0.0


def _root_mean(parts: list[Tensor]) -> float | None:
    whole = torch.cat(parts)
    return float(whole.mean().sqrt()) if len(whole) else None
