"""The training loop of the host."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Protocol

import numpy as np

from cosparse.spec import RunError
from cosparse.spec.dtypes import Array
from hwsim import machine
from hwsim.config import AcceleratorConfig
from hwsim.machine import Memory
from hwsim.program import Program

from .host import cross_entropy
from .network import GRADIENT, INPUT, NEXT_INPUT, Parameters, TrainingPrograms


class Executed(Protocol):
    """What an executor returns: DRAM, and whether a round gave an infinity or NaN."""

    @property
    def memory(self) -> Memory: ...

    @property
    def nonfinite(self) -> bool: ...


Executor = Callable[[Program, Memory], Executed]


def machine_executor(config: AcceleratorConfig) -> Executor:
    """Programs on `hwsim.machine`."""
    return lambda program, memory: machine.run(program, config, memory)


@dataclass(frozen=True)
class Batch:
    """x: (images, ...) FP16, channels last. labels: (images,)."""

    x: Array
    labels: Array


@dataclass(frozen=True)
class StepRecord:
    """One step: the loss before it, and whether it was undone."""

    loss: float
    undone: bool


class Trainer:
    """A training on an executor. memory: DRAM, with the logits of the batch that comes next."""

    def __init__(
        self, programs: TrainingPrograms, parameters: Parameters, executor: Executor
    ) -> None:
        self.programs, self.memory = programs, programs.initial(parameters)
        self._execute = executor

    def run(
        self, batches: Iterable[Batch], rates: Iterable[float] | None = None
    ) -> Iterator[StepRecord]:
        """Train on every batch but the last, whose logits are computed.

        rates: learning rate of every step, by default the optimizer's. Raises RunError where even
        the forward pass of a batch overflows.
        """
        steps = repeat(self.programs.optimizer.rate) if rates is None else rates
        for number, ((batch, following), rate) in enumerate(
            zip(pairwise(batches), steps, strict=False)
        ):
            if number == 0:
                self._forward(batch)
            yield self._step(batch, following, rate)

    def _step(self, batch: Batch, following: Batch, rate: float) -> StepRecord:
        programs = self.programs
        scale = 1 / programs.optimizer.scale
        host = cross_entropy(programs.read_logits(self.memory), batch.labels, scale)
        given = {INPUT: batch.x, NEXT_INPUT: following.x, GRADIENT: host.gradient}
        done = self._execute(programs.step_at(rate), programs.written(self.memory, given))
        if done.nonfinite:
            self._forward(following)
        else:
            self.memory = done.memory
        return StepRecord(host.loss, done.nonfinite)

    def _forward(self, batch: Batch) -> None:
        written = self.programs.written(self.memory, {NEXT_INPUT: batch.x})
        done = self._execute(self.programs.forward, written)
        if done.nonfinite:
            raise RunError("training: the forward pass overflows FP16; lower the rate")
        self.memory = done.memory

    def logits(self, x: Array) -> Array:
        """Logits of images, (images, classes); the training's own memory stays as it is."""
        size = self._batch
        missing = -len(x) % size
        filled = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        found = [self._logits_of(filled[at : at + size]) for at in range(0, len(filled), size)]
        return np.concatenate(found)[: len(x)]

    def accuracy(self, x: Array, labels: Array) -> float:
        """Percent of images whose largest logit is the label's."""
        return 100 * float((self.logits(x).argmax(axis=1) == labels).mean())

    @property
    def _batch(self) -> int:
        return self.programs.network.layers[-1].tokens

    def _logits_of(self, x: Array) -> Array:
        written = self.programs.written(self.memory, {NEXT_INPUT: x})
        return self.programs.read_logits(self._execute(self.programs.forward, written).memory)
