"""The counting semaphores between the units."""

from simpy import Container
from simpy.resources.container import ContainerGet

from ..constants import SEMAPHORE_CYCLES, SEMAPHORES
from .clock import Clock
from .context import Steps


class Semaphores:
    """All zero at the start. A semaphore has one signalling and one waiting unit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = [Container(clock) for _ in range(SEMAPHORES)]

    def take(self, number: int) -> ContainerGet:
        """An event that occurs when a token is there, and consumes it."""
        return self._tokens[number].get(1)

    def signal(self, numbers: tuple[int, ...], completion: int) -> None:
        """A token for each of `numbers`, to be consumed from completion + semaphore on."""
        if not numbers:
            return
        delay = completion + SEMAPHORE_CYCLES - self._clock.cycle
        self._clock.process(self._deliver(numbers, delay))

    def _deliver(self, numbers: tuple[int, ...], delay: int) -> Steps:
        yield self._clock.timeout(delay)
        for number in numbers:
            self._tokens[number].put(1)
