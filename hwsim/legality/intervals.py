"""Who touched an address last."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class LatestTouch:
    """A map from addresses to the latest of the touches that cover them, in ascending stamps.

    Kept as disjoint intervals in order; a touch covers what lies below it, so n touches make at
    most 2n + 1 intervals over the life of the map.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._stamps: list[int] = []

    def touch(self, start: int, stop: int, stamp: int) -> None:
        """Cover [start, stop) with `stamp`."""
        low, high = self._overlapping(start, stop)
        starts, stops, stamps = [start], [stop], [stamp]
        if low < high and self._starts[low] < start:
            starts, stops = [self._starts[low], *starts], [start, *stops]
            stamps = [self._stamps[low], *stamps]
        if low < high and self._stops[high - 1] > stop:
            starts, stops = [*starts, stop], [*stops, self._stops[high - 1]]
            stamps = [*stamps, self._stamps[high - 1]]
        self._replace(low, high, starts, stops, stamps)

    def latest(self, start: int, stop: int, since: int) -> tuple[int, int, int] | None:
        """(stamp, start, stop): the latest touch of [start, stop) with stamp >= `since`, if any.

        Older touches are forgotten on the way: `since` never decreases from call to call, which
        makes the cost of all calls together linear in the touches.
        """
        low, high = self._overlapping(start, stop)
        young = [i for i in range(low, high) if self._stamps[i] >= since]
        if len(young) < high - low:
            self._replace(
                low,
                high,
                [self._starts[i] for i in young],
                [self._stops[i] for i in young],
                [self._stamps[i] for i in young],
            )
        found = range(low, low + len(young))
        if not found:
            return None
        best = max(found, key=self._stamps.__getitem__)
        return self._stamps[best], max(start, self._starts[best]), min(stop, self._stops[best])

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(start, stop, stamp), ascending."""
        return zip(self._starts, self._stops, self._stamps, strict=True)

    def _overlapping(self, start: int, stop: int) -> tuple[int, int]:
        return bisect_right(self._stops, start), bisect_left(self._starts, stop)

    def _replace(
        self, low: int, high: int, starts: list[int], stops: list[int], stamps: list[int]
    ) -> None:
        high = max(low, high)
        self._starts[low:high] = starts
        self._stops[low:high] = stops
        self._stamps[low:high] = stamps
