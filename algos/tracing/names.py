"""Names of operations: deterministic, readable, unique within a phase."""

from collections import Counter

from cosparse.spec import Phase


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


def weight_module(path: str, parameters: list[str]) -> str | None:
    """`path` if the running module computes with its own weight, else None.

    `parameters` are all names of the weight. A parametrised weight is the module's own.
    """
    prefix = f"{path}." if path else ""
    own = any(
        name == f"{prefix}weight" or name.startswith(f"{prefix}parametrizations.weight.")
        for name in parameters
    )
    return path if own else None


def parameter_owner(parameter: str) -> str:
    """Path of the module that holds a parameter."""
    return parameter.rpartition(".")[0]
