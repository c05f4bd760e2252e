"""Numbers as a reader wants them."""

from .blocks import Cell


def cell_text(cell: Cell) -> str:
    """A table cell: integers with thin groups, floats with three significant digits, None as a dash."""
    if cell is None:
        return "–"
    if isinstance(cell, bool | str):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3g}" if abs(cell) < 100 else f"{cell:,.0f}"


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """The quotient, or None where it does not exist."""
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def times(value: float | None) -> str:
    """A speedup."""
    return "–" if value is None else f"{value:.2f}x"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign."""
    return "–" if value is None else f"{value:+.{digits}f}"


def seconds_text(value: float) -> str:
    """A duration in the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1 or unit == "us":
            return f"{value * scale:.3g} {unit}"
    raise AssertionError("the loop always returns")
