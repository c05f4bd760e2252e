"""Names of a workload's operations: deterministic, readable, unique within a phase."""

from collections import Counter

from .workload import Phase


class Names:
    """Hands out names; a second use of `conv` in a phase becomes `conv.1`."""

    def __init__(self) -> None:
        self._used: set[tuple[Phase, str]] = set()
        self._count: Counter[tuple[Phase, str]] = Counter()

    def unique(self, phase: Phase, base: str) -> str:
        """`base`, or the first free of `base.1`, `base.2`, ..."""
        name = base
        while (phase, name) in self._used:
            self._count[phase, base] += 1
            name = f"{base}.{self._count[phase, base]}"
        self._used.add((phase, name))
        return name

    def numbered(self, phase: Phase, base: str) -> str:
        """`base0`, `base1`, ..."""
        index = self._count[phase, base]
        self._count[phase, base] += 1
        return self.unique(phase, f"{base}{index}")
