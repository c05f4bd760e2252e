"""Time in whole cycles."""

from simpy import Environment, Event
from simpy.events import NORMAL, EventPriority


class Clock(Environment):
    """SimPy's environment with integer time; `events` counts what it has scheduled."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    @property
    def cycle(self) -> int:
        """The current cycle."""
        return int(self._now)

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        self.events += 1
        super().schedule(event, priority, delay)
